"""Augmentation of a whole batch at once, as a pure function of images and random numbers.

torchreid's augmentations for OSNet, with the same strengths: mirror, random crop of the enlarged
image, colour jitter, random erasing; each image uses its own random numbers. docs/reid.md lists
what differs from torchreid.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from pyramid_reid.reid.network.preprocessing import normalize

CROPPED = 0.5
"""Probability of a random crop (torchreid's Random2DTranslation)."""
ENLARGEMENT = 1.125
"""Of both sides before a random crop of the network's size (torchreid's Random2DTranslation)."""

CONTRAST = 0.75
"""Change of contrast relative to that of brightness: torchreid's are 0.15 and 0.2."""

ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = (0.3, 1 / 0.3)
"""Area and height / width of an erased rectangle (Zhong et al., AAAI 2020)."""

RATIOS = (2, 3, 4)
"""By how much mixed resolution down-samples: the ratios of the MLR benchmarks."""

COLUMNS = 13
"""Random numbers that the augmentation of one image takes."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How much is changed.

    Attributes:
        erasing: probability that a rectangle is erased, in [0, 1].
        color_jitter: largest relative change of brightness, in [0, 1).
        mixed_resolution: probability that an image is down-sampled and enlarged again, in [0, 1].
    """

    erasing: float
    color_jitter: float
    mixed_resolution: float


def random_numbers(count: int, generator: torch.Generator) -> Annotated[Tensor, "B steps"]:
    """What `augment` takes for `count` images, in [0, 1).

    Drawn on the CPU, for a whole batch, however many devices share it: it is the same for all.
    """
    return torch.rand((count, COLUMNS), generator=generator)


def augment(
    images: Annotated[Tensor, "B 3 H W"], numbers: Annotated[Tensor, "B steps"], strength: Strength
) -> Annotated[Tensor, "B 3 H W"]:
    """Augment and normalise a batch.

    Args:
        images: in [0, 1].
        numbers: from `random_numbers`, on the images' device.

    Returns:
        Zero mean and unit variance of ImageNet's channels.
    """
    u = numbers.unbind(1)
    images = degrade(images, strength.mixed_resolution, u[0], u[1])
    images = mirror_and_crop(images, u[2], u[3], u[4], u[5])
    images = jitter(images, strength.color_jitter, u[6], u[7])
    return erase(normalize(images), strength.erasing, *u[8:])


def degrade(
    images: Annotated[Tensor, "B 3 H W"],
    probability: float,
    chance: Annotated[Tensor, "B"],
    choice: Annotated[Tensor, "B"],
) -> Annotated[Tensor, "B 3 H W"]:
    """Down-sample some images by one of `RATIOS`, antialiased, and enlarge them again.

    The input of branch `ori` then varies in resolution as queries do ("mixed resolution", a known
    strong baseline of cross-resolution ReID).

    Args:
        chance, choice: in [0, 1): whether, and by which ratio.
    """
    if not probability:
        return images
    size = images.shape[2:]
    ratios = torch.where(chance < probability, (choice * len(RATIOS)).long(), -1)
    images = images.clone()
    for number, ratio in enumerate(RATIOS):
        rows = (ratios == number).nonzero()[:, 0]
        if len(rows):
            small = [max(1, round(side / ratio)) for side in size]
            low = F.interpolate(images[rows], small, mode="bilinear", antialias=True)
            images[rows] = F.interpolate(low, size, mode="bilinear")
    return images


def mirror_and_crop(
    images: Annotated[Tensor, "B 3 H W"],
    mirror: Annotated[Tensor, "B"],
    crop: Annotated[Tensor, "B"],
    y: Annotated[Tensor, "B"],
    x: Annotated[Tensor, "B"],
) -> Annotated[Tensor, "B 3 H W"]:
    """Mirror half of the images; enlarge half of them and crop a window of the old size.

    Args:
        mirror, crop: in [0, 1): whether.
        y, x: in [0, 1): where the window lies, from top and left.
    """
    cropped = crop < CROPPED
    scale = torch.where(cropped, 1 / ENLARGEMENT, 1.0)
    axes = []
    for side, place in ((images.shape[2], y), (images.shape[3], x)):
        # by whole pixels of the enlarged image, as torchreid crops it; counted in old pixels
        room = round(side * ENLARGEMENT) - side
        first = torch.where(cropped, (place * room).round(), 0.0)
        at = (torch.arange(side, device=images.device) + 0.5 + first[:, None]) * scale[:, None]
        axes.append(2 * at / side - 1)
    axes[1] = torch.where(mirror[:, None] < 0.5, axes[1].flip(1), axes[1])
    rows, columns = axes
    shape = (len(images), *images.shape[2:])
    grid = torch.stack([columns[:, None, :].expand(shape), rows[:, :, None].expand(shape)], 3)
    return F.grid_sample(images, grid, padding_mode="border", align_corners=False)


def jitter(
    images: Annotated[Tensor, "B 3 H W"],
    strength: float,
    brightness: Annotated[Tensor, "B"],
    contrast: Annotated[Tensor, "B"],
) -> Annotated[Tensor, "B 3 H W"]:
    """Change brightness, then contrast (about the mean luma) of each image by a factor about 1.

    Args:
        brightness, contrast: in [0, 1): how much.
    """
    if not strength:
        return images
    gain = (1 + strength * (2 * brightness - 1)).view(-1, 1, 1, 1)
    images = images.mul(gain).clamp_(0, 1)
    contrasts = (1 + CONTRAST * strength * (2 * contrast - 1)).view(-1, 1, 1, 1)
    means = (images.mean((2, 3)) @ luma(images.device)).view(-1, 1, 1, 1)
    return images.sub_(means).mul_(contrasts).add_(means).clamp_(0, 1)


def luma(device: torch.device) -> Annotated[Tensor, "3"]:
    """Weights of red, green and blue (ITU-R BT.601)."""
    return torch.tensor([0.299, 0.587, 0.114], device=device)


def erase(
    images: Annotated[Tensor, "B 3 H W"],
    probability: float,
    chance: Annotated[Tensor, "B"],
    area: Annotated[Tensor, "B"],
    aspect: Annotated[Tensor, "B"],
    y: Annotated[Tensor, "B"],
    x: Annotated[Tensor, "B"],
) -> Annotated[Tensor, "B 3 H W"]:
    """Fill a rectangle of some normalised images by ImageNet's mean colour, which is 0.

    Args:
        chance: in [0, 1): whether.
        area, aspect, y, x: in [0, 1): the rectangle's size, shape and place.
    """
    if not probability:
        return images
    height, width = images.shape[2:]
    smallest, largest = ERASED_AREA
    areas = (smallest + (largest - smallest) * area) * height * width
    low, high = (math.log(each) for each in ERASED_ASPECT)
    aspects = (low + (high - low) * aspect).exp()
    tall = (areas * aspects).sqrt().round().clamp_(1, height)
    wide = (areas / aspects).sqrt().round().clamp_(1, width)
    top, left = (y * (height - tall + 1)).floor(), (x * (width - wide + 1)).floor()
    rows, columns = (torch.arange(side, device=images.device) for side in (height, width))
    in_rows = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
    in_rows &= (chance < probability)[:, None]
    in_columns = (columns >= left[:, None]) & (columns < (left + wide)[:, None])
    hole = (in_rows[:, :, None] & in_columns[:, None, :])[:, None]
    return images * ~hole
