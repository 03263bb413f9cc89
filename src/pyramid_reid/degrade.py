"""The simulated low resolution of one image."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pyramid_reid.crops import Pixels


def resize(pixels: Pixels, height: int, width: int, resample: Image.Resampling) -> Pixels:
    """Resize (H, W, 3) uint8 to (height, width, 3) uint8; Pillow's filters are antialiased."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), resample))


def downsample(pixels: Pixels, ratio: int) -> Pixels:
    """Down-sample by `ratio` with an antialiased bicubic filter, as MLR benchmarks are built.

    Args:
        pixels: (H, W, 3) uint8.
        ratio: at least 1; 1 returns the pixels as they are.

    Returns:
        (max(1, round(H / ratio)), max(1, round(W / ratio)), 3) uint8.
    """
    if ratio < 1:
        raise ValueError(f"ratio must be at least 1, got {ratio}")
    if ratio == 1:
        return pixels
    height, width = (max(1, round(side / ratio)) for side in pixels.shape[:2])
    return resize(pixels, height, width, Image.Resampling.BICUBIC)
