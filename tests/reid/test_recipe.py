"""What a small set asks for beyond the paper's recipe: means of weights, and mirror images."""

import numpy as np
import pytest
import torch
from test_reid import CPU, coloured
from torch.nn import functional as F

from pyramid_reid.core.params import Reid
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.reid.features import Extractor, few_features
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.training import loop, pretrained
from pyramid_reid.training.checkpoints import Checkpoints
from pyramid_reid.training.weights_file import Checkpoint

BATCH = 8


def trained(params, folder, key="key", start=None, **changes):
    small = {"epochs": 3, "warmup_epochs": 1, "batch_size": BATCH, "checkpoint_every": 1}
    reid = params.reid.model_copy(update=small | changes)
    return loop.train(*coloured(), reid, 0, CPU, Checkpoints(folder / key, key), start)[0]


def a_start(params):
    """The weights of a network that nobody trained."""
    return Checkpoint(osnet.build(params.reid.model, 4, seed=7).state_dict(), "")


def test_the_running_mean_is_the_mean_of_the_weights_after_each_step(params, tmp_path, monkeypatch):
    seen = []
    real = loop._step

    def watched(model, *rest):
        sums = real(model, *rest)
        seen.append(model.conv1.conv.weight.detach().clone())
        return sums

    monkeypatch.setattr(loop, "_step", watched)
    model = trained(params, tmp_path, ema=0.9)
    mean = seen[0]  # the first step has no mean before it
    for weight in seen[1:]:
        mean = 0.9 * mean + 0.1 * weight
    torch.testing.assert_close(model.conv1.conv.weight.detach(), mean)


def test_a_running_mean_goes_on_where_it_was_killed(params, tmp_path, monkeypatch):
    whole = trained(params, tmp_path, "whole", ema=0.9)
    real, steps = loop._step, []

    def killed(*given):
        steps.append(1)
        if len(steps) > 2 * (32 // BATCH):  # in the third epoch
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patched:
        patched.setattr(loop, "_step", killed)
        with pytest.raises(KeyboardInterrupt):
            trained(params, tmp_path, "killed", ema=0.9)
    resumed = trained(params, tmp_path, "killed", ema=0.9)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


def test_a_share_of_the_start_stays(params, tmp_path):
    start = a_start(params)
    end = trained(params, tmp_path, "end", start).state_dict()
    mixed = trained(params, tmp_path, "mixed", start, start_weight=0.25).state_dict()
    for name, value in mixed.items():
        if name.startswith("classifier.") or not value.is_floating_point():
            assert torch.equal(value, end[name]), name
        else:
            wanted = 0.25 * start.weights[name] + 0.75 * end[name]
            torch.testing.assert_close(value, wanted, msg=name)


def test_all_of_the_start_is_the_start(params):
    start = a_start(params)
    model = osnet.build(params.reid.model, 4, seed=1)
    pretrained.blend(model, start, 1.0)
    torch.testing.assert_close(model.conv1.conv.weight, start.weights["conv1.conv.weight"])


def test_there_is_no_share_of_a_start_that_is_not_there(params):
    with pytest.raises(ValueError, match=r"reid.start_weight \(0.3\) must be 0 without"):
        Reid.model_validate(params.reid.model_dump() | {"start_weight": 0.3, "pretrained": None})


def test_mirrored_features_are_the_mean_of_both_images_and_the_same_for_both(params):
    model = osnet.build(params.reid.model, 4, derive_seed(0, "mirror")).eval()
    pictures, _ = coloured()
    other = np.ascontiguousarray(pictures[:, :, ::-1])
    plain = [torch.from_numpy(few_features(model, images)) for images in (pictures, other)]
    wanted = sum(F.normalize(features) for features in plain) / 2
    found = few_features(model, pictures, mirrored=True)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-6)
    np.testing.assert_allclose(few_features(model, other, mirrored=True), found, atol=1e-6)
    extract = Extractor(model, CPU, 32, 16, mirrored=True)
    np.testing.assert_allclose(extract(pictures), found, atol=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU: CUDA graphs")
def test_a_replayed_training_is_the_training(params, tmp_path, monkeypatch):
    device = torch.device("cuda")
    reid = params.reid.model_copy(update={"epochs": 3, "warmup_epochs": 1, "batch_size": BATCH})
    curves = []
    for name in ("replayed", "eager"):
        if name == "eager":
            monkeypatch.setattr(loop, "world_size", lambda: 2)
        place = Checkpoints(tmp_path / name, name)
        curves.append(loop.train(*coloured(), reid, 0, device, place)[1])
    np.testing.assert_allclose(curves[0].loss, curves[1].loss, rtol=1e-3)
