"""Restoring many crops of many sizes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import torch

from pyramid_reid.crops import Pixels
from pyramid_reid.restoration.pairs import to_pixels, to_tensor
from pyramid_reid.restoration.pyramid import Reconstructor, pad

CHUNK_PIXELS = 2**19
"""Low-resolution pixels that are read and restored before anything is handed on."""

BATCH_PIXELS = 2**15
"""Low-resolution pixels in one batch: bounds the memory of the largest head's activations."""


def restore(model: Reconstructor, crops: Iterable[Pixels]) -> Iterator[list[Pixels]]:
    """Restore crops at their own sizes, in order.

    Crops whose sizes reach the same multiple of the window share a batch. Each is padded as it
    would be alone, so that its result does not depend on the others, up to rounding.

    Args:
        model: in evaluation mode.
        crops: (H, W, 3) uint8 each, any size.

    Yields:
        Per crop one image per scale s, (s H, s W, 3) uint8.
    """
    chunk: list[Pixels] = []
    pixels = 0
    for crop in crops:
        chunk.append(crop)
        pixels += crop.shape[0] * crop.shape[1]
        if pixels >= CHUNK_PIXELS:
            yield from _restore_chunk(model, chunk)
            chunk, pixels = [], 0
    yield from _restore_chunk(model, chunk)


def _restore_chunk(model: Reconstructor, crops: Sequence[Pixels]) -> Iterator[list[Pixels]]:
    multiple = model.extractor.multiple
    by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, crop in enumerate(crops):
        by_size[-(-crop.shape[0] // multiple), -(-crop.shape[1] // multiple)].append(number)
    restored: dict[int, list[Pixels]] = {}
    for (rows, columns), numbers in by_size.items():
        size = max(1, BATCH_PIXELS // (rows * columns * multiple**2))
        for start in range(0, len(numbers), size):
            batch = numbers[start : start + size]
            images = _restore_batch(model, [crops[number] for number in batch])
            restored.update(zip(batch, images, strict=True))
    for number in range(len(crops)):
        yield restored.pop(number)


@torch.inference_mode()
def _restore_batch(model: Reconstructor, crops: Sequence[Pixels]) -> list[list[Pixels]]:
    device = next(model.parameters()).device
    padded = [pad(to_tensor(crop[None]), model.extractor.multiple) for crop in crops]
    low = torch.cat(padded).to(device, memory_format=torch.channels_last)
    per_scale = [to_pixels(images) for images in model(low)]
    return [
        [
            image[: crop.shape[0] * scale, : crop.shape[1] * scale]
            for image, scale in zip(images, model.architecture.scales, strict=True)
        ]
        for crop, images in zip(crops, zip(*per_scale, strict=True), strict=True)
    ]
