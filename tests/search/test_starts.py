"""Named starts: where they are, what trained them, and whom they may not be judged on."""

import hashlib
import json
import os
import sys
from itertools import pairwise
from pathlib import Path

import gdown
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import pyramid_reid
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import NAMED_STARTS, HanSize, Params
from pyramid_reid.core.resize import resize
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.network.preprocessing import normalize as to_input
from pyramid_reid.reid.network.preprocessing import to_float
from pyramid_reid.reid.training import pretrained, starts
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.restoration.network.reconstructor import Architecture
from pyramid_reid.search import description, starting

PUBLISHED = os.environ.get(starts.FOLDER)


@pytest.fixture(autouse=True)
def _no_folder_of_the_user(monkeypatch):
    monkeypatch.delenv(starts.FOLDER, raising=False)


@pytest.fixture
def no_network(monkeypatch):
    def download(url, file):
        raise ConnectionError(url)

    monkeypatch.setattr(gdown, "download", download)


def published():
    """Addresses in torchreid's own table, by file name; some names are there twice."""
    source = Path(sys.modules["torchreid"].__file__).parent / "reid_model_factory.py"
    lines = [line.strip().strip("',:") for line in source.read_text(encoding="utf-8").splitlines()]
    return {(name, url) for name, url in pairwise(lines) if "http" in url}


def test_addresses_are_those_of_torchreid_s_own_table():
    import torchreid  # noqa: F401

    table = published()
    for name, of_network in starts.IDS.items():
        in_table = name.removesuffix("_combineall")
        for network, number in of_network.items():
            assert (f"{network}_{in_table}.pt", f"{starts.DRIVE}{number}") in table
    numbers = [number for of_network in starts.IDS.values() for number in of_network.values()]
    assert len(set(numbers)) == len(numbers) == 14


def test_params_know_the_names_and_the_sets_of_all_starts():
    assert set(NAMED_STARTS) == set(starts.ORIGINS) == {*starts.IDS, "imagenet"}
    for name, trained_set in NAMED_STARTS.items():
        assert starts.ORIGINS[name].sets == ((trained_set,) if trained_set else ())


def test_the_user_s_folder_comes_first_then_what_was_fetched(tmp_path, monkeypatch, no_network):
    own, fetched = tmp_path / "own", tmp_path / "fetched"
    for folder in (own, fetched):
        folder.mkdir()
        (folder / "osnet_x0_5_msmt17.pth").write_bytes(b"weights")
    monkeypatch.setenv(starts.FOLDER, str(own))
    assert starts.locate("msmt17", "osnet_x0_5", fetched).parent == own
    (own / "osnet_x0_5_msmt17.pth").unlink()
    assert starts.locate("msmt17", "osnet_x0_5", fetched).parent == fetched


def test_what_is_nowhere_is_fetched_once(tmp_path, monkeypatch):
    fetched = []

    def download(url, file):
        fetched.append(url)
        Path(file).write_bytes(b"weights")

    monkeypatch.setattr(gdown, "download", download)
    for _ in range(2):
        path = pretrained.find("msmt17_combineall", "osnet_ain_x1_0", None, tmp_path / "new")
        assert path == tmp_path / "new" / "osnet_ain_x1_0_msmt17_combineall.pth"
    assert fetched == ["https://drive.google.com/uc?id=1SigwBE6mPdqiJMqhuIY4aqC7--5CsMal"]


def test_without_a_network_one_sentence_says_what_to_put_where(tmp_path, no_network):
    with pytest.raises(UserError) as caught:
        pretrained.find("market1501", "osnet_x1_0", None, tmp_path)
    said = str(caught.value)
    assert "https://drive.google.com/uc?id=1vduhq5DpN2q1g4fYEZfPI17MJeh9qyrA" in said
    assert str(tmp_path / "osnet_x1_0_market1501.pth") in said
    assert "PYRAMID_REID_WEIGHTS" in said
    assert not [path for path in tmp_path.iterdir() if path.is_file()]


def test_a_network_without_such_a_start_is_told_which_have_one(tmp_path):
    with pytest.raises(UserError, match=r"no market1501 weights of osnet_ain_x1_0.*osnet_x0_25"):
        pretrained.find("market1501", "osnet_ain_x1_0", None, tmp_path)


def test_another_file_under_the_name_is_refused_by_its_pinned_hash(tmp_path, monkeypatch):
    (tmp_path / "osnet_x0_25_msmt17.pth").write_bytes(b"something else")
    monkeypatch.setenv(starts.FOLDER, str(tmp_path))
    with pytest.raises(UserError, match=r"not that of the msmt17 that is known") as caught:
        pretrained.find("msmt17", "osnet_x0_25", None, tmp_path / "new")
    assert "pretrained_sha256" not in str(caught.value)  # nobody has set it
    with pytest.raises(UserError, match=r"not that of reid.pretrained_sha256"):
        pretrained.find("msmt17", "osnet_x0_25", "0" * 64, tmp_path / "new")


def test_weights_of_another_run_tell_what_they_started_from(tmp_path):
    path = tmp_path / "reid/model.safetensors"
    start = {"trained_on": "MSMT17", "licence": "research", "sha256": "0" * 64}
    osnet.save(path, osnet.build("osnet_x0_25", 3, 1), "osnet_x0_25", 32, 16, start)
    told = starts.record(str(path), path)
    assert told["trained_on"].startswith("unknown (model.safetensors, SHA-256 ")
    assert told["trained_on"].endswith(", from weights of MSMT17")
    assert told["licence"].endswith(". Start: research")


def test_a_word_that_is_neither_name_nor_file_lists_the_names(tmp_path):
    with pytest.raises(UserError, match=r"msmt is neither a file nor a folder"):
        pretrained.find("msmt", "osnet_x0_25", None, tmp_path)


@pytest.mark.parametrize(
    ("start", "name"),
    [("msmt17", "msmt17"), ("msmt17_combineall", "msmt17"), ("market1501", "market1501")],
)
def test_params_refuse_a_start_that_knows_the_set_s_people(raw_params, start, name):
    raw_params["data"]["name"] = name
    raw_params["reid"]["pretrained"] = start
    with pytest.raises(ValueError, match=f"people of {name} trained these weights"):
        Params.model_validate(raw_params)
    raw_params["data"]["name"] = "viper"
    assert Params.model_validate(raw_params).reid.pretrained == start


def test_a_path_is_recognised_by_its_hash_whatever_its_name():
    known = starts.SHA256["market1501", "osnet_x0_25"]
    trained = starts.origin("/somewhere/w.pth", known)
    assert trained.sets == ("market1501",)
    with pytest.raises(UserError, match="people of market1501 trained"):
        starts.check(trained, {}, "market1501")
    starts.check(trained, {}, "msmt17")
    assert "unknown (w.pth, SHA-256 00" in starts.origin("/somewhere/w.pth", "0" * 64).trained_on


def test_a_file_of_another_training_is_told_by_its_classifier():
    trained = starts.origin("msmt17", "0" * 64)
    weights = {"classifier.weight": torch.zeros(4101, 4)}
    with pytest.raises(UserError, match=r"knows 4,101 people, that of MSMT17, .* 1,041"):
        starts.check(trained, weights, "viper")
    starts.check(trained, {"classifier.weight": torch.zeros(1041, 4)}, "viper")


def test_the_public_files_have_the_pinned_hashes_and_people():
    if not PUBLISHED:
        pytest.skip("PYRAMID_REID_WEIGHTS names no folder with torchreid's weights")
    for (name, network), sha256 in starts.SHA256.items():
        path = Path(PUBLISHED) / f"{network}_{name}.pth"
        assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
        weights = torch.load(path, map_location="cpu", weights_only=True)
        weights = weights.get("state_dict", weights)
        assert len(weights["classifier.weight"]) == starts.ORIGINS[name].people


def test_the_start_is_recorded_in_the_network_s_file(tmp_path):
    start = {"trained_on": "somebody's crops", "licence": "none", "sha256": "0" * 64}
    model = osnet.build("osnet_x0_25", 3, 0)
    osnet.save(tmp_path / "a", model, "osnet_x0_25", 32, 16, start)
    with safe_open(tmp_path / "a", "np") as file:
        assert set(file.metadata()) == {"network"}  # of several, the order would be random
        assert json.loads(file.metadata()["network"])["start"] == start
    assert osnet.load(tmp_path / "a")[1:] == (32, 16)
    osnet.save(tmp_path / "b", model, "osnet_x0_25", 32, 16)
    with safe_open(tmp_path / "b", "np") as file:
        assert "start" not in file.metadata()["network"]


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "ours.pth"
    torch.save(osnet.build("osnet_x0_25", 5, 3).state_dict(), path)
    return path


def test_a_model_without_training_has_one_network_in_every_branch(checkpoint, tmp_path):
    out = tmp_path / "new" / "model"
    starting.pack_start(str(checkpoint), "osnet_x0_25", 64, 32, "bicubic", out)
    assert {path.name for path in out.iterdir()} == {
        "model.json",
        "README.md",
        "network.safetensors",
        "restorer.safetensors",
    }
    assert [path.name for path in out.parent.iterdir()] == ["model"]
    told = description.read(out)
    assert {each.file for each in told.branches.values()} == {"network.safetensors"}
    assert told.name == "ours"
    assert told.calibration is None
    assert "no validation identities" in told.why_no_calibration
    assert "unknown (ours.pth, SHA-256" in told.branches["h3"].trained_on
    assert "a rank is no identification" in (out / "README.md").read_text(encoding="utf-8")

    model = pyramid_reid.load(out)
    pixels = np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    own = osnet.build("osnet_x0_25", 5, 3).eval()
    views = [pixels, *model.restore(pixels)]
    resized = [resize(view, 64, 32, Image.Resampling.BILINEAR) for view in views]
    with torch.inference_mode():
        expected = own(to_input(to_float(torch.from_numpy(np.stack(resized))))).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.abs(model.embed([pixels])[0] - expected).max() < 1e-5


def test_a_restorer_of_a_run_is_taken_over(checkpoint, tmp_path):
    architecture = Architecture(
        size=HanSize(groups=1, blocks=1, dim=16), head_dim=2, scales=(2, 3, 5)
    )
    path, out = tmp_path / "r.safetensors", tmp_path / "model"
    reconstructor.save(path, reconstructor.build(architecture, 0))
    starting.pack_start(str(checkpoint), "osnet_x0_25", 64, 32, str(path), out)
    told = description.read(out).restorer
    assert told.scales == (2, 3, 5)
    assert told.extractor == "HAN (1 groups of 1 blocks, width 16)"
    assert told.trained_on.startswith("unknown (r.safetensors, SHA-256 ")  # no path of the machine
    # with the model that it belongs to, it keeps what that one tells
    description_of_run = description.read(out)
    known = told.model_copy(update={"trained_on": "Our crops", "licence": "ours alone"})
    run = description_of_run.model_copy(update={"restorer": known})
    (tmp_path / "model.json").write_text(run.model_dump_json())
    starting.pack_start(str(checkpoint), "osnet_x0_25", 64, 32, str(path), tmp_path / "second")
    told = description.read(tmp_path / "second").restorer
    assert (told.trained_on, told.licence) == ("Our crops", "ours alone")


def test_packing_twice_gives_the_same_bytes(checkpoint, tmp_path):
    for name in ("a", "b"):
        starting.pack_start(
            str(checkpoint), "osnet_x0_25", 64, 32, "bicubic", tmp_path / name / "model"
        )
    for path in (tmp_path / "a/model").iterdir():
        assert path.read_bytes() == (tmp_path / "b/model" / path.name).read_bytes()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"network": "resnet50"}, "no network resnet50"),
        ({"network": "osnet_x0_5"}, r"lacks \d+ weights of osnet_x0_5.*--model"),
        ({"height": 8}, "too small"),
        ({"start": "imagenet"}, "tell things apart"),
        ({"start": "nowhere.pth"}, "is no file, and none of msmt17"),
        ({"restorer": "nowhere.safetensors"}, "is not a reconstructor"),
    ],
)
def test_what_cannot_be_packed_says_why_and_leaves_nothing(checkpoint, tmp_path, values, said):
    out = tmp_path / "new" / "model"
    asked = {
        "start": str(checkpoint),
        "network": "osnet_x0_25",
        "height": 64,
        "width": 32,
        "restorer": "bicubic",
        "out": out,
    }
    with pytest.raises(UserError, match=said):
        starting.pack_start(**asked | values)
    assert not out.parent.exists() or not list(out.parent.iterdir())


def test_what_is_there_is_not_overwritten(checkpoint, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine").touch()
    with pytest.raises(UserError, match="is there already"):
        starting.pack_start(str(checkpoint), "osnet_x0_25", 64, 32, "bicubic", tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["mine"]
