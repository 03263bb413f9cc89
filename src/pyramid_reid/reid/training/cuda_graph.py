"""The forward and backward pass of a network as CUDA graphs.

A small OSNet keeps a GPU busy for a fraction of the time that Python takes to start its operations,
some two thousand of them. Recorded once and replayed, they start together.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def replayed(model: nn.Module, shape: tuple[int, ...]) -> Iterator[None]:
    """Replay the network's passes in training mode while the context is open.

    Which layers learn must not change meanwhile.

    Args:
        model: on a GPU, in training mode.
        shape: (B, 3, H, W) of all batches.
    """
    batch = torch.zeros(shape, device=next(model.parameters()).device)
    kept = {name: value.clone() for name, value in model.named_buffers()}
    # what autocast casts inside a graph must not be taken from outside it
    with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
        torch.cuda.make_graphed_callables(model, (batch,))
    for name, value in model.named_buffers():  # statistics of batches that only warmed it up
        value.copy_(kept[name])
    try:
        yield
    finally:
        del model.forward  # that of the class is found again
