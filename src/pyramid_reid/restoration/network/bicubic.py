"""Bicubic up-sampling: what a head corrects, and the baseline of every restoration."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pyramid_reid.core.crops import Pixels
from pyramid_reid.restoration.network.images import to_pixels, to_tensor


def upsample(x: Tensor, scale: int) -> Tensor:
    """Bicubic up-sampling of (B, 3, H, W): what a head corrects, and the baseline."""
    if scale == 1:
        return x
    height, width = x.shape[2:]
    size = scale * height, scale * width
    return F.interpolate(x, size, mode="bicubic", align_corners=False)


def bicubic(low: Pixels, scale: int) -> Pixels:
    """Bicubic up-sampling of (H, W, 3) uint8 to (s H, s W, 3) uint8, as the heads start from."""
    with torch.inference_mode():
        images = to_pixels(upsample(to_tensor(low[None]), scale))
    return np.asarray(images[0])
