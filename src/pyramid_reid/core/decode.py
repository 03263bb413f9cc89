"""Image files as RGB pixels, or the reason why not."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.errors import DAMAGED, reason

MAX_PIXELS = 2**24
"""A crop of a person is far smaller; what is larger is a wrong file or a decompression bomb."""

FORMATS = ("JPEG", "PNG", "BMP")


def decode(content: bytes) -> Pixels:
    """Decode a JPEG, PNG or BMP to (H, W, 3) uint8 RGB, upright as its EXIF data say.

    Grey, palette, CMYK and opaque alpha images are converted.

    Raises:
        ValueError: with the reason: no such image, truncated, too large, or with values that
            have no agreed RGB (16 bits per channel of grey, transparency).
    """
    if not content:
        raise ValueError("is empty (0 bytes)")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height <= MAX_PIXELS:
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return _rgb(image)
            size = f"{image.width}x{image.height}"
    except UnidentifiedImageError as error:
        raise ValueError(f"is no {', '.join(FORMATS)} image") from error
    except Image.DecompressionBombError as error:
        raise ValueError("is too large for a crop of a person") from error
    except ValueError:
        raise  # with a reason of our own, or Pillow's
    # Pillow asserts what a damaged PNG may lack
    except (*DAMAGED, AssertionError, Warning) as error:
        raise ValueError(f"cannot be decoded ({reason(error)})") from error
    raise ValueError(f"is {size} pixels, too large for a crop of a person")


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith(("I", "F")):
        raise ValueError("has 16 or 32 bits of grey, whose range is not agreed: save it with 8")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if np.asarray(image)[..., 3].min() < 255:
            raise ValueError("has transparent pixels, which have no colour: save it without alpha")
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
