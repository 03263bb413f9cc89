"""Training of the reconstructor: mean absolute error over the three heads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd
import torch
from torch.nn import functional as F

from pyramid_reid.checkpoints import Checkpoints
from pyramid_reid.errors import UserError
from pyramid_reid.params import Restoration
from pyramid_reid.progress import progress
from pyramid_reid.restoration.pairs import Pair, PatchSampler
from pyramid_reid.restoration.pyramid import Architecture, Reconstructor, build
from pyramid_reid.runtime import derive_seed

LOG_EVERY = 20
"""Iterations whose mean loss makes one point of the curve."""


def train(
    pairs: Sequence[Pair],
    params: Restoration,
    seed: int,
    device: torch.device,
    checkpoints: Checkpoints,
) -> tuple[Reconstructor, pd.DataFrame]:
    """Train E and RC together; goes on from the last checkpoint.

    Loss: the mean over heads of the mean absolute error, so that each scale weighs the same.
    Optimiser: Adam, learning rate falling to zero along a half cosine.

    Args:
        pairs: of training identities only.
        seed: of weights and of patches.

    Returns:
        The network in evaluation mode, and the curve with columns iteration and loss (mean since
        the row before, on images in [0, 1]).

    Raises:
        UserError: no crop is as large as a patch, or the loss is no longer a number.
    """
    sampler = PatchSampler(pairs, (params.patch_height, params.patch_width), params.scales)
    weights_seed, patches_seed = (derive_seed(seed, name) for name in ("weights", "patches"))
    model = build(Architecture.of(params), weights_seed).to(device).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=params.lr)
    generator = torch.Generator().manual_seed(patches_seed)
    curve: list[tuple[int, float]] = []
    start, recent = 0, torch.zeros((), device=device)
    if state := checkpoints.load():
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        start, curve, recent = state["iteration"], state["curve"], state["recent"].to(device)
    bar = progress(range(start, params.iterations), "reconstructor", "iterations")
    for iteration in bar:
        for group in optimizer.param_groups:
            group["lr"] = cosine(params.lr, iteration, params.iterations)
        low, targets = sampler.batch(params.batch_size, generator)
        images = model(low.to(device))
        losses = [
            F.l1_loss(image, target.to(device))
            for image, target in zip(images, targets, strict=True)
        ]
        loss = torch.stack(losses).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        recent += loss.detach()
        done = iteration + 1
        if done % LOG_EVERY == 0 or done == params.iterations:
            mean = float(recent) / (done - (curve[-1][0] if curve else 0))
            _check(mean, done, params.lr)
            curve.append((done, mean))
            recent.zero_()
            bar.set_postfix(loss=f"{mean:.4f}", refresh=False)
        if done % params.checkpoint_every == 0 or done == params.iterations:
            _check(float(loss.detach()), done, params.lr)
            checkpoints.save(
                {
                    "iteration": done,
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "generator": generator.get_state(),
                    "curve": curve,
                    "recent": recent,
                }
            )
    return model.eval(), pd.DataFrame(curve, columns=["iteration", "loss"])


def _check(loss: float, iteration: int, lr: float) -> None:
    """Stop before a state that is no longer a number replaces the last good checkpoint."""
    if not math.isfinite(loss):
        raise UserError(
            f"the reconstructor's loss is {loss} at iteration {iteration}, with restoration.lr"
            f" {lr}: lower restoration.lr"
        )


def cosine(lr: float, iteration: int, iterations: int) -> float:
    """Learning rate of an iteration: from `lr` at 0 along a half cosine towards 0."""
    return lr * 0.5 * (1 + math.cos(math.pi * iteration / iterations))
