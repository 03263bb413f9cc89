"""The sum of OSNet's gated streams, in fewer passes over memory than in torchreid.

On a CPU, memory bandwidth limits the training of an OSNet. Multiplying four streams by their gates
and adding them up, forward and backward, takes a pass over all of them per operation. Here each
stream takes one pass, and so does its gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pyramid_reid.core.kernels import use_kernels


def gated_sum(
    gate: Any, streams: Sequence[Annotated[Tensor, "B C H W"]]
) -> Annotated[Tensor, "B C H W"]:
    """Sum of streams x, each times sigmoid(W_2 relu(W_1 mean(x) + b_1) + b_2).

    Args:
        gate: torchreid's ChannelGate as OSNet has it: with a sigmoid, without normalisation.
    """
    if not (torch.is_grad_enabled() and use_kernels(streams[0])):
        gated: list[Tensor] = [gate(stream) for stream in streams]
        return sum(gated[1:], gated[0])
    return in_one_pass(gate, streams)


def in_one_pass(
    gate: Any, streams: Sequence[Annotated[Tensor, "B C H W"]]
) -> Annotated[Tensor, "B C H W"]:
    """The same, with a gradient of its own."""
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
