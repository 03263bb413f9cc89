"""Crops at another size."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pyramid_reid.core.crops import Pixels


def resize(pixels: Pixels, height: int, width: int, resample: Image.Resampling) -> Pixels:
    """Resize (H, W, 3) uint8 to (height, width, 3) uint8; Pillow's filters are antialiased."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), resample))
