"""Going back to earlier params runs nothing: every stage is restored from DVC's run cache.

DVC keeps no run of a stage with an uncached out that is neither metric nor plot. The stages here
are those of dvc.yaml with another command, which writes the same outs in no time.
"""

import pytest
import yaml
from test_pipeline import STAGES, call, commit, content, edit, ran, set_up

ME = {"GIT_COMMITTER_NAME": "me", "GIT_COMMITTER_EMAIL": "me@localhost"}
WRITE = """
import json, sys
from pathlib import Path
seed = Path("params.yaml").read_text().split("seed:")[1].split()[0]
for out in map(Path, sys.argv[1:]):
    (out.parent if out.suffix else out).mkdir(parents=True, exist_ok=True)
    text = json.dumps({"seed": int(seed), "out": out.name})
    (out if out.suffix else out / "file.txt").write_text(text)
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A project, its folder remote, and the outs of seed 1; seed 2 ran after it."""
    project = set_up(tmp_path_factory.mktemp("home") / "project")
    (project / "write.py").write_text(WRITE)
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text())
    for stage in pipeline["stages"].values():
        inner = stage.get("do", stage)
        outs = [
            out if isinstance(out, str) else next(iter(out))
            for kind in ("outs", "metrics", "plots")
            for out in inner.get(kind, [])
        ]
        inner["cmd"] = f"python write.py {' '.join(outs)}"
        inner["params"] = ["seed"]
    (project / "dvc.yaml").write_text(yaml.safe_dump(pipeline))
    commit(project, "quick")
    assert ran(call(project, "dvc", "repro")) == STAGES
    commit(project, "seed 1")
    made = content(project, "data", "metrics", "plots")
    edit(project, seed=2)
    assert ran(call(project, "dvc", "repro")) == STAGES
    assert content(project, "data", "metrics", "plots") != made
    return project, made


def test_back_to_earlier_params_runs_no_stage(runs):
    project, made = runs
    edit(project, seed=1)
    assert ran(call(project, "dvc", "repro")) == []
    assert content(project, "data", "metrics", "plots") == made
    assert call(project, "git", "status", "--porcelain") == ""


def test_others_get_the_packed_model_by_its_path_or_by_a_release(runs, tmp_path):
    project, _ = runs
    remote, published = str(tmp_path / "remote"), tmp_path / "published"
    edit(project, seed=1)
    call(project, "dvc", "repro")
    call(project, "dvc", "remote", "add", "--local", "-f", "-d", "there", remote)
    call(project, "dvc", "push", "pack_model")
    call(tmp_path, "git", "clone", "-q", str(project), str(published))
    call(published, "dvc", "remote", "add", "-d", "there", remote)
    commit(published, "a remote")
    # DVC takes annotated tags NAME@vVERSION for releases, and no others
    call(published, "git", "tag", "-a", "-m", "first", "pyramid-reid@v1.0.0", **ME)
    call(tmp_path, "dvc", "get", str(published), "data/model", "-o", "by_path")
    call(tmp_path, "dvc", "artifacts", "get", str(published), "pyramid-reid", "-o", "by_release")
    packed = content(project / "data", "model")
    assert packed
    for name in ("by_path", "by_release"):
        (tmp_path / name).rename(tmp_path / "model")
        assert content(tmp_path, "model") == packed
        (tmp_path / "model").rename(tmp_path / name)


def test_another_clone_that_pulls_the_run_cache_runs_no_stage(runs, tmp_path):
    project, made = runs
    edit(project, seed=1)
    call(project, "dvc", "repro")
    call(project, "dvc", "remote", "add", "--local", "-f", "-d", "there", str(tmp_path / "remote"))
    call(project, "dvc", "push", "--run-cache")
    clone = tmp_path / "clone"
    call(tmp_path, "git", "clone", "-q", str(project), str(clone))
    call(clone, "dvc", "remote", "add", "--local", "-d", "there", str(tmp_path / "remote"))
    call(clone, "dvc", "pull", "--run-cache")
    assert ran(call(clone, "dvc", "repro")) == []
    assert content(clone, "data", "metrics", "plots") == made
    # without dvc.lock only the run cache knows; DVC pushes no object of an out that it does not
    # cache, so stages with a picture or metrics run once more
    (clone / "dvc.lock").unlink()
    with_pictures = {"simulate", "train_reconstructor", "generate_pyramid", "sweep_weights", "fuse"}
    assert set(ran(call(clone, "dvc", "repro"))) <= with_pictures
    assert content(clone, "data", "metrics", "plots") == made
