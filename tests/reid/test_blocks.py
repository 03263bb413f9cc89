"""Fused blocks against torchreid's own."""

import copy

import pytest
import torch

from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.training import blocks
from pyramid_reid.reid.training.gates import gated_sum
from pyramid_reid.reid.training.streams import Stacked


def step(model, images):
    """Logits of a step of gradient descent; in double precision."""
    logits = model(images)
    (logits.sin() * torch.arange(logits.numel()).view_as(logits)).sum().backward()
    torch.optim.SGD(model.parameters(), 1e-3).step()
    return logits


@pytest.mark.parametrize("stacked", [0, 4, 6])
@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25"])
def test_a_network_learns_what_torchreids_does(name, stacked, monkeypatch):
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(8, 3, 64, 32, dtype=torch.float64, generator=generator)
    theirs = osnet.build(name, 5, seed=1).double().train()
    ours = copy.deepcopy(theirs)
    # two blocks each have maps of 16x8, 8x4 and 4x2 pixels
    channels = ours.conv2[0].gate.fc1.in_channels
    monkeypatch.setattr(blocks, "SMALL", {0: 0, 4: 8 * 16 * 8 * channels - 1, 6: 10**9}[stacked])
    blocks.fuse_blocks(ours, 8, 64, 32, torch.device("cpu"))
    assert sum(type(module) in blocks.FUSED.values() for module in ours.modules()) == 6
    assert sum(isinstance(module, Stacked) for module in ours.modules()) == stacked
    before = copy.deepcopy(theirs.state_dict())
    assert torch.allclose(step(ours, images), step(theirs, images), rtol=1e-9)
    blocks.unfuse_blocks(ours)
    assert list(map(type, ours.modules())) == list(map(type, theirs.modules()))
    got, wanted = ours.state_dict(), theirs.state_dict()
    assert list(got) == list(wanted)
    largest = max((wanted[key] - before[key]).double().norm() for key in wanted)
    for key, value in wanted.items():
        # what batch normalisation takes out has no gradient but what rounding leaves of larger ones
        moved = (value - before[key]).double().norm()
        assert (got[key] - value).double().norm() <= 1e-7 * moved + 1e-12 * largest, key
    x = torch.rand(2, 3, 64, 32, dtype=torch.float64, generator=generator)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), rtol=1e-9)


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(3)
    gate = osnet.build("osnet_x0_25", 2, seed=0).conv2[0].gate.double()
    streams = [
        torch.rand(2, 16, 3, 2, dtype=torch.float64, generator=generator).requires_grad_()
        for _ in range(4)
    ]
    assert torch.autograd.gradcheck(lambda *given: gated_sum(gate, given), streams)


def test_nothing_is_fused_on_a_gpu():
    model = osnet.build("osnet_x0_25", 2, seed=0)
    blocks.fuse_blocks(model, 8, 64, 32, torch.device("cuda"))
    assert not any(type(module) in blocks.FUSED.values() for module in model.modules())
