"""The sum of OSNet's gated streams, in fewer passes over memory than torchreid takes.

On a CPU an OSNet is trained as fast as its activations come from memory, and where four streams
are multiplied by their gates and added up, and back again, every step is a pass over all of them.
Here one pass takes each stream, one its gradient.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

with warnings.catch_warnings():
    # torchreid asks for its Cython evaluator on import; its evaluator is not used here
    warnings.filterwarnings("ignore", message="Cython evaluation")
    from torchreid.reid.models import osnet, osnet_ain


def merge_gates(model: nn.Module, device: torch.device) -> None:
    """Let the blocks of torchreid's OSNets compute their gated sums in one go, on a CPU.

    Parameters, buffers and their names stay. On a GPU nothing changes.
    """
    if device.type != "cpu":
        return
    for module in model.modules():
        if type(module) in MERGED:
            module.__class__ = MERGED[type(module)]


class Block(osnet.OSBlock):  # type: ignore[misc]
    """Omni-scale block, of IBN networks, too; returns what torchreid's does, up to rounding."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        shared = self.conv1(x)
        streams = [
            stream(shared) for stream in (self.conv2a, self.conv2b, self.conv2c, self.conv2d)
        ]
        y = self.conv3(gated_sum(self.gate, streams)).add_(_skip(self, x))
        return F.relu_(y if self.IN is None else self.IN(y))


class BlockAIN(osnet_ain.OSBlock):  # type: ignore[misc]
    """Omni-scale block of AIN networks, as `Block`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        shared = self.conv1(x)
        y = self.conv3(gated_sum(self.gate, [stream(shared) for stream in self.conv2]))
        return F.relu_(y.add_(_skip(self, x)))


class BlockINin(osnet_ain.OSBlockINin):  # type: ignore[misc]
    """Omni-scale block of AIN networks with instance normalisation, as `Block`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        shared = self.conv1(x)
        y = self.conv3(gated_sum(self.gate, [stream(shared) for stream in self.conv2]))
        return F.relu_(self.IN(y).add_(_skip(self, x)))


MERGED: dict[type[nn.Module], type[nn.Module]] = {
    osnet.OSBlock: Block,
    osnet_ain.OSBlock: BlockAIN,
    osnet_ain.OSBlockINin: BlockINin,
}


def _skip(block: osnet.OSBlock, x: Tensor) -> Tensor:
    y: Tensor = x if block.downsample is None else block.downsample(x)
    return y


def gated_sum(gate: osnet.ChannelGate, streams: Sequence[Tensor]) -> Tensor:
    """Sum of streams x, each times sigmoid(W_2 relu(W_1 mean(x) + b_1) + b_2).

    Args:
        gate: torchreid's ChannelGate as OSNet has it: with a sigmoid, without normalisation.
        streams: (B, C, H, W) each.

    Returns:
        (B, C, H, W).
    """
    first, second = gate.fc1, gate.fc2
    summed: Tensor = _GatedSum.apply(
        first.weight.flatten(1), first.bias, second.weight.flatten(1), second.bias, *streams
    )
    return summed


class _GatedSum(torch.autograd.Function):
    """Forward and backward of `gated_sum`; gates are (B, S, C) for S streams."""

    @staticmethod
    def forward(
        ctx: Any, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, *streams: Tensor
    ) -> Tensor:
        means = torch.stack([x.mean((2, 3)) for x in streams], 1)  # (B, S, C)
        hidden = F.relu(F.linear(means, w1, b1))  # (B, S, C / reduction)
        gates = torch.sigmoid(F.linear(hidden, w2, b2))  # (B, S, C)
        ctx.save_for_backward(w1, w2, means, hidden, gates, *streams)
        wide = _wide(gates)
        y = streams[0] * wide[0]
        for x, factor in zip(streams[1:], wide[1:], strict=True):
            y.addcmul_(x, factor)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, ...]:
        w1, w2, means, hidden, gates, *streams = ctx.saved_tensors
        to_gates = torch.stack([(gradient * x).sum((2, 3)) for x in streams], 1)
        to_second = to_gates * gates * (1 - gates)  # before the sigmoid
        to_first = (to_second @ w2) * (hidden > 0)  # before the ReLU
        # each pixel has its share of its stream's mean
        to_pixels = (to_first @ w1) / streams[0][0, 0].numel()
        to_streams = [
            torch.addcmul(share, gradient, factor)
            for share, factor in zip(_wide(to_pixels), _wide(gates), strict=True)
        ]
        return (
            to_first.flatten(0, 1).t() @ means.flatten(0, 1),
            to_first.sum((0, 1)),
            to_second.flatten(0, 1).t() @ hidden.flatten(0, 1),
            to_second.sum((0, 1)),
            *to_streams,
        )


def _wide(gates: Tensor) -> list[Tensor]:
    """(B, S, C) as S tensors (B, C, 1, 1)."""
    return [each[:, :, None, None] for each in gates.unbind(1)]
