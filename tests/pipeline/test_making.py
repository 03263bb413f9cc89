"""`make` from a clone, a ZIP, another repository; with Pythons and environments of all kinds.

The real Makefile runs, with a Python whose `-m venv` makes a real environment in which pip only
notes what it is asked to install, and a tiny pipeline in the place of the project's.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import textwrap
import tomllib
from pathlib import Path

import pytest
from conftest import HANGS_S, ROOT

from pyramid_reid.core import provenance

REAL = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
"""Set by `make test`; a `make` that a test calls must not take itself for a part of that one."""
OF_TESTS = {"PYTHON", "PYTHONPATH", "VIRTUAL_ENV", "PWD"}
PIPELINE = """
stages:
  first:
    cmd: python -c "print('made', file=open('data/first.txt', 'w'))"
    outs: [data/first.txt]
  second:
    cmd: cp data/first.txt second.json
    deps: [data/first.txt]
    metrics:
    - second.json: {cache: false}
"""
PIP = """
    import os, pathlib, signal, sys

    venv = pathlib.Path(sys.prefix)
    with open(os.environ["PIP_LOG"], "a") as log:
        print(*sys.argv[1:], file=log)
    match os.environ.get("PIP_DOES"):
        case "killed":
            (venv / "bin" / "half-written").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        case "full":
            print("ERROR: [Errno 28] No space left on device", file=sys.stderr)
            sys.exit(1)
    script = venv / "bin" / "which-environment"
    script.write_text(f"#!{venv / 'bin' / 'python'}\\nimport sys\\nprint(sys.prefix)\\n")
    script.chmod(0o755)
"""
PYTHON = """
    #!{python}
    # The real Python, but for `-m venv`, which does not wait for pip.
    import os, pathlib, subprocess, sys

    real, arguments = "{real}", sys.argv[1:]
    if arguments[:2] == ["-m", "venv"]:
        folder = arguments[-1]
        done = subprocess.run([real, "-m", "venv", "--without-pip", *arguments[2:]])
        if done.returncode or {broken}:
            sys.exit(done.returncode or "... not created: ensurepip is not available.")
        found = next(pathlib.Path(folder).glob("lib/python*/site-packages"))
        (found / "pip").mkdir()
        (found / "pip" / "__init__.py").touch()
        (found / "pip" / "__main__.py").write_text({pip!r})
        sys.exit(done.returncode)
    if arguments[:1] == ["--version"]:
        sys.exit(print("Python {version}"))
    if arguments[:1] == ["-c"]:
        arguments[1] = "import sys; sys.version_info = ({info}); " + arguments[1]
    os.execv(real, [real, *arguments])
"""


def python(folder, version="3.12.1", broken=False):
    """A Python that takes itself for one of this version."""
    path = folder / f"python{version}"
    info = ", ".join(version.split("."))
    text = textwrap.dedent(PYTHON).lstrip().format(
        python=REAL, real=REAL, pip=textwrap.dedent(PIP), version=version, info=info, broken=broken
    )  # fmt: skip
    path.write_text(text)
    path.chmod(0o755)
    return path


@pytest.fixture
def unpacked(tmp_path):
    """The project as it comes out of a ZIP file, with a pipeline that takes no time."""
    return unpack(tmp_path / "home" / "project")


def unpack(folder):
    folder.mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "requirements.txt", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / ".ci", folder / ".ci", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc")
    (folder / "data").mkdir()
    shutil.copy(ROOT / "data" / ".gitignore", folder / "data")
    (folder / "dvc.yaml").write_text(PIPELINE)
    return folder


def call(folder, *command, code=0, without=(), **environment):
    """Run a command in a folder as a user without Git's configuration; what it printed.

    Args:
        without: commands that the user lacks.
    """
    home = folder.parent
    left_out = OF_MAKE | OF_TESTS
    env = {name: value for name, value in os.environ.items() if name not in left_out}
    env |= {"HOME": str(home), "DVC_NO_ANALYTICS": "1", "PIP_LOG": str(home / "pip.log")}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    env |= {"GIT_CEILING_DIRECTORIES": str(home.parent), "DVC_SITE_CACHE_DIR": str(home / "site")}
    env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}"
    if without:
        env["PATH"] = str(commands(home, without))
    done = subprocess.run(
        command,
        cwd=folder,
        env=env | environment,
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
        timeout=HANGS_S,
    )
    output = done.stdout + done.stderr
    assert done.returncode == code, output
    assert "Traceback" not in output
    return output


def commands(home, without):
    """A folder with the commands that `make` needs, but for some."""
    folder = home / "bin"
    if not folder.exists():
        folder.mkdir()
        needed = {"make", "sh", "cat", "cksum", "grep", "awk", "df", "mkdir", "mv", "rm", "head"}
        for name in needed | {"git", "dvc", "python", "cp"}:
            if name not in without:
                path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
                (folder / name).symlink_to(shutil.which(name, path=path))
    return folder


def installs(folder):
    """What pip was asked to do so far."""
    log = folder.parent / "pip.log"
    return log.read_text().splitlines() if log.exists() else []


def make(folder, *targets, code=0, **options):
    """Run `make` with a Python as it should be, unless another one is named."""
    chosen = options.pop("PYTHON", None) or python(folder.parent)
    return call(folder, "make", *targets, f"PYTHON={chosen}", code=code, **options)


def commit(folder):
    """Make a folder a Git repository that holds all that is in it."""
    call(folder, "git", "init", "-q", "-b", "main")
    call(folder, "git", "add", "-A")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    call(folder, "git", *identity, "commit", "-qm", "it")


def configured(folder, key):
    """What Git is told in the repository of a folder; None where nothing is."""
    done = subprocess.run(
        ["git", "config", "--local", key], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


# --- where Git is --------------------------------------------------------------------------------


def test_without_a_repository_the_pipeline_runs_and_experiments_are_told_what_they_need(unpacked):
    said = make(unpacked, "repro")
    assert "This is no Git repository: the pipeline runs without Git, but experiments" in said
    assert "git init && git add -A && git commit" in said
    assert (unpacked / "second.json").read_text() == "made\n"
    again = make(unpacked, "repro")
    assert "Data and pipelines are up to date." in again
    assert "no Git repository" not in again  # it is said once
    refused = call(unpacked, "dvc", "exp", "run", code=255)
    assert "Only supported for Git repositories" in refused


def test_a_repository_that_is_made_later_is_used(unpacked):
    make(unpacked, "repro")
    commit(unpacked)
    said = make(unpacked, "repro")
    assert "experiments of this clone are committed as pyramid-reid" in said
    assert "no_scm" not in (unpacked / ".dvc" / "config.local").read_text()
    (unpacked / "note").write_text("a changed workspace\n")
    assert "Ran experiment(s)" in call(unpacked, "dvc", "exp", "run", "--force")


@pytest.mark.parametrize("ignored", ["", "*.lock\n"])
def test_in_the_folder_of_another_repository_that_one_is_left_alone(tmp_path, ignored):
    other = tmp_path / "home"
    other.mkdir()
    (other / ".gitignore").write_text(ignored)
    (other / "theirs.txt").write_text("1\n")
    commit(other)
    project = unpack(other / "project")
    before = (other / ".git" / "config").read_text(), (other / ".git" / "HEAD").read_text()
    said = make(project, "repro")
    assert "The Git repository around this folder does not hold it: the pipeline runs" in said
    assert (project / "second.json").read_text() == "made\n"
    assert (
        (other / ".git" / "config").read_text(),
        (other / ".git" / "HEAD").read_text(),
    ) == before
    call(project, "dvc", "exp", "run", code=255)  # would commit and stash what is theirs
    assert call(other, "git", "for-each-ref", "refs/exps") == ""


def test_as_a_part_of_a_larger_repository_it_uses_that_one(tmp_path):
    other = tmp_path / "home"
    project = unpack(other / "project")
    commit(other)
    said = make(project, "repro")
    assert "runs without Git" not in said
    assert configured(other, "user.name") == "pyramid-reid"
    assert "Ran experiment(s)" in call(project, "dvc", "exp", "run", "--force")


def test_a_record_names_no_commit_of_a_repository_that_does_not_hold_the_project(tmp_path):
    other = tmp_path / "home"
    other.mkdir()
    (other / "theirs.txt").write_text("1\n")
    commit(other)
    project = unpack(other / "project")
    assert provenance.revision(project) == {"commit": None, "clean": False, "changed": []}
    commit(other)
    head = call(project, "git", "rev-parse", "HEAD").strip()
    assert provenance.revision(project) == {"commit": head, "clean": True, "changed": []}


@pytest.mark.parametrize("known", ["", "name", "email", "name email"])
def test_whoever_makes_the_environment_alone_gets_the_name_that_git_lacks(unpacked, known):
    call(unpacked, "git", "init", "-q")
    own = {"name": "Ada", "email": "ada@example.org"}
    for key in known.split():
        call(unpacked, "git", "config", f"user.{key}", own[key])
    said = make(unpacked, "env")
    assert ("Git knows no name for you" in said) == (known != "name email")
    ours = {"name": "pyramid-reid", "email": "pyramid-reid@localhost"}
    for key in ours:
        assert configured(unpacked, f"user.{key}") == (own if key in known else ours)[key]


def test_the_second_experiment_in_a_row_works_as_the_first(unpacked):
    commit(unpacked)
    make(unpacked, "env")
    for number in ("1", "2"):
        pipeline = (unpacked / "dvc.yaml").read_text()
        (unpacked / "dvc.yaml").write_text(pipeline.replace("'made", f"'made {number}"))
        assert "Ran experiment(s)" in call(unpacked, "dvc", "exp", "run")
    assert (unpacked / "second.json").read_text() == "made 2 1\n"


def test_a_repository_of_another_user_is_told_in_gits_words_and_the_pipeline_runs(unpacked):
    commit(unpacked)
    said = make(unpacked, "repro", GIT_TEST_ASSUME_DIFFERENT_OWNER="1")
    assert "Git refuses this repository, and DVC's experiments with it: fatal: detected" in said
    assert "git config --global --add safe.directory" in said
    assert (unpacked / "second.json").read_text() == "made\n"


@pytest.mark.parametrize("in_clone", [True, False])
def test_without_git_itself_the_pipeline_runs(unpacked, in_clone):
    if in_clone:
        commit(unpacked)
    said = make(unpacked, "repro", without={"git"})
    assert ("Git is not installed: the pipeline runs without Git" in said) != in_clone
    assert (unpacked / "second.json").read_text() == "made\n"


def test_what_is_left_of_a_repository_that_is_gone_is_none(unpacked):
    (unpacked / ".git").write_text(f"gitdir: {unpacked.parent}/gone/.git/worktrees/project\n")
    assert "This is no Git repository: the pipeline runs" in make(unpacked, "repro")
    assert (unpacked / "second.json").read_text() == "made\n"


def test_what_needs_commits_says_so_without_them(unpacked):
    shutil.copytree(ROOT / "src", unpacked / "src")
    (unpacked / "src" / "pyramid_reid" / "__init__.py").touch()
    said = call(unpacked, sys.executable, ".ci/verify.py", code=1)
    assert said.startswith("verify: nothing is committed here, as this is no Git repository")


VERIFIED = """
stages:
  download:
    cmd: mkdir -p data && echo same > data/raw.txt
    outs: [data/raw.txt]
  train:
    cmd: cat data/raw.txt {of} > data/network.txt
    deps: [data/raw.txt]
    outs: [data/network.txt]
"""


@pytest.fixture
def committed(unpacked):
    """A pipeline that was run on processor A, whose network is not that of this machine."""
    kind = unpacked.parent / "kind"
    kind.write_text("A")
    shutil.copytree(ROOT / "src", unpacked / "src", ignore=shutil.ignore_patterns("__pycache__"))
    (unpacked / "dvc.yaml").write_text(VERIFIED.format(of=kind))
    (unpacked / ".ci" / "processor.txt").write_text("A\n")
    call(unpacked, "git", "init", "-q")
    call(unpacked, "dvc", "repro")
    commit(unpacked)
    return unpacked


def verify(project, code, **environment):
    return call(project, sys.executable, ".ci/verify.py", code=code, **environment)


def test_committed_bytes_that_come_out_again_are_verified(committed):
    assert "a clone of HEAD gives the committed bytes" in verify(committed, 0)


def test_other_bytes_are_wrong_on_the_processor_of_the_committed_ones(committed):
    (committed.parent / "kind").write_text("B")
    (committed / ".ci" / "processor.txt").write_text(f"{provenance.processor()}\n")
    assert "two clones of HEAD give the same bytes" in verify(committed, 0)  # it is not committed
    commit(committed)
    said = verify(committed, 1)
    assert "train is the first stage whose outs differ" in said
    assert "a clone of HEAD gives other bytes than are committed" in said


def test_what_a_shared_cache_holds_of_an_earlier_run_is_no_proof(committed):
    shared = committed.parent / "shared"
    shared.mkdir()
    (shared / "config").write_text(f"[cache]\n    dir = {shared / 'cache'}\n")
    (committed / ".ci" / "processor.txt").write_text(f"{provenance.processor()}\n")
    commit(committed)
    with_cache = {"DVC_GLOBAL_CONFIG_DIR": str(shared)}
    assert "a clone of HEAD gives the committed bytes" in verify(committed, 0, **with_cache)
    assert (shared / "cache" / "runs").is_dir()
    (committed.parent / "kind").write_text("B")
    assert "a clone of HEAD gives other bytes than are committed" in verify(
        committed, 1, **with_cache
    )


def test_another_processor_must_give_the_same_bytes_twice(committed):
    (committed.parent / "kind").write_text("B")
    assert "two clones of HEAD give the same bytes; those of dvc.lock are of" in verify(
        committed, 0
    )
    text = VERIFIED.format(of="/proc/sys/kernel/random/uuid")
    (committed / "dvc.yaml").write_text(text)
    commit(committed)
    assert "two clones of HEAD give different bytes" in verify(committed, 1)


def test_a_new_lock_is_noted_with_its_processor_and_an_old_one_is_left_alone(committed):
    noted = committed / ".ci" / "processor.txt"
    call(committed, sys.executable, ".ci/processor.py")
    assert noted.read_text() == "A\n"
    (committed / "dvc.lock").write_text("stages: {}\n")
    call(committed, sys.executable, ".ci/processor.py")
    assert noted.read_text() == f"{provenance.processor()}\n"


def test_what_no_network_makes_is_the_same_on_any_processor(committed):
    text = (committed / "dvc.yaml").read_text()
    (committed / "dvc.yaml").write_text(text.replace("echo same", "echo other"))
    commit(committed)
    assert "a clone of HEAD gives other bytes than are committed" in verify(committed, 1)


# --- the environment -----------------------------------------------------------------------------


def test_the_environment_is_made_once_and_again_for_other_requirements(unpacked):
    commit(unpacked)
    make(unpacked, "env")
    first = installs(unpacked)
    assert len(first) == 2
    assert "--require-hashes -r requirements.txt" in first[0]
    assert "--no-deps --no-build-isolation --editable ." in first[1]
    make(unpacked, "env")
    for name in ("requirements.txt", "pyproject.toml"):
        os.utime(unpacked / name)  # checked out again: another time, the same text
    make(unpacked, "env")
    assert installs(unpacked) == first
    with (unpacked / "requirements.txt").open("a") as requirements:
        requirements.write("# another one\n")
    make(unpacked, "env")
    assert installs(unpacked) == first * 2


def test_several_jobs_of_make_do_not_get_in_each_others_way(unpacked):
    make(unpacked, "-j", "8", "repro", "env")
    assert len(installs(unpacked)) == 2
    assert (unpacked / "second.json").read_text() == "made\n"


@pytest.mark.parametrize("does", ["killed", "full"])
def test_an_environment_that_was_left_half_made_is_made_anew(unpacked, does):
    said = make(unpacked, "env", code=2, PIP_DOES=does)
    assert "the packages could not be installed, for the reason above" in said
    assert "let TMPDIR name a folder with room; then run the same make command again" in said
    said = make(unpacked, "env")
    assert "half made" in said
    assert not (unpacked / ".venv" / "bin" / "half-written").exists()
    assert "half made" not in make(unpacked, "env")
    assert installs(unpacked)[1:] == installs(unpacked)[:1] + installs(unpacked)[-1:]


def test_an_update_that_was_killed_is_not_taken_for_the_environment_before(unpacked):
    make(unpacked, "env")
    requirements = unpacked / "requirements.txt"
    before = requirements.read_text()
    requirements.write_text(before + "# new\n")
    make(unpacked, "env", code=2, PIP_DOES="killed")
    requirements.write_text(before)  # back to the committed ones, of which some are overwritten
    count = len(installs(unpacked))
    make(unpacked, "env")
    assert len(installs(unpacked)) == count + 2


def test_a_python_without_ensurepip_is_told_how_to_get_it(unpacked):
    broken = python(unpacked.parent, "3.11.9", broken=True)
    said = make(unpacked, "env", code=2, PYTHON=broken)
    assert "ensurepip is not available" in said
    assert (
        "install them with sudo apt install python3-venv; then run the same make command again"
        in said
    )
    make(unpacked, "env")  # what it left is not taken for an environment
    assert len(installs(unpacked)) == 2


def test_a_clone_that_was_moved_or_copied_gets_an_environment_of_its_own(unpacked):
    make(unpacked, "env")
    copy = shutil.copytree(unpacked, unpacked.parent / "copy", symlinks=True)
    assert "was moved" in make(copy, "env")
    assert call(copy, ".venv/bin/which-environment").strip() == str(copy / ".venv")
    moved = unpacked.rename(unpacked.parent / "moved")
    assert "was moved" in make(moved, "env")
    assert call(moved, ".venv/bin/which-environment").strip() == str(moved / ".venv")
    assert "was moved" not in make(moved, "env")


def test_an_environment_whose_python_is_gone_is_made_anew(unpacked):
    make(unpacked, "env")
    found = unpacked / ".venv" / "bin" / "python"
    found.unlink()
    found.symlink_to("/removed/by/an/update/python3")
    make(unpacked, "repro")
    assert call(unpacked, ".venv/bin/which-environment").strip() == str(unpacked / ".venv")


def test_the_folder_may_have_any_name(tmp_path):
    folder = unpack(tmp_path / "home" / '-a über $HOME `it`\'s "both" #1;&(50%)')
    make(folder, "repro")
    assert (folder / "second.json").read_text() == "made\n"
    make(folder, "env")
    assert len(installs(folder)) == 2


def test_a_folder_with_a_colon_is_refused_in_words(tmp_path):
    said = make(unpack(tmp_path / "home" / "a:b"), "env", code=2)
    assert "contains the PATH separator" in said
    assert "cannot make .venv, for the reason above" in said


@pytest.mark.parametrize("version", ["3.10.13", "3.15.0"])
def test_a_python_that_the_packages_are_not_made_for_is_refused(unpacked, version):
    chosen = python(unpacked.parent, version)
    said = make(unpacked, "env", code=2, PYTHON=chosen)
    assert f"Python 3.11 to 3.14 is needed, and {chosen} is Python {version}" in said
    assert not (unpacked / ".venv").exists()
    assert installs(unpacked) == []


@pytest.mark.parametrize("version", ["3.11.0", "3.14.9"])
def test_a_python_at_either_end_is_taken(unpacked, version):
    make(unpacked, "env", PYTHON=python(unpacked.parent, version))
    assert len(installs(unpacked)) == 2


def test_the_versions_of_python_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    script = (ROOT / ".ci" / "environment.sh").read_text()
    low, high = re.search(r"\(3, (\d+)\) <= sys.version_info\[:2\] < \(3, (\d+)\)", script).groups()
    assert project["requires-python"] == f">=3.{low},<3.{high}"
    told = f"Python 3.{low} to 3.{int(high) - 1}"
    assert script.count(told) == 2
    assert told in (ROOT / "README.md").read_text()


def test_no_python_at_all_is_said(unpacked):
    said = call(unpacked, "make", "env", code=2, without={"python"})
    assert "python3 is not found: install Python 3.11 to 3.14, or name one with" in said


def test_the_makefile_needs_no_newer_make_than_macos_has():
    """GNU make 3.81 takes what is younger for something else, without a word."""
    text = (ROOT / "Makefile").read_text()
    younger = (
        r"ONESHELL|SHELLFLAGS|::=|!=|&:|\$\(file|\$\(let|\$\(intcmp|undefine|\.WAIT|NOTINTERMED"
    )
    assert not re.findall(younger, text)
    assert "$(shell" not in text  # what depends on the time at which it is read


# --- what make says of itself --------------------------------------------------------------------


def test_make_alone_lists_its_targets_and_makes_nothing(unpacked):
    said = make(unpacked).splitlines()
    text = (unpacked / "Makefile").read_text()
    internal = {"environment", "repository", "expectation"}
    targets = set(re.findall(r"^([a-z-]+):", text, flags=re.MULTILINE)) - internal
    assert {line.split()[1] for line in said} == targets
    assert {"repro", "test", "lint", "env"} <= targets
    assert all(len(line.split()) > 3 and len(line) <= 100 for line in said)
    assert not (unpacked / ".venv").exists()


def test_make_repro_says_at_once_what_it_will_do_and_at_the_end_what_to_look_at(unpacked):
    commit(unpacked)
    said = make(unpacked, "repro")
    assert said.startswith("make repro runs the stages of dvc.yaml that are not up to date")
    assert said.index("First .venv gets the pinned packages") < said.index("Running stage")
    after = said.partition("Done. Look at\n")[2]
    shown = re.findall(r"^  ((?:metrics|plots)/\S+)", after, flags=re.MULTILINE)
    assert len(shown) == 3
    assert all((ROOT / path).exists() for path in shown)
    assert "source .venv/bin/activate" in after
    assert "First .venv" not in make(unpacked, "repro")


def test_a_pipeline_that_fails_is_not_called_done(unpacked):
    (unpacked / "dvc.yaml").write_text("stages: {first: {cmd: exit 1, outs: [data/first.txt]}}\n")
    assert "Done." not in make(unpacked, "repro", code=2)


def test_the_next_commands_are_commands():
    said = (ROOT / ".ci" / "expectation.sh").read_text()
    from pyramid_reid import cli

    given = cli._parser().parse_args(["pack", "--start", "msmt17", "--out", "model"])
    assert "pyramid-reid pack --start msmt17 --out model" in said
    assert given.out == Path("model")
    assert "-S fusion.w_ori=0.4" in said
    assert "\n  w_ori: " in (ROOT / "params.yaml").read_text()


# --- another Python runs the stages --------------------------------------------------------------


@pytest.mark.parametrize(("stage", "arguments"), [("download", []), ("train_reid", ["h1"])])
def test_a_python_without_the_packages_is_told_how_to_get_the_right_one(tmp_path, stage, arguments):
    home = tmp_path / "home"
    home.mkdir()
    (home / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    said = call(home, str(REAL), "-S", str(ROOT / f"stages/{stage}.py"), *arguments, code=1)
    name = " ".join([stage, *arguments])
    assert re.fullmatch(
        rf"{name}: \S+ is not the project's Python \(No module named '\w+'\): run `make env`, then"
        r" `source .venv/bin/activate`, in the project's folder, and start again\n",
        said,
    )


def test_a_python_with_another_version_of_a_package_is_told_the_same(tmp_path):
    home = tmp_path / "home"
    (home / "site" / "pydantic").mkdir(parents=True)
    (home / "site" / "pydantic" / "__init__.py").write_text("VERSION = '1.10'\n")
    stage = str(ROOT / "stages/download.py")
    said = call(home, sys.executable, stage, code=1, PYTHONPATH=str(home / "site"))
    assert "is not the project's Python (cannot import name" in said
    assert "source .venv/bin/activate" in said


def test_an_old_python_is_told_before_its_syntax_fails(tmp_path):
    stage = tmp_path / "stages" / "download.py"
    shutil.copytree(ROOT / "stages", stage.parent)
    as_old = "import sys; sys.version_info = (3, 10, 9); sys.argv[0] = 'download.py'"
    code = f"{as_old}; sys.path.insert(0, {str(stage.parent)!r}); import _stage"
    said = call(stage.parent, sys.executable, "-c", code, code=1)
    assert "is older than Python 3.11: run `make env`" in said


def test_a_module_of_the_project_that_is_missing_is_no_matter_of_the_environment(tmp_path):
    home = tmp_path / "home"
    shutil.copytree(ROOT / "stages", home / "stages")
    shutil.copytree(ROOT / "src", home / "src")
    (home / "src" / "pyramid_reid" / "protocol" / "roles.py").unlink()
    env = os.environ | {"PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "stages/simulate.py"], cwd=home, env=env, capture_output=True, check=False
    )
    assert done.returncode == 1
    assert b"No module named 'pyramid_reid.protocol.roles'" in done.stderr
    assert b"Traceback" in done.stderr
    assert b"make env" not in done.stderr


def test_a_stage_that_is_stopped_while_it_is_loaded_says_so(tmp_path):
    program = tmp_path / "slow.py"
    program.write_text("import _stage, os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    env = os.environ | {"PYTHONPATH": f"{ROOT / 'stages'}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run([sys.executable, program], env=env, capture_output=True, check=False)
    assert done.returncode in {-signal.SIGINT, 1}
    assert done.stderr == b"slow: stopped; `dvc repro` goes on from the last checkpoint\n"
