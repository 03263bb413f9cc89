"""Blocks and their kernels against torchreid's own."""

import copy

import pytest
import torch

from pyramid_reid.core.kernels import torch_only
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.network.blocks import Block, replace_blocks
from pyramid_reid.reid.network.definitions import constructor
from pyramid_reid.reid.network.kernels import gates

NAMES = ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25"]


def torchreids(name):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = constructor(name)(num_classes=5, loss="softmax", pretrained=False)
    return model.to(memory_format=torch.channels_last)


def step(model, images):
    """Logits of a step of gradient descent."""
    logits = model(images)
    (logits.sin() * torch.arange(logits.numel()).view_as(logits)).sum().backward()
    torch.optim.SGD(model.parameters(), 1e-3).step()
    return logits


@pytest.mark.parametrize("name", NAMES)
def test_a_network_learns_what_torchreids_does(name, monkeypatch):
    generator = torch.Generator().manual_seed(2)
    images = torch.rand(8, 3, 64, 32, dtype=torch.float64, generator=generator)
    theirs = torchreids(name).double().train()
    ours = copy.deepcopy(theirs)
    replace_blocks(ours)
    assert sum(isinstance(module, Block) for module in ours.modules()) == 6
    # in double precision, which the switch leaves to torch
    monkeypatch.setattr(gates, "use_kernels", lambda _: True)
    calls, original = [], gates.in_one_pass
    monkeypatch.setattr(gates, "in_one_pass", lambda *of: calls.append(of) or original(*of))
    before = copy.deepcopy(theirs.state_dict())
    assert torch.allclose(step(ours, images), step(theirs, images), rtol=1e-9)
    assert len(calls) == 6
    got, wanted = ours.state_dict(), theirs.state_dict()
    assert list(got) == list(wanted)
    largest = max((wanted[key] - before[key]).double().norm() for key in wanted)
    for key, value in wanted.items():
        # what batch normalisation takes out has no gradient but what rounding leaves of larger ones
        moved = (value - before[key]).double().norm()
        assert (got[key] - value).double().norm() <= 1e-7 * moved + 1e-12 * largest, key
    x = torch.rand(2, 3, 64, 32, dtype=torch.float64, generator=generator)
    assert torch.allclose(ours.eval()(x), theirs.eval()(x), rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_without_kernels_it_is_torchreids_to_the_last_bit(name):
    images = torch.rand(4, 3, 64, 32, generator=torch.Generator().manual_seed(2))
    theirs = torchreids(name).train()
    ours = copy.deepcopy(theirs)
    replace_blocks(ours)
    with torch_only():
        assert torch.equal(step(ours, images), step(theirs, images))
    for got, wanted in zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True):
        assert torch.equal(got, wanted)


def test_gradients_are_those_of_finite_differences():
    generator = torch.Generator().manual_seed(3)
    gate = osnet.build("osnet_x0_25", 2, seed=0).conv2[0].gate.double()
    four = [
        torch.rand(2, 16, 3, 2, dtype=torch.float64, generator=generator).requires_grad_()
        for _ in range(4)
    ]
    assert torch.autograd.gradcheck(lambda *given: gates.in_one_pass(gate, given), four)
