"""Restoration of many crops of different sizes, in batches."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from itertools import islice
from operator import itemgetter
from typing import Annotated

import torch
from torch import Tensor

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.single_threads import single_threads
from pyramid_reid.restoration.network.images import to_pixels, to_tensor
from pyramid_reid.restoration.network.reconstructor import Reconstructor, pad

BATCH_PIXELS = 2**13
"""Low-resolution pixels restored at once where no param says how many."""


def plan(sizes: Sequence[tuple[int, int]], batch_pixels: int, multiple: int) -> list[list[int]]:
    """Share crops out among batches of crops of about the same size.

    Args:
        sizes: (height, width) of each crop.
        batch_pixels: of a batch, padding included; a crop that is larger is a batch of its own.
        multiple: crops whose sides reach the same multiples of this share a batch.

    Returns:
        Per batch the numbers of its crops. The batches depend on the arguments alone, not on how
        many processes share them.
    """
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, (height, width) in enumerate(sizes):
        by_size[-(-height // multiple), -(-width // multiple)].append(number)
    batches = []
    for (rows, columns), numbers in by_size.items():
        pixels = rows * columns * multiple**2
        size = max(1, batch_pixels // pixels)
        for start in range(0, len(numbers), size):
            batch = numbers[start : start + size]
            batches.append((len(batch) * pixels, batch))
    # the largest first, so that threads and processes that share them end together
    batches.sort(key=itemgetter(0), reverse=True)
    return [batch for _, batch in batches]


def restore(
    model: Reconstructor,
    crops: Sequence[Annotated[Pixels, "H W 3"]],
    batch_pixels: int = BATCH_PIXELS,
) -> list[list[Annotated[Pixels, "s*H s*W 3"]]]:
    """Restore crops at their own sizes.

    Args:
        model: in evaluation mode.
        crops: of any sizes.
        batch_pixels: as in `plan`.

    Returns:
        Per crop, in the order of `crops`, one image per scale s.
    """
    sizes = [crop.shape[:2] for crop in crops]
    batches = dict(enumerate(plan(sizes, batch_pixels, model.batch_multiple)))
    restored: dict[int, list[Pixels]] = {}
    for number, images in restore_batches(
        model, batches, crops.__getitem__, torch.get_num_threads()
    ):
        restored.update(zip(batches[number], images, strict=True))
    return [restored[number] for number in range(len(crops))]


def restore_batches(
    model: Reconstructor,
    batches: Mapping[int, Sequence[int]],
    crop: Callable[[int], Annotated[Pixels, "H W 3"]],
    threads: int,
) -> Generator[tuple[int, list[list[Annotated[Pixels, "s*H s*W 3"]]]], None, None]:
    """Restore the batches of a plan, on the CPU as many at once as there are threads.

    There each batch has one torch thread: several that share its small products wait for each
    other much of the time. So the bytes do not depend on the number of threads. A GPU takes one
    batch after the other.

    To be closed (`contextlib.closing`) where it may be left early: what is under way is then
    waited for.

    Args:
        model: in evaluation mode.
        batches: by their numbers, the numbers of the crops of each.
        crop: gives the crop of a number; called in several threads.
        threads: as many batches are in memory at once, and the results of as many more.

    Yields:
        The number of a batch, and its crops as `restore_batch` gives them; as soon as it is
        finished, so in any order. What its thread raises is raised here.
    """

    def one(number: int) -> tuple[int, list[list[Pixels]]]:
        return number, restore_batch(model, [crop(row) for row in batches[number]])

    if model.mean.device.type != "cpu":
        yield from map(one, batches)
        return
    waiting = iter(batches)
    with single_threads(threads) as pool:
        under_way = {pool.submit(one, number) for number in islice(waiting, threads)}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            results = [each.result() for each in done]
            under_way |= {pool.submit(one, number) for number in islice(waiting, len(done))}
            yield from results


@torch.inference_mode()
def restore_batch(
    model: Reconstructor, crops: Sequence[Annotated[Pixels, "H W 3"]]
) -> list[list[Annotated[Pixels, "s*H s*W 3"]]]:
    """Restore the crops of one batch of a plan.

    Each is padded as it would be alone, or what is padded is masked, so that its result does not
    depend on the others, up to rounding.

    Returns:
        As `restore`.
    """
    device = model.mean.device
    low = torch.cat([pad(to_tensor(crop[None]), model.batch_multiple) for crop in crops])
    mask = None
    if model.multiple == 1 and any(low.shape[2:] != crop.shape[:2] for crop in crops):
        mask = inside(crops, low).to(device)
    images = model(low.to(device, memory_format=torch.channels_last), mask)
    per_scale = [to_pixels(of_scale) for of_scale in images]
    return [
        [
            of_scale[number, : crop.shape[0] * scale, : crop.shape[1] * scale]
            for of_scale, scale in zip(per_scale, model.architecture.scales, strict=True)
        ]
        for number, crop in enumerate(crops)
    ]


def inside(
    crops: Sequence[Annotated[Pixels, "H W 3"]], padded: Annotated[Tensor, "B 3 H W"]
) -> Annotated[Tensor, "B 1 H W"]:
    """Mask of a padded batch: 1 where the crops are, else 0."""
    mask = torch.zeros_like(padded[:, :1])
    for one, crop in zip(mask, crops, strict=True):
        one[:, : crop.shape[0], : crop.shape[1]] = 1
    return mask
