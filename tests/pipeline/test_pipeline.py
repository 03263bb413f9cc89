"""The whole DAG in a real DVC repository, small enough for a minute."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from conftest import HANGS_S, ROOT, run_stage
from PIL import Image
from safetensors.numpy import load_file

from pyramid_reid.compare import runs
from pyramid_reid.core import provenance
from pyramid_reid.core.crops import CropStore
from pyramid_reid.core.errors import UserError
from pyramid_reid.search import description

TINY = {
    "data": {"identities": 6, "images_per_camera": 2, "splits": 2},
    "restoration": {
        "swinir_light": {"depths": [1], "dim": 8, "num_heads": 2},
        "han_light": {"groups": 1, "blocks": 1, "dim": 16},
        "head_dim": 4,
        "iterations": 3,
        "batch_size": 2,
        "patch_height": 8,
    },
    "reid": {
        "height": 32,
        "width": 16,
        "epochs": 3,
        "warmup_epochs": 1,
        "batch_size": 4,
        "checkpoint_every": 1,
    },
}
BRANCHES = ("ori", "h1", "h2", "h3")
OF_MAKE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}
"""Set by `make test`; a `make` that a test calls must not take itself for a part of that one."""
STAGES = [
    "download",
    "simulate",
    "train_reconstructor",
    "generate_pyramid",
    *(f"train_reid@{branch}" for branch in BRANCHES),
    *(f"distances@{branch}" for branch in BRANCHES),
    "sweep_weights",
    "fuse",
    "pack_model",
]


def environment(project):
    """Of a user without any git identity or configuration."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = {name: value for name, value in os.environ.items() if name not in OF_MAKE}
    env |= {"PATH": path, "HOME": str(project.parent), "DVC_NO_ANALYTICS": "1"}
    # compiled kernels lie beside their code: a copy of a project need not compile them again
    env |= {"NUMBA_CACHE_LOCATOR_CLASSES": "InTreeCacheLocator"}
    return env | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


def call(project, *command, ok=True, **told):
    """Run a command in the project; returns what it printed."""
    env = environment(project) | told
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, encoding="utf-8", check=False
    )
    output = done.stdout + done.stderr
    assert (done.returncode == 0) == ok, output
    return output


def set_up(folder):
    """A copy of the project with tiny params, committed to Git."""
    folder.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", "Makefile", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder)
    for name in ("src", "stages", ".ci"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / ".dvc").mkdir()
    for name in ("config", ".gitignore", "page.html"):
        shutil.copy(ROOT / ".dvc" / name, folder / ".dvc")
    shutil.copytree(ROOT / ".dvc" / "plots", folder / ".dvc" / "plots")
    (folder / "data" / "own").mkdir(parents=True)
    for name in (".gitignore", "own/README.md"):
        shutil.copy(ROOT / "data" / name, folder / "data" / name)
    params = yaml.safe_load((folder / "params.yaml").read_text())
    for section, values in TINY.items():
        params[section] |= values
    params["threads"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    call(folder, "git", "init", "-q", "-b", "main")
    commit(folder, "tiny")
    return folder


def commit(project, message):
    call(project, "git", "add", "-A")
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    call(project, "git", *identity, "commit", "-qm", message)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The finished tiny pipeline, committed."""
    folder = set_up(tmp_path_factory.mktemp("home") / "project")
    reads = folder.parent / "reads"
    reads.mkdir()
    noting = f"{ROOT / 'tests' / 'param_reads'}{os.pathsep}{folder / 'src'}"
    call(folder, "dvc", "repro", PYTHONPATH=noting, PARAM_READS=str(reads))
    commit(folder, "finished")
    return folder


@pytest.fixture(scope="module")
def lock(project):
    """Stages of the finished pipeline's dvc.lock."""
    return runs.parse((project / "dvc.lock").read_text(), "dvc.lock")


@pytest.fixture
def copy(project, tmp_path):
    """A copy of the finished pipeline, to change and to break."""
    return shutil.copytree(project, tmp_path / "copy")


def edit(project, **values):
    """Replace values of params.yaml by the names of their params, which must be there once."""
    path = project / "params.yaml"
    text = path.read_text()
    for name, value in values.items():
        text, count = re.subn(rf"^( *{name}:) .*$", rf"\1 {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    path.write_text(text)


def content(project, *folders):
    """Bytes of all files in these folders."""
    paths = [path for folder in folders for path in (project / folder).rglob("*")]
    return {
        path.relative_to(project).as_posix(): path.read_bytes() for path in paths if path.is_file()
    }


def remove(project, *folders):
    """Remove outs, as DVC does before it runs their stage again."""
    for folder in folders:
        shutil.rmtree(project / folder)


def ran(output):
    """Stages that DVC ran, or would run."""
    return [stage for stage in STAGES if f"Running stage '{stage}'" in output]


def test_metrics_and_plots_of_every_branch_are_there(project):
    metrics = json.loads((project / "metrics/fusion.json").read_text())
    assert set(metrics) == {"fused", "mean_colour", *BRANCHES}
    figures = {"rank1", "rank5", "rank10", "rank20", "mAP", "mINP"}
    assert set(metrics["fused"]) == figures | {f"{name}_std" for name in figures}
    assert all(0 <= value <= 100 for figures in metrics.values() for value in figures.values())
    assert set(json.loads((project / "metrics/reconstructor.json").read_text())) == {
        "x2",
        "x3",
        "x4",
    }
    pictures = {path.relative_to(project / "plots").as_posix(): path for path in plots_of(project)}
    assert set(pictures) == {
        *("dataset.png", "pyramid.png", "weights.png", "evaluation/cmc.png"),
        *("evaluation/ranked_lists.png", "evaluation/uncertainty.png"),
        "evaluation/reliability.png",
        *(f"reconstructor/{name}.png" for name in ("height", "psnr", "sheet", "watched")),
    }
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures.values())


def plots_of(project):
    return [path for path in (project / "plots").rglob("*") if path.is_file()]


NOT_READ_BY_DEFAULT = {
    "download": {"data.url", "data.sha256"},  # of a set that is fetched
    "fuse": {"evaluation.k1", "evaluation.k2", "evaluation.lambda_value"},  # of re-ranking
    **{f"train_reid@{branch}": {"data.name"} for branch in BRANCHES},  # of weights to start from
}


def read_by(project, stage, what):
    return set(json.loads((project.parent / "reads" / f"{stage}.json").read_text())[what])


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_reads_the_params_that_it_tracks_and_no_other(project, lock, stage):
    expected = set(lock[stage].params) - NOT_READ_BY_DEFAULT.get(stage, set())
    assert read_by(project, stage, "params") == expected


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_loads_no_code_but_what_it_depends_on(project, lock, stage):
    code = read_by(project, stage, "code")
    loaded = {path for path in code if not path.endswith("__init__.py")}
    deps = [dep for dep in lock[stage].deps if dep.startswith(("src", "stages"))]
    assert loaded
    assert not [path for path in loaded if not any(within(path, dep) for dep in deps)]
    unused = {dep for dep in deps if not any(within(path, dep) for path in code)}
    assert not {dep for dep in unused if not dep.endswith("pins.txt")}


def within(path, dep):
    return path == dep or path.startswith(f"{dep}/")


def test_each_stage_leaves_a_record_outside_git_and_outs(project, lock):
    records = {path.stem: json.loads(path.read_text()) for path in records_of(project).iterdir()}
    assert set(records) == set(STAGES)
    revision = call(project, "git", "rev-parse", "HEAD~1").strip()
    for stage, record in records.items():
        assert record["git"] == {"commit": revision, "clean": True, "changed": []}, stage
    assert records["train_reid@h1"]["numerics"]["threads"] == 1
    assert "threads" not in records["fuse"]["numerics"]  # it loads no torch
    splits = records["fuse"]["inputs"]["data/crops/splits.csv"]
    assert splits == hashlib.sha256((project / "data/crops/splits.csv").read_bytes()).hexdigest()
    assert set(records["download"]["inputs"]) == {"data/raw/images.csv"}
    assert not any("records" in out for stage in lock.values() for out in stage.outs)
    assert call(project, "git", "ls-files", "data/records") == ""
    assert call(project, "git", "status", "--porcelain") == ""


def records_of(project):
    return project / "data" / "records"


def test_an_experiment_in_a_folder_of_its_own_leaves_its_record_in_the_project(copy):
    call(copy, "sh", ".ci/repository.sh")
    before = (records_of(copy) / "fuse.json").read_text()
    run = ("dvc", "exp", "run", "--temp", "-n", "heavier", "-S", "fusion.w_ori=0.4")
    assert ran(call(copy, *run)) == ["fuse", "pack_model"]
    assert (records_of(copy) / "fuse.json").read_text() == before
    record = json.loads((records_of(copy) / "heavier" / "fuse.json").read_text())
    assert record["git"]["changed"] == ["params.yaml"]


def test_outs_are_read_without_running_anything_that_is_in_them(project, lock):
    files = [
        file
        for stage in lock.values()
        for out in stage.outs
        for file in ((project / out).rglob("*") if (project / out).is_dir() else [project / out])
        if file.is_file()
    ]
    assert {file.suffix for file in files} == {
        *(".csv", ".json", ".md", ".npy", ".npz", ".png", ".safetensors")
    }
    for file in files:
        if file.suffix == ".safetensors":
            assert load_file(file)
        elif file.suffix == ".npz":
            assert all(each.dtype == np.float32 for each in np.load(file).values())
        elif file.suffix == ".npy":
            np.load(file, allow_pickle=False)


def test_a_finished_pipeline_runs_nothing(project):
    assert ran(call(project, "dvc", "repro")) == []


def test_one_command_reruns_fusion_alone_and_shows_the_difference(copy):
    output = call(copy, "dvc", "exp", "run", "-S", "fusion.w_ori=0.4")
    assert ran(output) == ["fuse", "pack_model"]
    difference = call(copy, "dvc", "params", "diff", "--json")
    changed = json.loads(difference)["params.yaml"]
    assert {key: (row["old"], row["new"]) for key, row in changed.items()} == {
        "fusion.w_ori": (0.25, 0.4)
    }
    rows = call(copy, "dvc", "metrics", "diff", "--all", "--json")
    assert json.loads(rows)["metrics/fusion.json"]["ori.rank1"]["diff"] == 0
    # a second one, on the results of the first: DVC stashes them, which needs a name
    assert "committed as pyramid-reid" in call(copy, "sh", ".ci/repository.sh")
    assert call(copy, "sh", ".ci/repository.sh") == ""
    assert ran(call(copy, "dvc", "exp", "run", "-S", "fusion.w_ori=0.5")) == ["fuse", "pack_model"]
    page = call(copy, "dvc", "plots", "show").strip().splitlines()[-1]
    assert page.endswith("index.html")
    html = (copy / "dvc_plots" / "index.html").read_text()
    assert "vegaEmbed('#Cumulative_matching" in html
    assert "static/workspace_plots_evaluation_ranked_lists.png" in html
    assert "cdn.jsdelivr.net/npm/vega@" not in html  # it opens without a network


def test_a_stage_that_says_more_than_ascii_ends_well_in_an_ascii_locale(copy):
    before = content(copy, "data/pyramid", "plots")
    remove(copy, "data/pyramid")
    ascii_only = {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    ascii_only["PYTHONCOERCECLOCALE"] = "0"
    output = call(copy, sys.executable, "stages/generate_pyramid.py", **ascii_only)
    assert "crops at \\xd72, \\xd73, \\xd74 in data/pyramid" in output
    assert content(copy, "data/pyramid", "plots") == before


def test_a_killed_stage_goes_on_to_the_same_bytes(copy):
    outs = ("data/models/reid/h1",)
    before = content(copy, *outs)
    remove(copy, "data/checkpoints")
    edit(copy, epochs=4, threads=2)

    def states():
        return sorted((copy / "data/checkpoints/reid/h1").rglob("state.pt"))

    command = ["dvc", "repro", "-s", "train_reid@h1"]
    started = subprocess.Popen(
        command,
        cwd=copy,
        env=environment(copy),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + HANGS_S
    while len(states()) < 2 and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started.poll() is None
    os.killpg(started.pid, signal.SIGKILL)
    started.wait()
    finished, under_way = states()  # of split 0 and of split 1
    written = finished.stat().st_mtime_ns
    call(copy, *command)
    assert states() == [finished, under_way]
    assert finished.stat().st_mtime_ns == written  # it went on
    resumed = content(copy, *outs)
    assert set(resumed) == set(before)
    assert resumed != before
    # as if the machine had gone down before DVC had noted the outputs: nothing is trained again
    written = [path.stat().st_mtime_ns for path in states()]
    again = call(copy, *command, "--force")
    assert "; after 4 epochs" in again
    record = json.loads((records_of(copy) / "train_reid@h1.json").read_text())
    assert record["numerics"]["threads"] == 2
    assert [path.stat().st_mtime_ns for path in states()] == written
    assert content(copy, *outs) == resumed
    remove(copy, *outs, "data/checkpoints")
    run_stage(copy, "train_reid", "h1")
    assert content(copy, *outs) == resumed


def test_the_launcher_runs_a_stage_on_two_processes(copy):
    launcher = "torchrun --standalone --nproc_per_node 2"
    edit(copy, launcher=launcher)
    before = (copy / "data/models/reid/ori/curve.csv").read_text()
    output = call(copy, "dvc", "repro", "-s", "train_reid@ori")
    assert f"> {launcher} stages/train_reid.py ori" in output
    assert output.count("train_reid ori: 2 network(s) in data/models/reid/ori") == 1
    # batches of four small crops: beyond the first epoch, rounding decides much
    after = (copy / "data/models/reid/ori/curve.csv").read_text()
    first, alone = (np.genfromtxt(text.splitlines(), delimiter=",")[1] for text in (after, before))
    np.testing.assert_allclose(first[[0, 1, 3]], alone[[0, 1, 3]], rtol=0.01)
    live = copy / "data/live/reid/ori/split_1/plots/metrics"
    names = {"loss", "accuracy", "lr", "images_per_s"}
    assert {file.stem for file in live.iterdir()} == names
    assert ran(call(copy, "dvc", "repro", "--dry", "-s", "train_reid@ori")) == []


def test_a_killed_restoration_training_goes_on_to_the_same_bytes(copy):
    path = copy / "params.yaml"
    text = path.read_text().replace("iterations: 3", "iterations: 30")
    path.write_text(text.replace("checkpoint_every: 100", "checkpoint_every: 3"))
    stage = (sys.executable, "stages/train_reconstructor.py")
    outs = ("data/models/reconstructor", "plots/reconstructor")
    remove(copy, "data/checkpoints")

    def states():
        return sorted((copy / "data/checkpoints/reconstructor").rglob("state.pt"))

    started = subprocess.Popen(
        stage,
        cwd=copy,
        env=environment(copy),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + HANGS_S
    while len(states()) < 2 and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started.poll() is None
    started.kill()
    started.wait()
    finished, under_way = states()  # of split 0 and of split 1
    written, before = finished.stat().st_mtime_ns, content(copy, *outs)
    call(copy, *stage)
    assert states() == [finished, under_way]
    assert finished.stat().st_mtime_ns == written  # it went on
    resumed = content(copy, *outs)
    assert resumed != before
    remove(copy, "data/checkpoints")
    run_stage(copy, "train_reconstructor")
    assert content(copy, *outs) == resumed


@pytest.mark.parametrize("extractor", ["han_light", "bicubic", "identity"])
def test_another_extractor_is_one_param_away_on_one_process_or_two(copy, extractor):
    edit(copy, extractor=extractor)
    remove(copy, "data/pyramid")
    for stage in ("train_reconstructor", "generate_pyramid"):
        run_stage(copy, stage)
    metrics = json.loads((copy / "metrics/reconstructor.json").read_text())
    for figures in metrics.values():
        # three iterations teach nothing, but spoil nothing either; bicubic is the baseline itself
        allowed = 0.5 if extractor == "han_light" else 0
        assert abs(figures["psnr"] - figures["psnr_bicubic"]) <= allowed
    pyramid = content(copy, "data/pyramid")
    assert len(pyramid) == 12  # two files per split and branch
    if extractor == "identity":
        for split in ("split_0", "split_1"):
            crops = (copy / "data/crops" / split / "pixels.npy").read_bytes()
            for branch in BRANCHES[1:]:
                assert pyramid[f"data/pyramid/{branch}/{split}/pixels.npy"] == crops
    if extractor != "han_light":
        return
    remove(copy, "data/pyramid")
    launch = ("torchrun", "--standalone", "--nproc_per_node", "2")
    call(copy, *launch, "stages/generate_pyramid.py")
    assert content(copy, "data/pyramid") == pyramid
    output = call(copy, *launch, "stages/train_reconstructor.py")
    assert output.count("2 network(s)") == 1


def test_a_split_that_is_run_alone_is_the_one_it_is_among_others(copy):
    path = copy / "params.yaml"
    text = path.read_text().replace("first_split: 0", "first_split: 1")
    path.write_text(text.replace("splits: 2", "splits: 1"))
    folder = copy / "data/crops/split_1"
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    call(copy, "dvc", "repro", "-s", "simulate")
    assert [each.name for each in (copy / "data/crops").glob("split_*")] == ["split_1"]
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_a_pyramid_that_was_moved_in_part_is_made_again(copy):
    pixels = copy / "data/pyramid/h2/split_0/pixels.npy"
    before = pixels.read_bytes()
    remove(copy, "data/pyramid/h1")
    with pytest.raises(OSError, match="not empty"):  # h1 is moved into place, h2 is in its own way
        run_stage(copy, "generate_pyramid")
    assert (copy / "data/pyramid/h1/split_0").exists()
    remove(copy, "data/pyramid")
    run_stage(copy, "generate_pyramid")
    assert pixels.read_bytes() == before


def test_mistakes_end_with_one_line_and_keep_finished_splits(copy):
    path = copy / "params.yaml"
    committed = path.read_text()
    path.write_text(committed.replace("w_ori: 0.25", "w_ori: -1.0"))
    output = call(copy, "dvc", "repro", ok=False)
    assert "fuse: params.yaml: fusion.w_ori: Input should be greater than or equal to 0" in output
    assert "Traceback" not in output

    def states():
        """Key of the state that is kept of each split."""
        paths = (copy / "data/checkpoints/reconstructor").rglob("state.pt")
        return {path.parent.parent.name: path.parent.name for path in paths}

    before = states()
    assert set(before) == {"split_0", "split_1"}
    path.write_text(committed.replace("iterations: 3", "iterations: 4"))
    store = copy / "data/crops/split_1/pixels.npy"
    store.chmod(0o644)
    store.write_bytes(store.read_bytes()[:-1])
    output = call(copy, sys.executable, "stages/train_reconstructor.py", ok=False)
    assert "train_reconstructor: data/crops/split_1 is not a crop store" in output
    assert "Traceback" not in output
    after = states()
    assert after["split_0"] != before["split_0"]  # finished with the new params, and kept
    assert after["split_1"] == before["split_1"]  # not begun


def as_manifest(store, folder):
    """Write the queries and the gallery of a crop store as a set of their own; no training."""
    folder.mkdir()
    lines = ["path,pid,camid,role"]
    for row in [*store.rows("query"), *store.rows("gallery")]:
        crop = store.index.iloc[row]
        Image.fromarray(store[row]).save(folder / f"{row}.png")
        lines.append(f"{row}.png,{crop.pid},{crop.camid},{crop.role}")
    (folder / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")


def test_networks_of_another_run_judge_a_set_without_training_images(project, lock, copy, tmp_path):
    as_manifest(CropStore(project / "data/crops/split_1"), tmp_path / "set")
    options = {
        "data.name": "manifest",
        "data.root": tmp_path / "set",
        "data.splits": 1,
        "data.first_split": 1,  # judged by the networks of that split
        "evaluation.rule": "market1501",
        "reid.epochs": 0,
        "reid.pretrained": project / "data/models/reid",
        "reid.height": 64,  # the networks bring their own input size
        "restoration.iterations": 0,
        "restoration.pretrained": project / "data/models/reconstructor",
        "restoration.extractor": "han_light",  # and the reconstructor its extractor
    }
    for section in ("reid", "restoration"):
        options[f"{section}.pretrained_sha256"] = provenance.sha256(
            options[f"{section}.pretrained"]
        )
    params = yaml.safe_load((copy / "params.yaml").read_text())
    for name, value in options.items():
        section, key = name.split(".")
        assert key in params[section]
        params[section][key] = str(value) if isinstance(value, Path) else value
    (copy / "params.yaml").write_text(yaml.safe_dump(params))
    said = {}
    for stage in STAGES:  # each as DVC would call it: without its outs
        for out in lock[stage].outs:
            path = copy / out
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        said[stage] = run_stage(copy, *stage.split("@"))
    assert "; none to train on: for networks that are there already" in said["simulate"]
    assert said["train_reid@ori"].endswith("not trained: osnet_x0_25, 32×16")
    packed = description.read(copy / "data/model")
    for part in (packed.restorer, *packed.branches.values()):  # this set's people trained none
        assert part.trained_on.startswith("unknown (re"), part
        assert part.licence == "unknown: ask whoever gave the file"
    other = shutil.copytree(project, tmp_path / "other")
    edit(other, rule="market1501")
    for each in (copy, other):
        for branch in BRANCHES:
            assert (each / f"data/distances/{branch}/split_1/distmat.npy").exists()
            if each is other:
                shutil.rmtree(each / f"data/distances/{branch}/split_0")
    for branch in BRANCHES:
        file = f"data/distances/{branch}/split_1/distmat.npy"
        assert (copy / file).read_bytes() == (project / file).read_bytes()
    remove(other, "data/crops/split_0")
    run_stage(other, "fuse")
    ours, theirs = (
        json.loads((each / "metrics/fusion.json").read_text()) for each in (copy, other)
    )
    assert ours == theirs
    call(copy, "dvc", "plots", "show")  # with an empty curve of the loss
    # what trains says what it lacks, before anything is trained
    lacks = "no image of split_1 has the role train: check the roles"
    edit(copy, iterations=3, epochs=3)
    for stage in (("train_reconstructor",), ("train_reid", "ori")):
        with pytest.raises(UserError, match=lacks):
            run_stage(copy, *stage)


def test_another_file_at_the_same_pretrained_path_is_not_taken_for_the_first(
    project, copy, tmp_path
):
    stages = {
        "restoration": ("train_reconstructor", "data/models/reconstructor"),
        "reid": ("train_reid@ori", "data/models/reid/ori"),
    }
    for section, (stage, models) in stages.items():
        program, *branch = stage.split("@")
        params = yaml.safe_load((project / "params.yaml").read_text())
        path = tmp_path / f"{section}.safetensors"
        params[section]["pretrained"] = str(path)
        (copy / "params.yaml").write_text(yaml.safe_dump(params))
        command = ("dvc", "repro", "-s", stage)

        def refused(said, program=program, branch=branch):
            with pytest.raises(UserError, match=re.escape(said)):
                run_stage(copy, program, *branch)

        refused(f"{section}.pretrained: {path} is neither a file nor a folder")
        shutil.copy(project / models / "split_0/model.safetensors", path)
        refused(f"-S {section}.pretrained_sha256={sha256(path)}")
        params[section]["pretrained_sha256"] = sha256(path)
        (copy / "params.yaml").write_text(yaml.safe_dump(params))
        call(copy, *command)
        shutil.copy(project / models / "split_1/model.safetensors", path)
        refused(f"has SHA-256 {sha256(path)}, not that of {section}.pretrained_sha256")
        params[section]["pretrained_sha256"] = sha256(path)
        (copy / "params.yaml").write_text(yaml.safe_dump(params))
        assert ran(call(copy, *command, "--dry")) == [stage]


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()
