"""Learning rates over a training: a half cosine, after a linear rise where one is wanted."""

from __future__ import annotations

import math

import torch

RISE = 100
"""Times that a linear rise multiplies the rate of its first step."""


def cosine(lr: float, step: int, steps: int) -> float:
    """Learning rate of a step: from `lr` at step 0 along a half cosine towards 0."""
    return lr * 0.5 * (1 + math.cos(math.pi * step / steps))


def warmed_up(lr: float, step: int, steps: int, warmup: int) -> float:
    """Learning rate of a step: up a line for `warmup` steps, then down a half cosine.

    Args:
        lr: the highest one, at step `warmup`.
        step: from 0.
        steps: of the whole training, more than `warmup`.
    """
    if step < warmup:
        first = lr / RISE
        return first + step * ((lr - first) / warmup)
    return cosine(lr, step - warmup, steps - warmup)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Let the next steps of an optimiser have this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = lr
