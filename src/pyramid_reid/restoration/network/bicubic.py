"""Bicubic up-sampling: what a head corrects, and the baseline of every restoration."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.jit import is_tracing  # type: ignore[attr-defined]
from torch.nn import functional as F

from pyramid_reid.core.crops import Pixels
from pyramid_reid.restoration.network.images import to_pixels, to_tensor


def upsample(x: Tensor, scale: int) -> Tensor:
    """Bicubic up-sampling of (B, 3, H, W): what a head corrects, and the baseline."""
    if scale == 1:
        return x
    height, width = x.shape[2:]
    if x.device.type != "cpu" or is_tracing():  # type: ignore[no-untyped-call]
        return _interpolate(x, scale * height, scale * width)
    rows, columns = (_bicubic(side, scale, x.dtype) for side in (height, width))
    return rows @ x.contiguous() @ columns.T


def _interpolate(x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, (height, width), mode="bicubic", align_corners=False)


@lru_cache(maxsize=512)
def _bicubic(side: int, scale: int, dtype: torch.dtype) -> Tensor:
    """What bicubic up-sampling does to a row of pixels, (s side, side).

    On a CPU two products with such matrices take a fraction of the time of `F.interpolate`.
    """
    with torch.inference_mode(mode=False):  # a training may use it later
        rows = torch.eye(side, dtype=dtype)[None, :, :, None]  # one pixel of each is 1
        return _interpolate(rows, scale * side, 1)[0, :, :, 0].T


def bicubic(low: Pixels, scale: int) -> Pixels:
    """Bicubic up-sampling of (H, W, 3) uint8 to (s H, s W, 3) uint8, as the heads start from."""
    with torch.inference_mode():
        images = to_pixels(upsample(to_tensor(low[None]), scale))
    return np.asarray(images[0])
