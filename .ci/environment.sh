#!/bin/sh
# Make .venv where it is missing, half made, moved with its folder, of a Python that is gone or too
# new, or not of the present requirements.txt. It ends with a sentence where it cannot.
# PYTHON: the interpreter that .venv is made of.
set -u
python=${PYTHON:-python3}
venv=.venv
ready=$venv/.ready            # what was installed
unfinished=$venv/.unfinished  # there while something is installed
wanted=$(cat requirements.txt pyproject.toml | cksum)

fail() {
    printf '%s\n' "make: $*" >&2
    exit 1
}

fits() {  # whether pyproject.toml allows this interpreter
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 15))' 2>/dev/null
}

whole() {  # whether .venv can be used, whatever is installed in it
    [ ! -e "$unfinished" ] && fits "$venv/bin/python" || return 1
    "$venv/bin/python" -c 'import pip' 2>/dev/null || return 1
    # scripts in bin/ and the path to src/ name the folder that it was made in
    made=$(grep '^command = ' "$venv/pyvenv.cfg" 2>/dev/null)
    case $made in
        '' | *" $(pwd -P)/$venv") return 0 ;;
        *) return 1 ;;
    esac
}

install() {
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@" && return
    fail "the packages could not be installed, for the reason above. Where the disk is full, make" \
        "room here ($(df -Pk . | awk 'NR == 2 {printf "%.1f", $4 / 1048576}') GB are free, some 7" \
        "are needed) or let TMPDIR name a folder with room; then run the same make command again"
}

if ! whole; then
    found=$(command -v "$python") || fail "$python is not found: install Python 3.11 to 3.14, or" \
        "name one with make env PYTHON=/path/to/python3.12"
    fits "$found" || fail "Python 3.11 to 3.14 is needed, and $found is" \
        "$("$found" --version 2>&1 | head -n 1): name another with make env PYTHON=/path/to/python3.12"
    [ ! -e "$venv" ] || echo "$venv is half made, was moved, or is of another Python: made again"
    mkdir -p "$venv" && : >"$unfinished" || fail "$venv cannot be written"
    "$found" -m venv --clear "$venv" && : >"$unfinished" || {
        : >"$unfinished"
        fail "$found cannot make $venv, for the reason above; where it lacks venv or ensurepip" \
            "(Debian and Ubuntu), install them with sudo apt install python3-venv; then run" \
            "the same make command again"
    }
fi
[ "$(cat "$ready" 2>/dev/null)" != "$wanted" ] || exit 0
: >"$unfinished" || fail "$venv cannot be written"
rm -f "$ready"
install --require-hashes -r requirements.txt
install --no-deps --no-build-isolation --editable .
printf '%s\n' "$wanted" >"$unfinished" && mv "$unfinished" "$ready"
