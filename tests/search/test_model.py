"""The model folder as an object: what it takes, what it gives, and what it refuses."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import pyramid_reid
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search import description


@pytest.fixture
def folder(model_folder, tmp_path):
    """A copy of a model folder, to break."""
    return shutil.copytree(model_folder, tmp_path / "model")


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (31, 13, 3), dtype=np.uint8)


def change(folder, **values):
    raw = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(raw | values))


def test_features_are_float32_of_length_1_and_shape_n_4_512(model, pixels):
    features = model.embed([pixels, pixels[:9]])
    assert features.shape == (2, 4, 512)
    assert features.dtype == np.float32
    assert np.abs(np.linalg.norm(features, axis=2) - 1).max() < 1e-5
    assert model.embed([]).shape == (0, 4, 512)


def test_paths_pillow_images_and_arrays_give_the_same(model, pixels, tmp_path):
    Image.fromarray(pixels).save(tmp_path / "a.png")
    kinds = [tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(pixels), pixels]
    features = model.embed(kinds)
    assert (features == features[:1]).all()
    assert [image.shape for image in model.restore(kinds[0])] == [
        (62, 26, 3),
        (93, 39, 3),
        (124, 52, 3),
    ]


def test_threads_share_a_model_and_get_what_one_alone_gets(folder, model):
    rng = np.random.default_rng(3)
    crops = [rng.integers(0, 256, (20 + n, 10 + n, 3), dtype=np.uint8) for n in range(6)]
    alone = model.embed(crops), [model.embed([crop]) for crop in crops], model.restore(crops[5])
    threads = torch.get_num_threads()
    shared = pyramid_reid.load(folder)  # builds its networks while others ask
    with ThreadPoolExecutor(8) as pool:
        many = [pool.submit(shared.embed, crops) for _ in range(4)]
        single = [pool.submit(shared.embed, [crop]) for crop in crops]
        images = [pool.submit(shared.restore, crops[5]) for _ in range(4)]
        dims = [pool.submit(getattr, shared, "dim") for _ in range(4)]
        for each in many:
            assert (each.result() == alone[0]).all()
        for each, expected in zip(single, alone[1], strict=True):
            assert (each.result() == expected).all()
        for each in images:
            assert all((a == b).all() for a, b in zip(each.result(), alone[2], strict=True))
        assert {each.result() for each in dims} == {512}
    assert torch.get_num_threads() == threads


def test_boxes_are_cut_from_their_frame(model):
    frame = np.random.default_rng(1).integers(0, 256, (90, 80, 3), dtype=np.uint8)
    boxes = np.array([[10, 5, 30.4, 60], [-5, 40, 20, 200]])
    cut = [frame[5:60, 10:30], frame[40:90, 0:20]]
    expected = model.embed(cut)
    assert np.abs(model.embed_boxes(frame, boxes) - expected).max() < 1e-6
    detections = SimpleNamespace(xyxy=boxes.astype(np.float32))  # as supervision's
    assert np.abs(model.embed_boxes(frame, detections) - expected).max() < 1e-6
    assert model.embed_boxes(frame, []).shape == (0, 4, 512)
    with pytest.raises(ValueError, match="covers nothing of the frame"):
        model.embed_boxes(frame, [[100, 0, 120, 20]])
    with pytest.raises(ValueError, match="not \\(N, 4\\)"):
        model.embed_boxes(frame, [[1, 2, 3]])


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((4, 4), np.uint8), "no \\(H, W, 3\\) uint8"),
        (np.zeros((4, 4, 3), np.float32), "no \\(H, W, 3\\) uint8"),
        (np.zeros((0, 4, 3), np.uint8), "no \\(H, W, 3\\) uint8"),
        ("/nowhere/a.png", "/nowhere/a.png cannot be read"),
    ],
)
def test_what_is_no_image_is_named(model, image, said):
    with pytest.raises(ValueError, match=said):
        model.embed([image])


@pytest.mark.parametrize(
    ("gpus", "device", "said"),
    [
        (0, "cuda", "device cuda: torch finds no GPU: give another device, or cpu"),
        (2, "cuda:2", "device cuda:2: torch finds cuda:0, cuda:1: give another"),
        (2, "gpu", "device gpu: torch knows none of this name"),
        (2, "cuda", None),
        (2, "cuda:1", None),
        (0, "cpu", None),
    ],
)
def test_a_device_that_is_not_there_is_named(model_folder, monkeypatch, gpus, device, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    if said is None:
        assert pyramid_reid.load(model_folder, device)._device == torch.device(device)
        return
    with pytest.raises(UserError, match=said):
        pyramid_reid.load(model_folder, device)


def test_distances_are_the_weighted_sum_written_anew():
    rng = np.random.default_rng(0)
    query, gallery = (rng.normal(size=(n, 4, 8)) for n in (3, 5))
    query, gallery = (f / np.linalg.norm(f, axis=2, keepdims=True) for f in (query, gallery))
    weights = {"ori": 2, "h2": 1, "h3": 1}
    expected = np.zeros((3, 5))
    for share, branch in ((0.5, 0), (0.25, 2), (0.25, 3)):
        for i in range(3):
            for j in range(5):
                expected[i, j] += share * (1 - query[i, branch] @ gallery[j, branch])
    found = pyramid_reid.distances(query, gallery, weights)
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() < 1e-6
    equal = pyramid_reid.distances(query, gallery)
    assert (
        np.abs(
            equal
            - pyramid_reid.distances(query, gallery, dict.fromkeys(("ori", "h1", "h2", "h3"), 7))
        ).max()
        < 1e-6
    )


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ({"ori": -1}, "numbers from 0"),
        ({"ori": float("nan")}, "numbers from 0"),
        ({"ori": 0}, "all weights are 0"),
        ({"h4": 1}, "no branch h4"),
    ],
)
def test_weights_that_are_none_are_refused(weights, said):
    features = np.full((2, 4, 1), 1.0)
    with pytest.raises(ValueError, match=said):
        pyramid_reid.distances(features, features, weights)


def test_features_of_two_models_are_refused():
    with pytest.raises(ValueError, match="they are of two models"):
        pyramid_reid.distances(np.ones((1, 4, 1)), np.full((1, 4, 4), 0.5))


@pytest.mark.parametrize("file", ["restorer.safetensors", "h2.safetensors"])
@pytest.mark.parametrize("how", ["truncated", "flipped", "missing", "empty"])
def test_a_damaged_file_is_named_in_one_sentence(folder, file, how):
    path = folder / file
    content = bytearray(path.read_bytes())
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    elif how == "empty":
        path.write_bytes(b"")
    else:
        path.unlink()
    with pytest.raises(UserError, match=rf"{file} .*copy the folder again, or pack it anew"):
        pyramid_reid.load(folder)


@pytest.mark.parametrize("found", [0, 2, 99, "1", None, True, 1.5])
def test_another_format_is_refused(folder, found):
    change(folder, format=found)
    with pytest.raises(UserError, match=r"has format .* reads 1: install the version|is damaged"):
        pyramid_reid.load(folder)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"surprise": 1}, "surprise"),
        ({"weights": {"ori": 1.0}}, "does not describe the branches"),
        ({"weights": dict.fromkeys(("ori", "h1", "h2", "h3"), 1.0)}, "do not add up to 1"),
        ({"weights": dict.fromkeys(("ori", "h1", "h2", "h3"), -0.25)}, "damaged"),
        ({"branches": {}}, "does not describe the branches"),
        ({"restorer": None}, "damaged \\(restorer"),
        ({"calibration": {"slope": 1}}, "damaged \\(calibration"),
    ],
)
def test_a_description_with_more_or_less_is_refused(folder, values, said):
    change(folder, **values)
    with pytest.raises(UserError, match=said):
        pyramid_reid.load(folder)


def test_a_missing_branch_and_a_file_outside_are_refused(folder):
    raw = json.loads((folder / "model.json").read_text())
    h1 = raw["branches"].pop("h1")
    change(folder, branches=raw["branches"])
    with pytest.raises(UserError, match="does not describe the branches ori, h1, h2, h3"):
        pyramid_reid.load(folder)
    change(folder, branches=raw["branches"] | {"h1": h1 | {"file": "../h1.safetensors"}})
    with pytest.raises(UserError, match=r"damaged \(branches\.h1\.file"):
        pyramid_reid.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b"null"])
def test_a_description_that_is_none_is_refused(folder, content):
    (folder / "model.json").write_bytes(content)
    with pytest.raises(UserError, match=r"model\.json (cannot be read|has format)"):
        pyramid_reid.load(folder)


def test_a_folder_without_a_model_says_how_to_get_one(tmp_path):
    for missing in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="pyramid-reid pack"):
            pyramid_reid.load(missing)


def test_a_description_that_contradicts_its_networks_is_refused(folder, pixels):
    raw = json.loads((folder / "model.json").read_text())
    raw["branches"]["h3"]["height"] = 128
    change(folder, branches=raw["branches"])
    with pytest.raises(
        UserError, match=r"h3\.safetensors is a osnet_x0_25 at 64x32, not .* 128x32"
    ):
        pyramid_reid.load(folder).embed([pixels])


def test_scales_that_contradict_the_restorer_are_refused(folder, pixels):
    raw = json.loads((folder / "model.json").read_text())
    change(folder, restorer=raw["restorer"] | {"scales": [2, 3, 5]})
    with pytest.raises(UserError, match=r"restores at 2, 3, 4, not 2, 3, 5"):
        pyramid_reid.load(folder).restore(pixels)


def test_the_hash_of_features_changes_with_what_they_depend_on_alone(folder):
    before = description.read(folder).features
    told = description.read(folder)
    for same in (
        {"weights": {"ori": 1.0, "h1": 0.0, "h2": 0.0, "h3": 0.0}},
        {"calibration": None},
        {"name": "b"},
    ):
        assert told.model_copy(update=same).features == before
    restorer = told.restorer.model_copy(update={"sha256": "0" * 64})
    assert told.model_copy(update={"restorer": restorer}).features != before
    assert told.model_copy(update={"mirrored": True}).features != before


@pytest.mark.parametrize("count", [1, 26])
def test_a_mirrored_model_sees_a_crop_and_its_mirror_image_alike(folder, pixels, count):
    ori = json.loads((folder / "model.json").read_text())["branches"]["ori"]
    change(folder, branches=dict.fromkeys(BRANCHES, ori))  # one network to freeze, not four
    crops = [np.roll(pixels, shift, axis=0) for shift in range(count)]
    other = [np.ascontiguousarray(crop[:, ::-1]) for crop in crops]
    plain = pyramid_reid.load(folder)
    wanted = plain.embed(crops) + plain.embed(other)
    wanted /= np.linalg.norm(wanted, axis=2, keepdims=True)
    change(folder, mirrored=True)
    mirrored = pyramid_reid.load(folder)
    np.testing.assert_allclose(mirrored.embed(crops), wanted, atol=1e-4)
    np.testing.assert_allclose(mirrored.embed(other), mirrored.embed(crops), atol=1e-4)
