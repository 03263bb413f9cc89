"""Merged gates against torchreid's own blocks."""

import copy

import pytest
import torch

from pyramid_reid.reid import osnet
from pyramid_reid.reid.gates import MERGED, gated_sum, merge_gates

CPU = torch.device("cpu")


def step(model, images):
    """Logits and gradients of one step; everything in double precision."""
    logits = model(images)
    (logits.sin() * torch.arange(logits.numel()).view_as(logits)).sum().backward()
    return logits, {name: value.grad for name, value in model.named_parameters()}


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25"])
def test_a_network_computes_what_torchreids_does(name):
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(8, 3, 64, 32, dtype=torch.float64, generator=generator)
    theirs = osnet.build(name, 5, seed=1).double().train()
    ours = copy.deepcopy(theirs)
    merge_gates(ours, CPU)
    assert sum(type(module) in MERGED.values() for module in ours.modules()) == 6
    wanted, got = step(theirs, images), step(ours, images)
    assert torch.allclose(got[0], wanted[0], rtol=1e-9)
    assert got[1].keys() == wanted[1].keys()
    largest = max(gradient.norm() for gradient in wanted[1].values())
    for key, gradient in wanted[1].items():
        # what batch normalisation takes out has no gradient but what rounding leaves of larger ones
        assert (got[1][key] - gradient).norm() <= 1e-7 * gradient.norm() + 1e-12 * largest, key
    for (key, value), other in zip(
        theirs.state_dict().items(), ours.state_dict().values(), strict=True
    ):
        assert torch.allclose(value, other, rtol=1e-9), key


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(3)
    gate = osnet.build("osnet_x0_25", 2, seed=0).conv2[0].gate.double()
    streams = [
        torch.rand(2, 16, 3, 2, dtype=torch.float64, generator=generator).requires_grad_()
        for _ in range(4)
    ]
    assert torch.autograd.gradcheck(lambda *given: gated_sum(gate, given), streams)


def test_nothing_is_merged_on_a_gpu():
    model = osnet.build("osnet_x0_25", 2, seed=0)
    merge_gates(model, torch.device("cuda"))
    assert not any(type(module) in MERGED.values() for module in model.modules())
