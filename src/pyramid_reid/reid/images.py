"""Crops of a store as one array of equal size, and as normalised tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyramid_reid.crops import CropStore, Pixels
from pyramid_reid.degrade import resize
from pyramid_reid.progress import progress

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def resized(
    store: CropStore, rows: Sequence[int], height: int, width: int, file: Path | None = None
) -> Pixels:
    """Resize crops once, with Pillow's antialiased bilinear filter as torchreid does.

    Args:
        file: holds the result, which is then mapped instead of kept in memory.

    Returns:
        (len(rows), height, width, 3) uint8.
    """
    shape = (len(rows), height, width, 3)
    if file is None:
        images = np.empty(shape, np.uint8)
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        images = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    for place, row in enumerate(progress(rows, "reading crops", "crops")):
        images[place] = resize(store[row], height, width, Image.Resampling.BILINEAR)
    return images


def to_float(images: Tensor) -> Tensor:
    """(B, H, W, 3) uint8 to (B, 3, H, W) float32 in [0, 1], each channel a plane in memory.

    OSNet computes with channels last all the same; what is done to channels alike is several
    times faster on planes.
    """
    planes = images.permute(0, 3, 1, 2)
    return planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def normalize(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] to zero mean and unit variance of ImageNet's channels."""
    mean = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD, device=images.device).view(1, 3, 1, 1)
    return images.sub(mean).div_(std)
