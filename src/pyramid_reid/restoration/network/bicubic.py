"""Bicubic up-sampling: what a head corrects, and the baseline of every restoration."""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from pyramid_reid.core.crops import Pixels
from pyramid_reid.restoration.network.images import to_pixels, to_tensor


def upsample(x: Annotated[Tensor, "B 3 H W"], scale: int) -> Annotated[Tensor, "B 3 s*H s*W"]:
    """Bicubic up-sampling by the scale s: what a head corrects, and the baseline."""
    if scale == 1:
        return x
    height, width = x.shape[2:]
    size = scale * height, scale * width
    # planes take torch half the time of channels that are last in memory, and give the same bits
    return F.interpolate(x.contiguous(), size, mode="bicubic", align_corners=False)


def bicubic(low: Annotated[Pixels, "H W 3"], scale: int) -> Annotated[Pixels, "s*H s*W 3"]:
    """Bicubic up-sampling of one crop by the scale s, as the heads start from."""
    with torch.inference_mode():
        images = to_pixels(upsample(to_tensor(low[None]), scale))
    return np.asarray(images[0])
