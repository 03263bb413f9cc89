"""Training of one branch's OSNet: softmax loss with label smoothing."""

from __future__ import annotations

import math
import time
from contextlib import ExitStack
from typing import Annotated

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.params import Reid
from pyramid_reid.core.runtime import derive_seed, world_size
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.network.preprocessing import to_float
from pyramid_reid.reid.training import batches, pretrained
from pyramid_reid.reid.training.augment import Strength, augment, random_numbers
from pyramid_reid.reid.training.batch_norm import share_statistics
from pyramid_reid.reid.training.cuda_graph import replayed
from pyramid_reid.training.checkpoints import Checkpoints
from pyramid_reid.training.course import Bounds, Course, Log, Seeded, Stateful
from pyramid_reid.training.distributed import add_up, own_part, sum_gradients
from pyramid_reid.training.schedule import set_lr, warmed_up
from pyramid_reid.training.weights_file import Checkpoint

COLUMNS = ["epoch", "loss", "accuracy", "lr"]

DIVERGED = 5.0
"""A loss of so many times that of guessing, the logarithm of the number of identities, will not
come back: a network that learns is below it after the first epoch."""

BF16 = ("cuda",)
"""Types of devices that compute in bfloat16 where autocast does; weights stay float32."""


def train(
    images: Annotated[Pixels, "N H W 3"],
    pids: Annotated[NDArray[np.int64], "N"],
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
        images: of the training crops.
        pids: their identities.
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
    averaged = ema(model, params.ema) if params.ema else None
    records = device.type == "cuda" and world_size() == 1
    generator = torch.Generator().manual_seed(batches_seed)
    targets, strength = torch.from_numpy(labels).to(device), _strength(params)
    resumed: dict[str, Stateful] = {"optimizer": optimizer, "generator": Seeded(generator)}
    course = Course(
        checkpoints,
        log,
        unit="epoch",
        steps=params.epochs,
        every=params.checkpoint_every,
        kept={"mean": averaged} if averaged else {"model": model},
        resumed=resumed | ({"model": model} if averaged else {}),
        bounds=_bounds(len(classes)),
        bar=("crops", len(labels), params.model),
    )
    with ExitStack() as recorded:
        for epoch in course:
            lr = warmed_up(params.lr, epoch - 1, params.epochs, params.warmup_epochs)
            set_lr(optimizer, lr)
            alone = epoch <= params.fixed_epochs
            osnet.open_layers(model, classifier_alone=alone)
            if records and not alone:  # before a thread of `read_ahead` uses the GPU, too
                recorded.enter_context(replayed(model, (size, 3, *images.shape[1:3])))
                records = False
            rows = batches.epoch(labels, size, params.instances, generator)
            begun, sums = time.perf_counter(), torch.zeros(2, device=device)
            for own, pixels in zip(rows, batches.read_ahead(images, rows, device), strict=True):
                numbers = random_numbers(size, generator)[own_part(own)].to(device)
                batch = augment(to_float(pixels), numbers, strength)
                own_targets = targets[own[own_part(own)].to(device)]
                sums += _step(model, optimizer, batch, own_targets, size, params.label_smoothing)
                if averaged:
                    averaged.update_parameters(model)
                course.advance(size)
            loss, right = (add_up(sums) / len(rows)).tolist()
            speed = rows.numel() / (time.perf_counter() - begun)
            course.log(loss=loss, accuracy=100 * right, lr=lr, unkept={"images_per_s": speed})
    if averaged:
        model.load_state_dict(averaged.module.state_dict())
    if start is not None and params.start_weight:
        pretrained.blend(model, start, params.start_weight)
    return model.eval(), pd.DataFrame(course.curve, columns=COLUMNS)


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
    kind = batch.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=kind in BF16, cache_enabled=False):
        logits = model(batch)
        loss = F.cross_entropy(
            logits, targets, reduction="sum", label_smoothing=label_smoothing
        ).div(size)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    sum_gradients(model.parameters())
    optimizer.step()
    return torch.stack([loss.detach(), (logits.argmax(1) == targets).sum() / size])


def ema(model: nn.Module, decay: float) -> AveragedModel:
    """The running mean of a network's weights and statistics."""
    average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)


def _bounds(classes: int) -> Bounds:
    guessing = math.log(max(2, classes))
    return Bounds(
        DIVERGED * guessing,
        f"guessing gives {guessing:.2f}; lower reid.lr or lengthen reid.warmup_epochs",
    )
