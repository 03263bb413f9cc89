"""`pyramid-reid export`: ONNX Runtime gives what torch gives, under names that boxmot knows."""

import json
import shutil
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from pyramid_reid import cli
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import HanSize, SwinSize
from pyramid_reid.reid.network import osnet
from pyramid_reid.restoration.inference import restore
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.restoration.network.reconstructor import Architecture
from pyramid_reid.retrieval.distance import normalize
from pyramid_reid.search import description, exporting

MEAN = np.float32([0.485, 0.456, 0.406])
STD = np.float32([0.229, 0.224, 0.225])


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def exported(model_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("onnx")
    return out, list(exporting.export(model_folder, out))


def test_each_network_is_one_file_that_differs_by_rounding_alone(exported):
    out, told = exported
    names = [f"osnet_x0_25_test0_{branch}.onnx" for branch in ("ori", "h1", "h2", "h3")]
    assert [each.file for each in told] == [*names, "restorer.onnx"]
    assert {path.name for path in out.iterdir()} == {*names, "restorer.onnx"}
    assert all(each.difference < 1e-4 for each in told)
    assert [each.same_ranking for each in told] == [True] * 4 + [None]


def test_a_crop_prepared_as_boxmot_does_gives_the_model_s_feature(exported, model):
    """RGB of the branch's size, over 255, less ImageNet's mean over its deviation; then length 1.

    Written anew here, with NumPy alone, from boxmot's `BaseModelBackend.get_crops`.
    """
    out, _ = exported
    pixels = np.random.default_rng(0).integers(0, 256, (64, 32, 3), dtype=np.uint8)
    images = ((pixels / np.float32(255) - MEAN) / STD).transpose(2, 0, 1)[None]
    run = session(out / "osnet_x0_25_test0_ori.onnx")
    assert [each.name for each in run.get_inputs()] == ["images"]
    assert [each.name for each in run.get_outputs()] == ["output0"]
    for count in (1, 3):  # the batch is free
        given = np.repeat(images, count, axis=0).astype(np.float32)
        features = normalize(run.run(None, {"images": given})[0])
        assert features.shape == (count, 512)
        assert np.abs(features[0] - model.embed([pixels])[0, 0]).max() < 1e-5


def test_the_restorer_takes_any_size(exported, model):
    out, _ = exported
    pixels = np.random.default_rng(0).integers(0, 256, (37, 14, 3), dtype=np.uint8)
    given = (pixels / np.float32(255)).transpose(2, 0, 1)[None]
    images = session(out / "restorer.onnx").run(["h1", "h2", "h3"], {"images": given})
    for found, expected in zip(images, model.restore(pixels), strict=True):
        levels = np.rint(found[0].clip(0, 1) * 255).transpose(1, 2, 0)
        assert levels.shape == expected.shape
        assert np.abs(levels - expected).max() <= 1


def reconstructor_of(size, path):
    model = reconstructor.build(Architecture(size=size, head_dim=4, scales=(2, 3, 4)), 0)
    for head in model.heads:  # a head that has learned something
        torch.nn.init.normal_(head.rgb.weight, std=0.1)
    reconstructor.save(path, model)
    return model.eval()


def test_a_han_takes_any_size(tmp_path):
    model = reconstructor_of(HanSize(groups=1, blocks=1, dim=16), tmp_path / "r.safetensors")
    (told,) = exporting._restorer(tmp_path / "r.safetensors", tmp_path, exporting._random_crops())
    assert (told.file, told.height, told.width) == ("restorer.onnx", None, None)
    pixels = np.random.default_rng(0).integers(0, 256, (23, 9, 3), dtype=np.uint8)
    given = (pixels / np.float32(255)).transpose(2, 0, 1)[None]
    found = session(tmp_path / "restorer.onnx").run(None, {"images": given})[2][0]
    expected = restore(model, [pixels])[0][2]
    assert np.abs(np.rint(found.clip(0, 1) * 255).transpose(1, 2, 0) - expected).max() <= 1


def test_a_swinir_is_written_by_size_classes_and_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(exporting, "CLASSES", ((24, 16), (32, 16)))
    reconstructor_of(SwinSize(depths=(2,), dim=8, num_heads=2), tmp_path / "r.safetensors")
    crops = exporting._random_crops()
    told = list(exporting._restorer(tmp_path / "r.safetensors", tmp_path, crops))
    assert [each.file for each in told] == ["restorer_24x16.onnx", "restorer_32x16.onnx"]
    assert all("pad a smaller crop" in each.line() for each in told)
    assert not (tmp_path / "restorer.onnx").exists()
    given = np.zeros((2, 3, 24, 16), np.float32)
    assert session(tmp_path / told[0].file).run(None, {"images": given})[0].shape == (2, 3, 48, 32)


def described(model_folder, name, **branches):
    told = description.read(model_folder)
    return told.model_copy(update={"name": name, "branches": {**told.branches, **branches}})


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("msmt17", "osnet_x0_25_msmt17.onnx"),
        ("Our crops (2026)", "osnet_x0_25_our_crops_2026.onnx"),
        ("riveria", "osnet_x0_25_pyramid.onnx"),  # veri: vehicles of 256x256, to boxmot
        ("osnet_ain_x1_0", "osnet_x0_25_pyramid.onnx"),  # another network, to boxmot
        ("人", "osnet_x0_25_pyramid.onnx"),
    ],
)
def test_the_file_s_name_holds_the_network_and_nothing_that_misleads_boxmot(
    model_folder, name, file
):
    told = described(model_folder, name)
    assert exporting.file_name(told, description.BRANCH_NAMES) == file
    assert exporting.file_name(told, ["h2"]) == file.replace(".onnx", "_h2.onnx")


def test_a_description_of_a_stranger_names_no_file_elsewhere(model_folder):
    told = description.read(model_folder)
    ori = told.branches["ori"].model_copy(update={"network": "../../escaped"})
    name = exporting.file_name(described(model_folder, "a", ori=ori), ["ori"])
    assert name == "_escaped_a_ori.onnx"


def test_what_boxmot_cannot_run_is_told(exported):
    _, told = exported
    assert "boxmot resizes crops to 256×128" in told[0].line()


def test_the_command_prints_each_file_and_a_network_of_all_branches_is_written_once(
    model_folder, gallery, tmp_path, monkeypatch, capsys
):
    out, folder = tmp_path / "onnx", shutil.copytree(model_folder, tmp_path / "model")
    told = described(folder, "start")
    branches = dict.fromkeys(told.branches, told.branches["ori"])
    description.write(folder, told.model_copy(update={"branches": branches}))
    arguments = ["export", "--onnx", out, "--model", folder, "--crops", gallery, "--json"]
    monkeypatch.setattr(sys, "argv", ["pyramid-reid", *map(str, arguments)])
    assert cli.main() == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["file"] for each in told["files"]] == ["osnet_x0_25_start.onnx", "restorer.onnx"]
    assert {path.name for path in out.iterdir()} == {each["file"] for each in told["files"]}
    assert told["files"][0]["what"] == "ori, h1, h2, h3"


def test_a_file_that_gives_something_else_is_removed(model_folder, tmp_path, monkeypatch):
    plain = exporting._run

    def other(path, inputs):
        return [
            each + np.random.default_rng(0).normal(size=each.shape) for each in plain(path, inputs)
        ]

    monkeypatch.setattr(exporting, "_run", other)
    with pytest.raises(UserError, match="gives other features than torch"):
        list(exporting.export(model_folder, tmp_path / "onnx"))
    assert not list((tmp_path / "onnx").iterdir())


def test_what_is_no_model_or_has_no_crops_is_refused(model_folder, tmp_path, monkeypatch, capsys):
    with pytest.raises(UserError, match=r"holds no model\.json"):
        list(exporting.export(tmp_path, tmp_path / "onnx"))
    Image.new("RGB", (4, 8)).save(tmp_path / "one.png")
    arguments = ["export", "--onnx", tmp_path / "o", "--model", model_folder, "--crops", tmp_path]
    monkeypatch.setattr(sys, "argv", ["pyramid-reid", *map(str, arguments)])
    assert cli.main() == 2
    assert "a ranking needs two" in capsys.readouterr().err


def test_a_crop_that_is_no_image_is_one_sentence(model_folder, tmp_path, monkeypatch, capsys):
    for name in "ab":
        Image.new("RGB", (4, 8)).save(tmp_path / f"{name}.png")
    (tmp_path / "c.png").write_bytes(b"no picture")
    arguments = ["export", "--onnx", tmp_path / "o", "--model", model_folder, "--crops", tmp_path]
    monkeypatch.setattr(sys, "argv", ["pyramid-reid", *map(str, arguments)])
    assert cli.main() == 2
    said = capsys.readouterr().err
    assert f"--crops: {tmp_path}/c.png is not a JPEG, PNG or BMP image: take it out" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_ties_by_rounding_are_no_other_ranking():
    features = normalize(np.random.default_rng(0).normal(size=(6, 8)))
    shuffled = normalize(features + np.random.default_rng(1).normal(size=features.shape))
    assert exporting._ranked_alike(features, features, 0.0)
    assert not exporting._ranked_alike(features, shuffled, 1e-6)


def test_every_network_of_the_params_can_be_exported(tmp_path):
    model = osnet.build("osnet_ain_x0_25", 1, 0).eval()  # instance normalisation, too
    axes = {"images": {0: "batch"}, "output0": {0: "batch"}}
    exporting._write(model, (2, 3, 64, 32), tmp_path / "n.onnx", ["output0"], axes)
    inputs = torch.rand(3, 3, 64, 32)
    with torch.inference_mode():
        expected = model(inputs).numpy()
    assert np.allclose(exporting._run(tmp_path / "n.onnx", inputs)[0], expected, atol=1e-5)
