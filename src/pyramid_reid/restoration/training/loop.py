"""Training of the reconstructor: mean absolute error over the three heads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, cast

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Restoration
from pyramid_reid.core.runtime import derive_seed, is_main, world_size
from pyramid_reid.core.single_threads import single_threads
from pyramid_reid.restoration.network.reconstructor import Architecture, Reconstructor, build
from pyramid_reid.restoration.training import quality
from pyramid_reid.restoration.training.patches import Pair, PatchSampler
from pyramid_reid.restoration.training.pretrained import start_from
from pyramid_reid.training.checkpoints import Checkpoints
from pyramid_reid.training.course import Bounds, Course, Seeded
from pyramid_reid.training.distributed import add_up, own_part, sum_gradients
from pyramid_reid.training.live import LiveCurves
from pyramid_reid.training.schedule import cosine, set_lr

LOG_EVERY = 20
"""Iterations whose mean loss makes one point of the curve; a checkpoint ends a point, too."""

EMA_DECAY = 0.999
"""Of the running mean of the weights, which is what is kept (as the authors of SwinIR train)."""

WATCHED = 24
"""Held-out crops whose PSNR and SSIM are followed during training."""


@dataclass(frozen=True, slots=True)
class Trained:
    """What a training gives.

    Attributes:
        model: running mean of the weights, in evaluation mode.
        loss: columns iteration, loss (mean since the row before, on images in [0, 1]).
        watched: columns iteration and, per scale, psnr_x2, psnr_x2_bicubic, ssim_x2, ….
    """

    model: Reconstructor
    loss: pd.DataFrame
    watched: pd.DataFrame


def train(
    pairs: Sequence[Pair],
    held_out: Sequence[Pair],
    params: Restoration,
    seed: int,
    device: torch.device,
    checkpoints: Checkpoints,
    live: LiveCurves,
    start: Path | None = None,
) -> Trained:
    """Train E and RC together; goes on from the last checkpoint.

    Loss: mean over heads, weighted by params, of the mean absolute error of each. Optimiser:
    Adam, learning rate falling to zero along a half cosine; the last iteration is taken, and
    `held_out` is only watched. On a GPU products are taken in bfloat16.

    Args:
        pairs: of training identities only.
        held_out: of other identities; from `quality.judged`.
        seed: of weights and of patches.
        start: checkpoint to start from; None starts from random weights.

    Raises:
        UserError: no crop is as large as a patch, there are more processes than patches in a
            batch, `start` does not fit, or the loss is no longer a number.
    """
    architecture = Architecture.of(params)
    weights_seed, patches_seed = (derive_seed(seed, name) for name in ("weights", "patches"))
    model = build(architecture, weights_seed)
    if start is not None:
        match = start_from(model, start)
        if is_main():
            print(f"{start}: {match}", flush=True)
    model = model.to(device).train()
    if architecture.size is None:  # nothing to learn
        return untrained(model, held_out, live)
    watch = _Watch(held_out, architecture.scales, live)
    if world_size() > params.batch_size:
        raise UserError(
            f"restoration.batch_size ({params.batch_size}) must be at least the number of processes"
            f" ({world_size()})"
        )
    sampler = PatchSampler(pairs, (params.patch_height, params.patch_width), params.scales)
    mean = AveragedModel(model, multi_avg_fn=running_mean)
    averaged = cast("Reconstructor", mean.module)
    optimizer = torch.optim.Adam(model.parameters(), lr=params.lr, fused=True)
    generator = torch.Generator().manual_seed(patches_seed)
    parts = torch.get_num_threads() if device.type == "cpu" else 1
    course = Course(
        checkpoints,
        live.log,
        unit="iteration",
        steps=params.iterations,
        every=params.checkpoint_every,
        kept={"mean": mean, "watch": watch},
        resumed={"model": model, "optimizer": optimizer, "generator": Seeded(generator)},
        bounds=Bounds(math.inf, "lower restoration.lr"),
        bar=("iterations", 1, "reconstructor"),
    )
    logged, recent = course.step, torch.zeros((), device=device)
    with single_threads(parts) as pool:
        for iteration in course:
            set_lr(optimizer, cosine(params.lr, iteration - 1, params.iterations))
            low, targets = sampler.batch(params.batch_size, generator)
            recent += add_up(backward(model, low, targets, params.head_weights, pool, parts))
            sum_gradients(model.parameters())
            optimizer.step()
            mean.update_parameters(model)
            course.advance(1)
            if iteration % LOG_EVERY == 0 or course.saves():
                course.log(loss=float(recent) / (iteration - logged))
                logged = iteration
                recent.zero_()
            if course.saves() and is_main():
                watch.look(averaged, iteration)
    return Trained(averaged.eval(), _loss_table(course.curve), watch.table())


def untrained(model: Reconstructor, held_out: Sequence[Pair], live: LiveCurves) -> Trained:
    """A network as it is, watched once; its curve of the loss is empty."""
    watch = _Watch(held_out, model.architecture.scales, live)
    watch.look(model, 0)
    return Trained(model.eval(), _loss_table([]), watch.table())


def backward(
    model: Reconstructor,
    low: Annotated[Tensor, "B 3 H W"],
    targets: Sequence[Annotated[Tensor, "B 3 s*H s*W"]],
    weights: Sequence[float],
    pool: ThreadPoolExecutor,
    parts: int,
) -> Annotated[Tensor, ""]:
    """Gradients of this process's part of a batch; returns its part of the loss, detached.

    The part is shared out once more, among threads of a pool: they are busier with patches of
    their own than with a share of each small product. Nothing in these networks looks at the whole
    batch, so gradients are the same up to rounding, and their sum is taken in a fixed order.

    Args:
        pool: of `parts` threads; a single part, as a GPU takes it, is computed in this thread.
    """
    device, own, size = model.mean.device, own_part(low), len(low)

    def loss_of(batch: tuple[Tensor, ...]) -> Tensor:
        patches, *wanted = (each.to(device) for each in batch)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            images = model(patches)
        losses = [
            weight * F.l1_loss(image.float(), target)
            for weight, image, target in zip(weights, images, wanted, strict=True)
        ]
        return torch.stack(losses).sum() * (len(patches) / size / sum(weights))

    def gradients_of(batch: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        loss = loss_of(batch)
        return loss.detach(), torch.autograd.grad(loss, parameters)

    model.zero_grad()
    if parts == 1:
        loss = loss_of((low[own], *(target[own] for target in targets)))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()
    parameters, total = list(model.parameters()), torch.zeros(())
    shared = zip(*(each[own].chunk(parts) for each in (low, *targets)), strict=True)
    for loss, gradients in pool.map(gradients_of, shared):
        total += loss
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if parameter.grad is None:
                # laid out as the parameter is, as the fused optimiser takes for granted
                parameter.grad = torch.zeros_like(parameter)
            parameter.grad.add_(gradient)
    return total


Tensors = tuple[Annotated[Tensor, "..."], ...] | list[Annotated[Tensor, "..."]]


def running_mean(means: Tensors, weights: Tensors, number: Annotated[Tensor, ""] | int) -> None:
    """Move the running means towards the weights.

    The first means are shorter, as TensorFlow's ExponentialMovingAverage has it: the weights that
    a training began with do not linger.
    """
    decay = min(EMA_DECAY, (1 + int(number)) / (10 + int(number)))
    get_ema_multi_avg_fn(decay)(means, weights, number)  # type: ignore[no-untyped-call]


class _Watch:
    """PSNR and SSIM on held-out crops while a training runs; chooses nothing."""

    def __init__(self, held_out: Sequence[Pair], scales: tuple[int, ...], live: LiveCurves) -> None:
        self._pairs, self._live = held_out, live
        self._bicubic = quality.measure(quality.baseline(scales), held_out)
        self.rows: list[dict[str, float]] = []

    def look(self, model: Reconstructor, iteration: int) -> None:
        """Add a row for this network."""
        training = model.training
        compared = quality.beside(quality.measure(model.eval(), self._pairs), self._bicubic)
        model.train(training)
        row: dict[str, float] = {
            name.replace(figure, f"{figure}_{scale}"): value
            for scale, figures in quality.summary(compared).items()
            for name, value in figures.items()
            for figure in quality.FIGURES
            if name.startswith(figure)
        }
        self.rows.append({"iteration": iteration, **row})
        self._live.log(iteration, row)

    def table(self) -> pd.DataFrame:
        """One row per look."""
        return pd.DataFrame(self.rows)

    def state_dict(self) -> dict[str, list[dict[str, float]]]:
        """What it has seen."""
        return {"rows": self.rows}

    def load_state_dict(self, state: dict[str, list[dict[str, float]]]) -> None:
        """Take it back, and log it again: live curves begin anew with each process."""
        self.rows = state["rows"]
        for row in self.rows:
            figures = {name: value for name, value in row.items() if name != "iteration"}
            self._live.log(int(row["iteration"]), figures)


def _loss_table(curve: Sequence[Mapping[str, float]]) -> pd.DataFrame:
    return pd.DataFrame(curve, columns=["iteration", "loss"])
