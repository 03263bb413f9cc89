"""docs/cluster/job.sh: an experiment in parts, by machines that share no folder.

Each machine has a clone; between them lie a bare repository and a DVC remote in a folder.
The stages are those of dvc.yaml with another command, which takes no time: it writes a hash of the
stage's dependencies and of the split, and notes that it ran.
"""

import shutil
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from test_pipeline import STAGES, call, commit, content, set_up

ME = {"GIT_COMMITTER_NAME": "me", "GIT_COMMITTER_EMAIL": "me@localhost"}
ME |= {"GIT_AUTHOR_NAME": "me", "GIT_AUTHOR_EMAIL": "me@localhost"}
SPLIT, BRANCHES = 3, ("ori", "h1")  # each branch more takes seconds, and tells nothing new
LEFT_OUT = {"h2", "h3"}
WRITE = """
import hashlib, json, os, re, sys
from pathlib import Path
stage, deps, outs = sys.argv[1], *(each.split(",") for each in sys.argv[2:])
split = re.search("first_split: (.*)", Path("params.yaml").read_text())[1]
made = hashlib.sha256(split.encode())
for dep in filter(None, deps):
    for file in sorted(Path(dep).rglob("*.txt")):
        made.update(file.read_bytes())
for out in map(Path, outs):
    (out.parent if out.suffix else out).mkdir(parents=True, exist_ok=True)
    text = json.dumps({"split": int(split), "made": made.hexdigest()})
    (out if out.suffix else out / "file.txt").write_text(text)
with open(os.environ["RAN"], "a") as file:
    file.write(f"{stage} {split}\\n")
"""


def quick(folder):
    """A project whose stages take no time, committed."""
    project = set_up(folder)
    shutil.copytree(ROOT / "docs" / "cluster", project / "docs" / "cluster")
    (project / "write.py").write_text(WRITE)
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text())
    for name, stage in pipeline["stages"].items():
        inner = stage.get("do", stage)
        if "foreach" in stage:
            stage["foreach"] = {branch: stage["foreach"][branch] for branch in BRANCHES}
        inner["deps"] = [dep for dep in inner["deps"] if Path(dep).name not in LEFT_OUT]
        outs = [
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics", "plots")
            for out in inner.get(kind, [])
        ]
        made = [dep for dep in inner.get("deps", []) if dep.startswith("data/") or "${" in dep]
        called = f"{name}@${{key}}" if "do" in stage else name
        inner["cmd"] = f"python write.py {called} {','.join(made) or ','} {','.join(outs)}"
    (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    commit(project, "quick")
    return project


class Cluster:
    """Machines, each with an empty folder, and what lies between them."""

    def __init__(self, home):
        self.home, self.ran = home, home / "ran"
        self.project = quick(home / "project")
        call(self.project, "dvc", "remote", "add", "-d", "there", str(home / "remote"))
        commit(self.project, "a remote")
        call(home, "git", "clone", "-q", "--bare", str(self.project), "address.git")

    def machine(self, name):
        """A clone."""
        call(self.home, "git", "clone", "-q", "address.git", name)
        return self.home / name

    def job(self, machine, *arguments):
        """Run a part of the experiment on a machine."""
        return call(machine, "sh", "docs/cluster/job.sh", *arguments, RAN=str(self.ran), **ME)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A split by two machines: one restores and trains a branch, the other does the rest."""
    cluster = Cluster(tmp_path_factory.mktemp("home"))
    first, second = cluster.machine("first"), cluster.machine("second")
    cluster.job(first, "restore", str(SPLIT), "fusion.w_ori=0.4")
    cluster.job(first, "branch", str(SPLIT), "ori")
    cluster.job(second, "branch", str(SPLIT), "h1")
    cluster.job(second, "fuse", str(SPLIT))
    return cluster


def test_every_stage_runs_once(cluster):
    ran = cluster.ran.read_text().splitlines()
    expected = [stage for stage in STAGES if stage.partition("@")[2] in ("", *BRANCHES)]
    assert sorted(ran) == sorted(f"{stage} {SPLIT}" for stage in expected)


def test_others_find_what_one_machine_alone_would_have_made(cluster):
    colleague, project = cluster.machine("colleague"), cluster.project
    call(colleague, "git", "checkout", "-q", f"split-{SPLIT}")
    call(colleague, "dvc", "pull")
    settings = ("data.splits=1", f"data.first_split={SPLIT}", "fusion.w_ori=0.4")
    options = [part for setting in settings for part in ("-S", setting)]
    call(project, "dvc", "exp", "run", *options, RAN=str(cluster.home / "alone"), **ME)
    outs = ("data", "metrics", "plots")
    assert content(colleague, *outs) == content(project, *outs)
    # in the order in which the stages were done
    locks = [yaml.safe_load((each / "dvc.lock").read_text()) for each in (colleague, project)]
    assert locks[0] == locks[1]
