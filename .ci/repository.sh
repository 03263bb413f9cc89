#!/bin/sh
# What DVC needs of Git: that it looks for no repository where this project is in none, and a name
# for its commits, if only in this clone.
set -u
PATH="$PWD/.venv/bin:$PATH"
local=.dvc/config.local

with_git() {  # whether DVC looks for a repository
    ! grep -q 'no_scm *= *true' "$local" 2>/dev/null
}

alone() {  # $1: why there is no repository of this project
    with_git || return 0
    dvc config --local core.no_scm true || exit 1
    echo "$1: the pipeline runs without Git, but experiments and comparisons (dvc exp," \
        "dvc metrics diff) need it: git init && git add -A && git commit -m start, then make env"
}

if [ -z "$(command -v git)" ]; then
    [ -e .git ] || alone "Git is not installed"
    exit 0
fi
if ! prefix=$(git rev-parse --show-prefix 2>&1); then
    case $prefix in
        *safe.directory*)  # the folder is another user's
            echo "Git refuses this repository, and DVC's experiments with it: $prefix" >&2 ;;
        *) alone "This is no Git repository" ;;
    esac
    exit 0
fi
if [ -n "$prefix" ] && ! git ls-files --error-unmatch dvc.yaml >/dev/null 2>&1; then
    alone "The Git repository around this folder does not hold it"  # nothing is written to it
    exit 0
fi
with_git || dvc config --local --unset core.no_scm || exit 1
unnamed=
git config user.name >/dev/null || { git config user.name pyramid-reid && unnamed=1; }
git config user.email >/dev/null || { git config user.email pyramid-reid@localhost && unnamed=1; }
[ -z "$unnamed" ] || echo "Git knows no name for you: experiments of this clone are committed as" \
    "$(git config user.name) <$(git config user.email)>" \
    "(change it with git config user.name and user.email)"
