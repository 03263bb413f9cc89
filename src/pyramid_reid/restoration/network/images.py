"""Conversion between pixels and the tensors of the restoration networks."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from pyramid_reid.core.crops import Pixels


def to_tensor(images: Annotated[Pixels, "B H W 3"]) -> Annotated[Tensor, "B 3 H W"]:
    """Pixels as float32 in [0, 1], channels last in memory."""
    return torch.tensor(images).permute(0, 3, 1, 2).float().div_(255)


def to_pixels(images: Annotated[Tensor, "B 3 H W"]) -> Annotated[Pixels, "B H W 3"]:
    """Images in about [0, 1] as pixels, clipped and rounded."""
    scaled = images.detach().clamp(0, 1).mul_(255).round_().to(torch.uint8)
    pixels: Pixels = scaled.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pixels
