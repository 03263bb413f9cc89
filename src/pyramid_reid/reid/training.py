"""Training of one branch's OSNet: softmax loss with label smoothing."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from timm.scheduler.cosine_lr import CosineLRScheduler
from torch import Tensor, nn
from torch.nn import functional as F

from pyramid_reid.checkpoints import Checkpoints
from pyramid_reid.crops import Pixels
from pyramid_reid.errors import UserError
from pyramid_reid.params import Reid
from pyramid_reid.progress import progress
from pyramid_reid.reid import osnet
from pyramid_reid.reid.augment import augment
from pyramid_reid.reid.images import normalize, to_float
from pyramid_reid.runtime import derive_seed


def train(
    images: Pixels,
    pids: NDArray[np.int64],
    params: Reid,
    seed: int,
    device: torch.device,
    checkpoints: Checkpoints,
) -> tuple[nn.Module, pd.DataFrame]:
    """Train an OSNet for all epochs and return the last one; goes on from the last checkpoint.

    AMSGrad, linear warm-up, then a half cosine to zero. No epoch is selected: there is nothing
    to select it on but the test identities.

    Args:
        images: (N, height, width, 3) uint8 of the training crops.
        pids: (N,) their identities.
        seed: of weights, order and augmentation.

    Returns:
        The network in evaluation mode, and the curve with columns epoch, loss, accuracy (percent
        of the augmented training crops) and lr.

    Raises:
        UserError: the loss is no longer a number.
    """
    classes, labels = np.unique(pids, return_inverse=True)
    weights_seed, batches_seed = (derive_seed(seed, name) for name in ("weights", "batches"))
    model = osnet.build(params.model, len(classes), weights_seed).to(device).train()
    optimizer = torch.optim.Adam(
        model.parameters(), lr=params.lr, weight_decay=params.weight_decay, amsgrad=True
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
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        curve = state["curve"]
    pixels, targets = torch.from_numpy(images).to(device), torch.from_numpy(labels).to(device)
    bar = progress(range(len(curve) + 1, params.epochs + 1), params.model, "epochs")
    for epoch in bar:
        schedule.step(epoch - 1)
        lr = float(optimizer.param_groups[0]["lr"])
        loss, accuracy = _epoch(model, optimizer, pixels, targets, params, generator)
        if not math.isfinite(loss):
            raise UserError(
                f"the loss is {loss} in epoch {epoch}, learning rate {lr:g}: lower reid.lr"
            )
        curve.append((epoch, loss, accuracy, lr))
        bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.0f} %", refresh=False)
        if epoch % params.checkpoint_every == 0 or epoch == params.epochs:
            checkpoints.save(
                {
                    "model": model.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "generator": generator.get_state(),
                    "curve": curve,
                }
            )
    return model.eval(), pd.DataFrame(curve, columns=["epoch", "loss", "accuracy", "lr"])


def _epoch(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    pixels: Tensor,
    targets: Tensor,
    params: Reid,
    generator: torch.Generator,
) -> tuple[float, float]:
    """One pass over all crops in random order; returns mean loss and accuracy in percent."""
    order = torch.randperm(len(targets), generator=generator).to(targets.device)
    # a last batch that is not full would weigh its crops more; the next epoch draws others
    size = min(params.batch_size, len(order))
    batches = order[: len(order) // size * size].view(-1, size)
    total, right = (torch.zeros((), device=targets.device) for _ in range(2))
    for rows in batches:
        batch = augment(to_float(pixels[rows]), params.erasing, params.color_jitter, generator)
        logits = model(normalize(batch))
        loss = F.cross_entropy(logits, targets[rows], label_smoothing=params.label_smoothing)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += loss.detach()
        right += (logits.argmax(1) == targets[rows]).sum()
    return float(total) / len(batches), 100 * float(right) / batches.numel()
