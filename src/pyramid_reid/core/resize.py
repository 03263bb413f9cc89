"""Resizing of crops."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from PIL import Image

from pyramid_reid.core.crops import Pixels


def resize(
    pixels: Annotated[Pixels, "H W 3"], height: int, width: int, resample: Image.Resampling
) -> Annotated[Pixels, "height width 3"]:
    """Resize a crop; Pillow's filters are antialiased."""
    return np.asarray(Image.fromarray(pixels).resize((width, height), resample))
