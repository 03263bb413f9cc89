"""The training crops: how batches are drawn, and read ahead while another one is computed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyramid_reid.core.crops import CropStore, Pixels
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.core.runtime import is_main, world_size
from pyramid_reid.reid.network.preprocessing import resized
from pyramid_reid.training.distributed import main_first, own_part, wait

AHEAD = 2
"""Batches that are read before they are needed."""


@contextmanager
def training_images(
    store: CropStore, rows: Sequence[int], height: int, width: int, limit: float, file: Path
) -> Iterator[Annotated[Pixels, "N H W 3"]]:
    """Crops as `resized` gives them: in memory, or mapped from a file that lives as long as this.

    Several processes of a machine share the file; it is made by the main one. Its name is removed
    as soon as all have opened it: the system keeps what is mapped, and a kill leaves nothing.

    Args:
        limit: GiB of pixels that each process holds in memory.
        file: where the pixels are put if they are more.
    """
    shown = progress(rows, "reading crops", "crops")
    if len(rows) * height * width * 3 <= limit * 2**30:
        yield resized(store, shown, height, width)
        return
    with main_first():
        if is_main():
            resized(store, shown, height, width, file)
    images = np.load(file, mmap_mode="r")
    wait()
    if is_main():
        file.unlink()
    yield images


def batch_size(labels: Annotated[NDArray[np.int64], "N"], size: int, instances: int) -> int:
    """The size of the batches: `size`, or all crops where there are fewer.

    Raises:
        UserError: there are not enough crops or identities for such batches.
    """
    if instances and len(np.unique(labels)) < size // instances:
        raise UserError(
            f"reid.batch_size: {size} with reid.instances: {instances} takes"
            f" {size // instances} identities per batch, and {len(np.unique(labels))} train;"
            " lower reid.batch_size"
        )
    size = size if instances else min(size, len(labels))
    if size < 2 * world_size():
        raise UserError(
            f"a batch of {size} crops cannot be shared by {world_size()} processes, as batch"
            " normalisation needs two each; start fewer"
        )
    return size


def epoch(
    labels: Annotated[NDArray[np.int64], "N"], size: int, instances: int, generator: torch.Generator
) -> Annotated[Tensor, "batches B"]:
    """The batches of one pass over the crops, as rows of them.

    What does not fill a batch is left out, as it would weigh more than the others; the next epoch
    leaves out others.

    Args:
        labels: identities, from 0.
        size: of a batch.
        instances: crops of each identity in a batch; 0 takes crops in random order.
    """
    if instances:
        return _balanced(labels, size, instances, generator)
    order = torch.randperm(len(labels), generator=generator)
    return order[: len(order) // size * size].view(-1, size)


def _balanced(
    labels: NDArray[np.int64], size: int, instances: int, generator: torch.Generator
) -> Tensor:
    """Batches of `size / instances` identities with `instances` crops each.

    Every identity's crops are shuffled and dealt into groups; one that has too few for a group
    repeats some. Batches take a group each of identities drawn at random, until too few are left
    (the sampler of Hermans et al., 2017, as torchreid has it).
    """
    groups: list[list[Tensor]] = []
    for label in range(int(labels.max()) + 1):
        rows = torch.from_numpy(np.flatnonzero(labels == label))
        if len(rows) < instances:
            rows = rows[torch.randint(len(rows), (instances,), generator=generator)]
        rows = rows[torch.randperm(len(rows), generator=generator)]
        groups.append(list(torch.split(rows[: len(rows) // instances * instances], instances)))
    batches = []
    people = size // instances
    while len(left := [number for number, own in enumerate(groups) if own]) >= people:
        chosen = torch.randperm(len(left), generator=generator)[:people]
        batches.append(torch.cat([groups[left[number]].pop() for number in chosen.tolist()]))
    return torch.stack(batches)


def read_ahead(
    images: Annotated[Pixels, "N H W 3"],
    batches: Annotated[Tensor, "batches B"],
    device: torch.device,
) -> Iterator[Annotated[Tensor, "B H W 3"]]:
    """This process's crops of each batch, on the device, read by a thread beside the training.

    Args:
        images: uint8, in memory or mapped.
        batches: (number of batches, size) rows.

    Yields:
        (own part of a batch, H, W, 3) uint8.
    """

    def read(rows: Tensor) -> Tensor:
        pixels = torch.from_numpy(images[rows[own_part(rows)].numpy()])
        if device.type == "cpu":
            return pixels
        return pixels.pin_memory().to(device, non_blocking=True)

    with ThreadPoolExecutor(1) as reader:
        waiting: deque[Future[Tensor]] = deque()
        for rows in batches:
            waiting.append(reader.submit(read, rows))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
