"""Crops of a store as one array of equal size, and as normalised tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyramid_reid.core.crops import CropStore, Pixels
from pyramid_reid.core.resize import resize

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resized(
    store: CropStore, rows: Collection[int], height: int, width: int, file: Path | None = None
) -> Annotated[Pixels, "rows height width 3"]:
    """Resize crops once, with Pillow's antialiased bilinear filter as torchreid does.

    Args:
        file: holds the result, which is then mapped instead of kept in memory.
    """
    images = (resize(store[row], height, width, Image.Resampling.BILINEAR) for row in rows)
    shape = (len(rows), height, width, 3)
    if file is None:
        held = np.empty(shape, np.uint8)
        for place, image in enumerate(images):
            held[place] = image
        return held
    file.parent.mkdir(parents=True, exist_ok=True)
    # written, not mapped: on a full disk a map ends the process without a word
    with file.open("wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(out, header)
        for image in images:
            out.write(np.ascontiguousarray(image).data)
    mapped: Pixels = np.load(file, mmap_mode="r")
    return mapped


def resized_in_parts(
    store: CropStore, rows: Sequence[int], height: int, width: int, part: int
) -> Iterator[Annotated[Pixels, "part height width 3"]]:
    """Crops as `resized` gives them, `part` at a time."""
    for start in range(0, len(rows), part):
        yield resized(store, rows[start : start + part], height, width)


def to_float(images: Annotated[Tensor, "B H W 3"]) -> Annotated[Tensor, "B 3 H W"]:
    """Pixels as float32 in [0, 1], each channel a plane in memory.

    OSNet computes with channels last all the same; what is done to channels alike is several
    times faster on planes.
    """
    planes = images.permute(0, 3, 1, 2)
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def normalize(images: Annotated[Tensor, "B 3 H W"]) -> Annotated[Tensor, "B 3 H W"]:
    """Images in [0, 1] to zero mean and unit variance of ImageNet's channels."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1)
    return images.sub(mean).div_(std)
