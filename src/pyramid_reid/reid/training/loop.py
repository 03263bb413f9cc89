"""Training of one branch's OSNet: softmax loss with label smoothing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Reid
from pyramid_reid.core.progress import progress
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.network.preprocessing import to_float
from pyramid_reid.reid.training import batches, pretrained
from pyramid_reid.reid.training.augment import Strength, augment, random_numbers
from pyramid_reid.reid.training.batch_norm import share_statistics
from pyramid_reid.training.checkpoints import Checkpoints
from pyramid_reid.training.distributed import add_up, own_part, sum_gradients
from pyramid_reid.training.weights_file import Checkpoint

COLUMNS = ["epoch", "loss", "accuracy", "lr"]

DIVERGED = 5.0
"""A loss of so many times that of guessing, the logarithm of the number of identities, will not
come back: a network that learns is below it after the first epoch."""

BF16 = ("cuda",)
"""Types of devices that compute in bfloat16 where autocast does; weights stay float32."""

Log = Callable[[int, Mapping[str, float]], None]
"""Takes an epoch and its figures."""


def train(
    images: Pixels,
    pids: NDArray[np.int64],
    params: Reid,
    seed: int,
    device: torch.device,
    checkpoints: Checkpoints,
    start: Checkpoint | None = None,
    log: Log = lambda *_: None,
) -> tuple[nn.Module, pd.DataFrame]:
    """Train an OSNet for all epochs and return the last one; goes on from the last checkpoint.

    AMSGrad, linear warm-up, then a half cosine to zero. No epoch is selected: there is nothing
    to select it on but the test identities. Several processes share each batch, and train as one
    process does, up to rounding.

    Args:
        images: (N, height, width, 3) uint8 of the training crops.
        pids: (N,) their identities.
        seed: of weights, order and augmentation.
        start: weights to start from, all but the classifier's; None starts from random ones.
        log: gets each epoch's loss, accuracy, lr and images_per_s; those behind a checkpoint
            again, without their speed.

    Returns:
        The network in evaluation mode, and the curve with columns `COLUMNS`: accuracy in percent
        of the augmented training crops.

    Raises:
        UserError: the loss is no longer a number, or has diverged; or `start` does not fit.
    """
    classes, labels = np.unique(pids, return_inverse=True)
    size = batches.batch_size(labels, params.batch_size, params.instances)
    weights_seed, batches_seed = (derive_seed(seed, name) for name in ("weights", "batches"))
    model = osnet.build(params.model, len(classes), weights_seed)
    if start is not None:
        pretrained.apply(model, start)
    model = model.to(device)
    model = share_statistics(model, device)
    optimizer = torch.optim.Adam(
        model.parameters(), lr=params.lr, weight_decay=params.weight_decay, amsgrad=True, fused=True
    )
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=params.epochs - params.warmup_epochs,
        warmup_t=params.warmup_epochs,
        warmup_lr_init=params.lr / 100,
        warmup_prefix=True,
    )
    generator = torch.Generator().manual_seed(batches_seed)
    curve: list[tuple[int, float, float, float]] = []
    if state := checkpoints.load():
        model.load_state_dict(state["model"])
        curve = state["curve"]
        if "optimizer" in state:
            optimizer.load_state_dict(state["optimizer"])
            generator.set_state(state["generator"])
        for point in curve:
            log(point[0], dict(zip(COLUMNS[1:], point[1:], strict=True)))
    saved, strength = len(curve), _strength(params)
    targets = torch.from_numpy(labels).to(device)
    bar: tqdm[None] = progress(
        (),
        params.model,
        "crops",
        total=params.epochs * len(labels),
        initial=len(curve) * len(labels),
    )
    for epoch in range(len(curve) + 1, params.epochs + 1):
        schedule.step(epoch - 1)
        lr = float(optimizer.param_groups[0]["lr"])
        osnet.open_layers(model, classifier_alone=epoch <= params.fixed_epochs)
        rows = batches.epoch(labels, size, params.instances, generator)
        begun = time.perf_counter()
        sums = torch.zeros(2, device=device)
        for own, pixels in zip(rows, batches.read_ahead(images, rows, device), strict=True):
            numbers = random_numbers(size, generator)[own_part(own)].to(device)
            batch = augment(to_float(pixels), numbers, strength)
            own_targets = targets[own[own_part(own)].to(device)]
            sums += _step(model, optimizer, batch, own_targets, size, params.label_smoothing)
            bar.update(size)
        loss, right = (add_up(sums) / len(rows)).tolist()
        speed = rows.numel() / (time.perf_counter() - begun)
        _check(loss, len(classes), epoch, lr, saved, checkpoints)
        curve.append((epoch, loss, 100 * right, lr))
        log(epoch, dict(zip(COLUMNS[1:], curve[-1][1:], strict=True)) | {"images_per_s": speed})
        bar.set_postfix(epoch=epoch, loss=f"{loss:.3f}", accuracy=f"{100 * right:.0f} %")
        if epoch == params.epochs:
            # without the optimiser's three times larger state: nothing goes on from here
            checkpoints.save({"model": model.state_dict(), "curve": curve})
        elif epoch % params.checkpoint_every == 0:
            checkpoints.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "generator": generator.get_state(),
                    "curve": curve,
                }
            )
            saved = epoch
    bar.close()
    return model.eval(), pd.DataFrame(curve, columns=COLUMNS)


def _strength(params: Reid) -> Strength:
    return Strength(params.erasing, params.color_jitter, params.mixed_resolution)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Tensor,
    targets: Tensor,
    size: int,
    label_smoothing: float,
) -> Tensor:
    """One step on this process's part of a batch of `size` crops.

    Args:
        batch: (B, 3, H, W), augmented.
        targets: (B,) class of each.

    Returns:
        (2,): this part of the batch's mean loss, and of the share of crops recognised.
    """
    with torch.autocast(batch.device.type, torch.bfloat16, enabled=batch.device.type in BF16):
        logits = model(batch)
        loss = F.cross_entropy(
            logits, targets, reduction="sum", label_smoothing=label_smoothing
        ).div(size)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    sum_gradients(model.parameters())
    optimizer.step()
    return torch.stack([loss.detach(), (logits.argmax(1) == targets).sum() / size])


def _check(
    loss: float, classes: int, epoch: int, lr: float, saved: int, checkpoints: Checkpoints
) -> None:
    """Stop before a state that has diverged replaces the last good checkpoint."""
    guessing = math.log(max(2, classes))
    if math.isfinite(loss) and loss < DIVERGED * guessing:
        return
    kept = (
        f"the last good checkpoint, of epoch {saved}, is {checkpoints.path}"
        if saved
        else "no checkpoint was written before"
    )
    raise UserError(
        f"the loss is {loss:.4g} in epoch {epoch} at learning rate {lr:.4g}, where guessing gives"
        f" {guessing:.2f}: lower reid.lr or lengthen reid.warmup_epochs ({kept})"
    )
