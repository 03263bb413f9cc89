"""Augmentation of a whole batch at once, with a passed generator.

What torchreid offers for OSNet (mirror, random translation, colour jitter, random erasing), each
image drawing its own. It differs from torchreid in that every image is moved, by whole pixels and
without enlarging, and that saturation changes as much as brightness and contrast.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyramid_reid.reid.images import IMAGENET_MEAN

SHIFT = 1 / 16
"""Largest translation, as a share of the side: torchreid enlarges by 1/8, then crops anywhere."""

ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = (0.3, 1 / 0.3)
"""Area and height / width of an erased rectangle (Zhong et al., AAAI 2020)."""


def augment(
    images: Tensor, erasing: float, color_jitter: float, generator: torch.Generator
) -> Tensor:
    """Augment a batch.

    Args:
        images: (B, 3, H, W) in [0, 1].
        erasing: probability that a rectangle is erased, in [0, 1].
        color_jitter: largest relative change of brightness, contrast and saturation, in [0, 1).
        generator: on the CPU; draws the same for every device.

    Returns:
        (B, 3, H, W) in [0, 1].
    """
    images = translate(mirror(images, generator), generator)
    images = jitter(images, color_jitter, generator)
    return erase(images, erasing, generator)


def _uniform(shape: tuple[int, ...], low: float, high: float, generator: torch.Generator) -> Tensor:
    return torch.rand(shape, generator=generator) * (high - low) + low


def mirror(images: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability one half."""
    chosen = (_uniform((len(images), 1, 1, 1), 0, 1, generator) < 0.5).to(images.device)
    return torch.where(chosen, images.flip(3), images)


def translate(images: Tensor, generator: torch.Generator) -> Tensor:
    """Move each image by up to `SHIFT` of its sides; its border is repeated behind it."""
    count, _, height, width = images.shape
    rows, columns = (_shifted(side, count, generator).to(images.device) for side in (height, width))
    batch = torch.arange(count, device=images.device)
    # indexed as (B, H, W, 3), which is how channels_last lies in memory
    pixels = images.permute(0, 2, 3, 1)
    moved = pixels[batch[:, None, None], rows[:, :, None], columns[:, None, :]]
    return moved.permute(0, 3, 1, 2)


def _shifted(side: int, count: int, generator: torch.Generator) -> Tensor:
    """(count, side) places along a side, each row moved by its own shift."""
    limit = max(1, round(side * SHIFT))
    shifts = torch.randint(-limit, limit + 1, (count, 1), generator=generator)
    return (torch.arange(side) + shifts).clamp_(0, side - 1)


def jitter(images: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Change brightness, then contrast, then saturation of each image by a factor about 1."""
    if not strength:
        return images
    brightness, contrast, saturation = (
        _uniform((len(images), 1, 1, 1), 1 - strength, 1 + strength, generator).to(images.device)
        for _ in range(3)
    )
    images = (images * brightness).clamp_(0, 1)
    images = torch.lerp(grey(images).mean((2, 3), keepdim=True), images, contrast).clamp_(0, 1)
    return torch.lerp(grey(images), images, saturation).clamp_(0, 1)


def grey(images: Tensor) -> Tensor:
    """Luma (ITU-R BT.601) of (B, 3, H, W), as (B, 1, H, W)."""
    weights = torch.tensor([0.299, 0.587, 0.114], device=images.device).view(1, 3, 1, 1)
    return (images * weights).sum(1, keepdim=True)


def erase(images: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Fill a rectangle of each image, with the given probability, by ImageNet's mean colour."""
    if not probability:
        return images
    count, _, height, width = images.shape
    area = _uniform((count,), *ERASED_AREA, generator) * height * width
    low, high = (math.log(aspect) for aspect in ERASED_ASPECT)
    aspect = _uniform((count,), low, high, generator).exp()
    tall = (area * aspect).sqrt().round().clamp_(1, height)
    wide = (area / aspect).sqrt().round().clamp_(1, width)
    top = (_uniform((count,), 0, 1, generator) * (height - tall + 1)).floor()
    left = (_uniform((count,), 0, 1, generator) * (width - wide + 1)).floor()
    chosen = _uniform((count,), 0, 1, generator) < probability
    y, x = torch.arange(height)[None, :], torch.arange(width)[None, :]
    in_rows = (y >= top[:, None]) & (y < (top + tall)[:, None]) & chosen[:, None]
    in_columns = (x >= left[:, None]) & (x < (left + wide)[:, None])
    hole = (in_rows[:, :, None] & in_columns[:, None, :])[:, None].to(images.device)
    fill = torch.tensor(IMAGENET_MEAN, device=images.device).view(1, 3, 1, 1)
    return torch.where(hole, fill, images)
