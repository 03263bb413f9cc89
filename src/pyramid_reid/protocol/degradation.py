"""The simulated low resolution of one image."""

from __future__ import annotations

import io
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.resize import resize

FILTERS = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}
"""Pillow's filters, all antialiased."""

# Ranges of Zhang et al., BSRGAN, ICCV 2021 (section 3), whose random order is kept. Its widest
# blurs are left out: they would leave nothing of a person 40 pixels high.
BLUR_SIGMA = (0.1, 1.5)  # pixels of the full resolution, times the ratio / 2
NOISE_SIGMA = (1.0, 15.0)  # of 255
JPEG_QUALITY = (40, 95)


def downsample(
    pixels: Annotated[Pixels, "H W 3"], ratio: int, interpolation: str = "bicubic"
) -> Annotated[Pixels, "h w 3"]:
    """Down-sample by `ratio` with an antialiased filter, as MLR benchmarks are built.

    Args:
        ratio: at least 1; 1 returns the pixels as they are.
        interpolation: a key of `FILTERS`.

    Returns:
        (max(1, round(H / ratio)), max(1, round(W / ratio)), 3) uint8.
    """
    if ratio < 1:
        raise ValueError(f"ratio must be at least 1, got {ratio}")
    if ratio == 1:
        return pixels
    height, width = (max(1, round(side / ratio)) for side in pixels.shape[:2])
    return resize(pixels, height, width, FILTERS[interpolation])


def camera(
    pixels: Annotated[Pixels, "H W 3"], ratio: int, rng: np.random.Generator
) -> Annotated[Pixels, "h w 3"]:
    """Down-sample as a cheap camera does: blur, down-sampling and noise in random order, JPEG.

    In the spirit of BSRGAN (Zhang et al., ICCV 2021) and Real-ESRGAN (Wang et al., ICCVW 2021):
    an anisotropic Gaussian blur, one of three filters, Gaussian noise (grey or coloured, of random
    strength), then JPEG of random quality, as the video was stored.

    Args:
        ratio: at least 2.
        rng: all that is random comes from it.

    Returns:
        Of the size that `downsample` gives, uint8.
    """
    interpolation = str(rng.choice(list(FILTERS)))
    image = pixels
    for step in rng.permutation(["blur", "downsample", "noise"]):
        if step == "blur":
            # where the image is already small, the same blur of the scene is narrower
            small = image.shape != pixels.shape
            image = _blur(image, (1 if small else ratio) / 2, rng)
        elif step == "downsample":
            image = downsample(image, ratio, interpolation)
        else:
            image = _noise(image, rng)
    return _jpeg(image, int(rng.integers(JPEG_QUALITY[0], JPEG_QUALITY[1] + 1)))


def _blur(pixels: Pixels, factor: float, rng: np.random.Generator) -> Pixels:
    from scipy import ndimage  # takes longer to load than a small set to be read

    vertical, horizontal = rng.uniform(*BLUR_SIGMA, 2) * factor
    blurred = ndimage.gaussian_filter(
        pixels.astype(np.float32), (vertical, horizontal, 0), mode="nearest"
    )
    return _clip(blurred)


def _noise(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    sigma = rng.uniform(*NOISE_SIGMA)
    channels = 3 if rng.random() < 0.5 else 1  # colour or luminance noise
    noise = rng.normal(0, sigma, (*pixels.shape[:2], channels))
    return _clip(pixels + noise)


def _jpeg(pixels: Pixels, quality: int) -> Pixels:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as image:
        return np.asarray(image.convert("RGB"))


def _clip(values: NDArray[np.floating]) -> Pixels:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)
