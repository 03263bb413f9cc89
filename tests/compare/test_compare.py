"""Two runs compared, in a real DVC repository whose stages take no time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from pyramid_reid.compare.runs import parse
from pyramid_reid.core import provenance

# The names are in the opposite order of the DAG. `middle` also reads a file that it does not name.
STAGES = {
    "zero": {
        "cmd": "grep seed params.yaml > seed.txt",
        "params": ["seed"],
        "outs": ["seed.txt"],
    },
    "middle": {
        "cmd": "mkdir model; cat seed.txt hidden.txt > model/it; grep lr params.yaml >> model/it",
        "deps": ["seed.txt"],
        "params": ["train"],
        "outs": ["model"],
    },
    "after": {
        "cmd": """echo "{\\"fused\\": {\\"mAP\\": $(tr -dc 0-9 < model/it)}}" > figures.json""",
        "deps": ["model/it"],
        "metrics": [{"figures.json": {"cache": False}}],
    },
}


def call(folder, *command, code=0):
    """Run a command as a user without Git's configuration; what it printed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src"), "DVC_NO_ANALYTICS": "1"}
    env |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for role in ("AUTHOR", "COMMITTER"):
        env |= {f"GIT_{role}_NAME": "A", f"GIT_{role}_EMAIL": "a@example.org"}
    done = subprocess.run(
        command, cwd=folder, env=env, capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def compare(folder, ours, theirs, code):
    return call(folder, sys.executable, "-m", "pyramid_reid", "compare", ours, theirs, code=code)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A finished and committed run, and an experiment beside it."""
    folder = tmp_path_factory.mktemp("compare") / "project"
    folder.mkdir()
    (folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    (folder / "params.yaml").write_text("seed: 1\ntrain:\n  lr: 20\n")
    (folder / "hidden.txt").write_text("3\n")
    call(folder, "git", "init", "-q", "-b", "main")
    call(folder, "dvc", "init", "-q")
    call(folder, "dvc", "repro", "-q")
    call(folder, "git", "add", "-A")
    call(folder, "git", "commit", "-qm", "finished")
    call(folder, "dvc", "exp", "run", "-q", "--temp", "-n", "faster", "-S", "train.lr=25")
    return folder


def test_of_an_experiment_it_names_the_stage_its_params_and_the_figures(project):
    assert compare(project, "HEAD", "faster", 1).splitlines() == [
        "middle is the first stage whose outs differ, of 2 that do:",
        "  out model",
        "What it had read that differs:",
        "  param train.lr: 20 → 25",
        "Figures that differ: 1",
        "  figures.json fused.mAP: 1320 → 1325 (+5)",
        "No records to compare: a run keeps them in data/records of its folder",
    ]


def test_the_same_run_as_revision_and_as_folder_does_not_differ(project):
    said = compare(project, "HEAD", ".", 0)
    assert "all outs of 3 stages are the same" in said
    assert "Figures that differ: 0" in said


def test_what_no_dep_explains_is_said_so_and_the_records_tell_more(project, tmp_path):
    other = shutil.copytree(project, tmp_path / "other")
    (other / "hidden.txt").write_text("4\n")
    call(other, "dvc", "repro", "-q", "--force")
    for folder, cpu in ((project, "this one"), (other, "that one")):
        for stage in STAGES:
            record = {"finished": cpu, "machine": {"cpu": cpu, "cores": 2}}
            provenance.write(folder / f"data/records/{stage}.json", record)
    said = compare(project, ".", str(other), 1)
    shutil.rmtree(project / "data")
    assert said.startswith("middle is the first stage whose outs differ, of 2 that do:")
    assert "  nothing: the same command, params and deps gave other bytes" in said
    assert "  figures.json fused.mAP: 1320 → 1420 (+100)" in said
    assert said.endswith(
        "Differences in the records of 3 stages: 1\n  machine.cpu: this one → that one (all)\n"
    )


def test_a_stage_that_only_one_run_has_is_named(project, tmp_path):
    shutil.copy(project / "dvc.lock", tmp_path)
    lock = yaml.safe_load((tmp_path / "dvc.lock").read_text())
    del lock["stages"]["after"]
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump(lock))
    said = compare(project, "HEAD", str(tmp_path), 1)
    assert said.startswith("after is the first stage that differs: only HEAD has it\n")


def test_what_ci_runs_again_passes_or_names_the_stage(project, tmp_path):
    clone = tmp_path / "clone"
    call(tmp_path, "git", "clone", "-q", str(project), str(clone))
    shutil.copytree(ROOT / ".ci", clone / ".ci")
    (clone / ".ci" / "processor.txt").write_text(f"{provenance.processor()}\n")
    verify = (sys.executable, ".ci/verify.py")
    call(clone, "git", "add", "-A")
    call(clone, "git", "commit", "-qm", "its processor")
    assert "a clone of HEAD gives the committed bytes" in call(clone, *verify)
    (clone / "hidden.txt").write_text("4\n")
    call(clone, "git", "commit", "-qam", "changed behind DVC's back")
    said = call(clone, *verify, code=1)
    assert "a clone of HEAD gives other bytes than are committed" in said
    assert "middle is the first stage whose outs differ, of 2 that do:" in said


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (None, "nowhere is not a folder with a dvc.lock, a revision or an experiment"),
        ("stages: [", "holds no dvc.lock of a finished run"),
        ("", "holds no dvc.lock of a finished run"),
    ],
)
def test_what_is_no_run_is_told_in_a_line(project, tmp_path, damage, message):
    name = "nowhere"
    if damage is not None:
        (tmp_path / "dvc.lock").write_text(damage)
        name = str(tmp_path)
    said = compare(project, "HEAD", name, 2)
    assert said.startswith("pyramid-reid compare: ")
    assert message in said
    assert said.count("\n") == 1


def test_stages_are_read_in_the_order_of_the_dag(project):
    lock = (project / "dvc.lock").read_text()
    turned = yaml.safe_load(lock)
    turned["stages"] = dict(sorted(turned["stages"].items()))
    for text in (lock, yaml.safe_dump(turned, sort_keys=False)):
        assert list(parse(text, "it")) == ["zero", "middle", "after"]


def test_the_committed_lock_is_read_in_the_order_of_the_dag():
    stages = list(parse((ROOT / "dvc.lock").read_text(), "it"))
    assert stages[:2] == ["download", "simulate"]
    assert stages.index("train_reconstructor") < stages.index("generate_pyramid")
    for branch in ("ori", "h1", "h2", "h3"):
        assert stages.index(f"train_reid@{branch}") < stages.index(f"distances@{branch}")
        assert stages.index(f"distances@{branch}") < stages.index("fuse")
