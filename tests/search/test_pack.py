"""The model folder of a finished run: what is in it, and that it gives the run's own distances."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from tests.conftest import ROOT, run_stage

import pyramid_reid
from pyramid_reid.core.crops import CropStore
from pyramid_reid.core.errors import UserError
from pyramid_reid.search import description
from pyramid_reid.search.packing import files
from pyramid_reid.search.packing.files import sha256_of

BRANCHES = ("ori", "h1", "h2", "h3")
WEIGHTS = {"ori": 2.0, "h1": 1.0, "h2": 1.0, "h3": 0.0}
TINY = {
    "data": {"identities": 12, "images_per_camera": 2, "splits": 1},
    "restoration": {
        "swinir_light": {"depths": [1], "dim": 8, "num_heads": 2},
        "head_dim": 4,
        "iterations": 2,
        "batch_size": 2,
        "patch_height": 8,
    },
    "reid": {
        "height": {"ori": 32, "h1": 32, "h2": 48, "h3": 48},
        "width": 16,
        "epochs": 2,
        "warmup_epochs": 1,
        "batch_size": 4,
        "validation_identities": 2,
    },
    "fusion": {f"w_{branch}": weight for branch, weight in WEIGHTS.items()},
    "evaluation": {"resamples": 100},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run with tiny networks, without DVC."""
    folder = tmp_path_factory.mktemp("run")
    raw = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for section, values in TINY.items():
        raw[section] |= values
    raw["threads"] = 1
    (folder / "params.yaml").write_text(yaml.safe_dump(raw))
    for stage in ("download", "simulate", "train_reconstructor", "generate_pyramid"):
        run_stage(folder, stage)
    for stage in ("train_reid", "distances"):
        for branch in BRANCHES:
            run_stage(folder, stage, branch)
    run_stage(folder, "fuse")
    run_stage(folder, "pack_model")
    return folder


@pytest.fixture(scope="module")
def packed(run):
    return pyramid_reid.load(run / "data/model")


@pytest.fixture
def broken(run, tmp_path):
    """A copy of the run without its model folder."""
    shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints", "model"))
    return tmp_path / "run"


@pytest.fixture(scope="module")
def embedded(run, packed):
    """Features of the run's queries and of its gallery."""
    store = CropStore(run / "data/crops/split_0")
    return [packed.embed([store[row] for row in store.rows(r)]) for r in ("query", "gallery")]


@pytest.mark.parametrize("branch", BRANCHES)
def test_embed_and_distances_give_the_pipeline_s_own(run, embedded, branch):
    ours = pyramid_reid.distances(*embedded, {branch: 1})
    theirs = np.load(run / f"data/distances/{branch}/split_0/distmat.npy")
    assert ours.shape == theirs.shape
    # crops of a batch are restored with others than in the pipeline: rounding, at worst by one
    # level of one pixel in a restored image
    assert np.abs(ours - theirs).max() < 1e-4


def test_the_fused_distances_rank_as_fuse_does(run, packed, embedded):
    assert packed.weights == {"ori": 0.5, "h1": 0.25, "h2": 0.25, "h3": 0.0}
    ours = pyramid_reid.distances(*embedded, packed.weights)
    of_run = [np.load(run / f"data/distances/{b}/split_0/distmat.npy") for b in BRANCHES]
    theirs = sum(share * each for share, each in zip(packed.weights.values(), of_run, strict=True))
    assert np.abs(ours - theirs).max() < 1e-4


def test_the_folder_holds_the_run_s_networks_and_tells_what_they_are(run, packed):
    folder, told = run / "data/model", packed.description
    names = {path.name for path in folder.iterdir()}
    assert names == {"model.json", "README.md", "restorer.safetensors"} | {
        f"{branch}.safetensors" for branch in BRANCHES
    }
    for branch in BRANCHES:
        trained = run / f"data/models/reid/{branch}/split_0/model.safetensors"
        assert (folder / f"{branch}.safetensors").read_bytes() == trained.read_bytes()
        assert told.branches[branch].sha256 == sha256_of(trained)
    assert [told.branches[branch].height for branch in BRANCHES] == [32, 32, 48, 48]
    assert told.restorer.extractor == "SwinIR (1 groups, width 8)"
    assert told.restorer.scales == (2, 3, 4)
    index = pd.read_csv(run / "data/crops/split_0/index.csv")
    train = index[index.role == "train"]
    assert told.trained["split"] == "split_0"
    assert told.trained["splits"] == 1
    assert told.trained["training_identities"] == train.pid.nunique() == 4
    assert told.trained["training_crops"] == len(train)
    assert told.branches["h1"].trained_on == "4 training identities of synthetic"
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "On the split's test people, with these networks" in card
    assert "a rank is no identification" in card
    assert told.restorer.sha256[:16] in card


def test_of_several_splits_the_first_is_packed_and_the_card_says_so(broken):
    shutil.copytree(
        broken / "data/models/reconstructor/split_0", broken / "data/models/reconstructor/split_10"
    )
    said = run_stage(broken, "pack_model")
    assert said.startswith("model of synthetic, split_0 of 2")
    card = (broken / "data/model/README.md").read_text(encoding="utf-8")
    assert "mean over 2 splits; this is the model of the first of them" in card


def test_calibration_and_figures_of_the_run_are_in_the_card(run, packed):
    told = json.loads((run / "data/evaluation/calibration.json").read_text())
    card = (run / "data/model/README.md").read_text(encoding="utf-8")
    figures = json.loads((run / "metrics/fusion.json").read_text())
    assert f"| fused | {figures['fused']['rank1']:.1f} | {figures['fused']['mAP']:.1f} |" in card
    if told["calibration"] is None:
        assert packed.description.calibration is None
        assert packed.description.why_no_calibration == told["why_none"]
        assert told["why_none"] in card
    else:
        assert packed.description.calibration.model_dump() == told["calibration"]
        assert f"{told['thresholds'][0]['distance']:.3f}" in card
    assert (run / "plots/evaluation/reliability.png").is_file()


def test_a_calibration_is_taken_over_and_tabled(broken):
    fitted = {"slope": 9.5, "intercept": -4, "identities": 3, "same_pairs": 8, "different_pairs": 9}
    row = {"probability": 0.5, "distance": 0.421, "false_accepts": 1.25, "false_rejects": 12.5}
    told = {"calibration": fitted, "why_none": None, "thresholds": [row]}
    (broken / "data/evaluation/calibration.json").write_text(json.dumps(told))
    figures = json.loads((broken / "metrics/fusion.json").read_text())
    further = dict.fromkeys(("reranked", "whitened", "whitened_reranked"), figures["fused"])
    (broken / "metrics/fusion.json").write_text(json.dumps(figures | further))
    assert run_stage(broken, "pack_model").startswith(
        "model of synthetic, split_0 of 1, calibrated"
    )
    assert description.read(broken / "data/model").calibration.slope == 9.5
    card = (broken / "data/model/README.md").read_text(encoding="utf-8")
    assert "| 0.5 | 0.421 | 1.25 | 12.50 |" in card
    assert "| reranked |" in card
    assert "| whitened" not in card  # a model does not whiten


def test_the_bytes_depend_on_the_inputs_alone(run, broken):
    run_stage(broken, "pack_model")
    for path in (run / "data/model").iterdir():
        assert (broken / "data/model" / path.name).read_bytes() == path.read_bytes(), path.name


def test_the_start_of_a_training_and_its_licence_are_told(broken):
    from pyramid_reid.reid.network import osnet

    path = broken / "data/models/reid/h2/split_0/model.safetensors"
    model, height, width = osnet.load(path)
    start = {"trained_on": "MSMT17, its training split", "licence": "research", "sha256": "0" * 64}
    osnet.save(path, model, "osnet_x0_25", height, width, start)
    run_stage(broken, "pack_model")
    told = description.read(broken / "data/model").branches["h2"]
    assert told.trained_on.endswith("from weights of MSMT17, its training split")
    assert told.licence.endswith("Start: research")


def test_weights_that_were_taken_over_are_not_said_to_know_the_set_s_people(broken):
    from pyramid_reid.reid.network import osnet
    from pyramid_reid.restoration.network import reconstructor

    start = {"trained_on": "other people", "licence": "theirs", "sha256": "0" * 64}
    path = broken / "data/models/reid/h2/split_0/model.safetensors"
    model, height, width = osnet.load(path)
    osnet.save(path, model, "osnet_x0_25", height, width, start, trained=False)
    path = broken / "data/models/reconstructor/split_0/model.safetensors"
    plain = path.read_bytes()
    restorer = reconstructor.load(path)
    reconstructor.save(path, restorer)
    assert path.read_bytes() == plain
    for trained, said in ((False, "other people"), (True, "from weights of other people")):
        reconstructor.save(path, restorer, start, trained=trained)
        assert reconstructor.load(path).architecture == restorer.architecture
        run_stage(broken, "pack_model")
        told = description.read(broken / "data/model")
        assert told.restorer.trained_on.endswith(said)
        assert ("training identities" in told.restorer.trained_on) is trained
        assert told.restorer.licence.endswith("theirs")
        assert (told.branches["h2"].trained_on, told.branches["h2"].licence) == (
            "other people",
            "theirs",
        )
        assert "training identities" in told.branches["h1"].trained_on


@pytest.mark.parametrize(
    ("path", "content", "said"),
    [
        ("data/models/reid/h1/split_0/model.safetensors", b"\0" * 20, "is no network"),
        ("data/models/reconstructor/split_0/model.safetensors", None, "is no network"),
        ("data/evaluation/calibration.json", b"{", "cannot be read"),
        ("data/evaluation/calibration.json", b'{"calibration": {"slope": -1}}', "is damaged"),
        ("data/crops/split_0/index.csv", b"pid\n1\n", "is no folder of crops"),
        ("metrics/fusion.json", b"[]", "holds no table"),
    ],
)
def test_what_is_damaged_is_named(broken, path, content, said):
    if content is None:
        (broken / path).unlink()
    else:
        (broken / path).write_bytes(content)
    with pytest.raises(UserError, match=f"{said}.*dvc repro"):
        run_stage(broken, "pack_model")


def test_packing_loads_neither_torch_nor_pandas(run):
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:];"
        " runpy.run_path(sys.argv[0], run_name='__main__'); print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(ROOT / "stages/pack_model.py")],
        cwd=run,
        env=os.environ | {"PYTHONPATH": str(ROOT / "stages")},
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(done.stdout.split())
    assert "safetensors" in loaded
    assert not {"torch", "pandas", "scipy", "matplotlib"} & loaded


def test_a_restorer_is_told_by_its_architecture():
    size = {"groups": 4, "blocks": 4, "dim": 48}
    assert files.extractor_of({"size": size, "scales": [2, 3, 4]}).startswith("HAN (4 groups of 4")
    assert files.extractor_of({"size": None, "scales": [2, 3, 4]}) == "bicubic"
    assert files.extractor_of({"size": None, "scales": [1, 1, 1]}) == "identity"
