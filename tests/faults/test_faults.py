"""Faults in the stages that need no torch; benchmarks/faults/faults.py tries the whole pipeline."""

import fcntl
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from benchmarks.faults.damage import LATER_S, flip
from benchmarks.faults.kills import DVC, STAGE, STOP, disturb
from benchmarks.faults.project import TINY, Project
from benchmarks.faults.verdicts import Reference, follow, metrics_of, settle
from conftest import HANGS_S, ROOT


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A pipeline that has run as far as it needs no torch."""
    if not (ROOT / ".git").exists():
        pytest.skip("the project lies in no Git repository, which says what its files are")
    folder = tmp_path_factory.mktemp("reference") / "all/project"
    project = Project.made(folder, TINY, last="simulate")
    done = project.repro()
    assert done.code == 0, done.said
    seconds = {"download": 1.0, "simulate": 1.0}
    return Reference(project, project.lock, metrics_of(project), seconds)


@pytest.fixture
def project(reference, request):
    """A copy to be disturbed."""
    return reference.project.copy(re.sub(r"\W", "-", request.node.name))


RAW = "data/raw/images.csv"
AGAIN = ("--force", "--single-item", "simulate")


def test_a_bit_that_flips_under_the_same_time_is_found_where_dvc_forgets_times(project):
    flip(project.folder / RAW, random.Random(0), keep_time=True)
    assert "up to date" in project.repro().said
    done = project.run(
        "env", f"DVC_SITE_CACHE_DIR={project.folder.parent / 'new'}", "dvc", "status"
    )
    assert "data/raw" in done.said


@pytest.mark.parametrize("before", ["schema", "uts:"])
def test_a_lock_that_a_kill_has_cut_off_costs_nothing(project, reference, before):
    lock = project.folder / "dvc.lock"
    written = lock.read_text(encoding="utf-8")
    lock.write_text(written[: written.index(before)], encoding="utf-8")
    done = project.repro()
    assert "'./dvc.lock' " in done.said
    assert settle("lock", project, reference, done).verdict == "clear"
    assert lock.read_text(encoding="utf-8") == written


def test_a_clock_that_jumps_reruns_nothing(project, reference):
    for path in (project.folder / "data").rglob("*"):
        os.utime(path, (LATER_S, LATER_S))
    done = project.repro()
    assert "Running stage" not in done.said
    assert settle("clock", project, reference, done).verdict == "right"


def test_a_full_disk_ends_in_a_sentence(project, reference):
    done = project.start("python", "stages/simulate.py", blocks=64).wait()
    assert "simulate: File too large: make room, then run `dvc repro` again" in done.said
    assert settle("full", project, reference, done).verdict == "clear"


def test_a_stage_that_already_runs_is_not_started_again(project, reference):
    with (project.folder / "data/locks/simulate").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = project.repro(*AGAIN)
    assert "simulate: this stage already runs (process " in done.said
    assert settle("lock", project, reference, done).verdict == "clear"


@pytest.mark.parametrize("fault", [STAGE, DVC, STOP])
def test_a_stage_that_is_struck_goes_on_to_the_same_bytes(reference, tmp_path, fault):
    project = Project.made(tmp_path / "all/project", TINY, last="simulate")
    done = disturb(project, "simulate", fault, random.Random(0), 1.0)
    assert "Traceback" not in done.said
    deadline = time.monotonic() + HANGS_S
    while project.stages_running() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert settle(fault, project, reference, project.repro()).verdict == "right"


def test_stopping_a_stage_while_it_is_loaded_is_one_line():
    code = (
        "import _stage, os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(9)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(ROOT / "stages")},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode in {-signal.SIGINT, 128 + signal.SIGINT}
    assert done.stderr == "-c: stopped; `dvc repro` goes on from the last checkpoint\n"


STOP_AT = """
import sys

asked = []

class Finder:
    def find_spec(name, *_):
        if getattr(sys.excepthook, "__module__", "") == "_stage":
            asked.append(name)
            if len(asked) == {number}:
                raise KeyboardInterrupt

sys.meta_path.insert(0, Finder)
import _stage
print(*asked)
"""
"""Stops a stage at the module of that number that it loads; else prints the modules' names."""


def test_stopping_a_stage_while_it_loads_what_stages_share_is_one_line():
    def stopped_at(number):
        return subprocess.run(
            [sys.executable, "-c", STOP_AT.format(number=number)],
            env=os.environ | {"PYTHONPATH": str(ROOT / "stages")},
            capture_output=True,
            text=True,
            check=False,
        )

    names = stopped_at(-1).stdout.split()
    assert {"pydantic", "pyramid_reid.core.params", "ruamel.yaml"} <= set(names)
    for number in (1, len(names) // 2, len(names)):
        done = stopped_at(number)
        assert done.returncode in {-signal.SIGINT, 128 + signal.SIGINT}
        assert done.stderr == "-c: stopped; `dvc repro` goes on from the last checkpoint\n"


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("dvc.lock", "'./dvc.lock' is invalid.\n\nWhile scanning a simple key, in line 2"),
        ("dvc.lock", "'./dvc.lock' validation failed.\n\nrequired key not provided"),
        (
            ".dvc/tmp/rwlock",
            "Unable to read RWLock-file '.dvc/tmp/rwlock'. JSON structure is corrupted: Untermin",
        ),
    ],
)
def test_what_dvc_left_cut_off_is_removed_as_the_docs_advise(tmp_path, file, said):
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert follow(said, tmp_path)
    assert not path.exists()
    assert not follow("No space left on device: make room", tmp_path)
