"""Image files as RGB pixels, or the reason why not."""

from __future__ import annotations

import io
from typing import Annotated

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.errors import DAMAGED, reason

MAX_PIXELS = 2**24
"""A crop of a person is far smaller; what is larger is a wrong file or a decompression bomb."""

FORMATS = ("JPEG", "PNG", "BMP")
UNREAD = ("GIF", "WEBP", "TIFF", "AVIF", "JPEG2000", "PPM")
"""Formats that are told from a file that is no image."""

OPAQUE = 250
"""Alpha from here on is rounding: the colour behind would show by less than 2 %."""

PNG_START, PNG_DEPTH = b"\x89PNG\r\n\x1a\n", 24
"""First bytes of a PNG, and the place of its bits per channel, which come first in any PNG."""

OTHER_FILES = {
    b"version https://git-lfs": "is a Git LFS pointer, not the image: run `git lfs pull` there",
    b"<!doctype html": "is a web page, not an image: what was downloaded is no file of the set",
    b"<html": "is a web page, not an image: what was downloaded is no file of the set",
}
"""What files named as images often are, by their first bytes in small letters."""


def decode(content: bytes) -> Annotated[Pixels, "H W 3"]:
    """Decode a JPEG, PNG or BMP to RGB, upright as its EXIF data say.

    Grey, palette, CMYK and opaque alpha images are converted. Alpha is opaque where it is at least
    `OPAQUE` everywhere, or 0 everywhere in a BMP, whose fourth byte most programs leave unused.

    Raises:
        ValueError: with the reason: no such image, truncated, too large, or with values that
            have no agreed RGB (more than 8 bits per channel, transparency).
    """
    if not content:
        raise ValueError("is empty (0 bytes)")
    if content.startswith(PNG_START) and content[PNG_DEPTH : PNG_DEPTH + 1] == b"\x10":
        raise ValueError(MORE_BITS)
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height <= MAX_PIXELS:
                image.load()
                ImageOps.exif_transpose(image, in_place=True)
                return _rgb(image)
            size = f"{image.width}x{image.height}"
    except UnidentifiedImageError as error:
        raise ValueError(_what_else(content)) from error
    except Image.DecompressionBombError as error:
        raise ValueError("is too large for a crop of a person") from error
    except ValueError:
        raise  # with a reason of our own, or Pillow's
    # Pillow asserts what a damaged PNG may lack
    except (*DAMAGED, AssertionError, Warning) as error:
        raise ValueError(f"cannot be decoded ({reason(error)})") from error
    raise ValueError(f"is {size} pixels, too large for a crop of a person")


MORE_BITS = (
    "has more than 8 bits per channel, and does not say how many of them are used: save it with 8"
)


def _rgb(image: Image.Image) -> Pixels:
    if image.mode.startswith(("I", "F")):
        raise ValueError(MORE_BITS)
    if image.has_transparency_data:
        rgba = np.asarray(image.convert("RGBA"))
        alpha = rgba[..., 3]
        unused = image.format == "BMP" and not alpha.any()
        if alpha.min() < OPAQUE and not unused:
            raise ValueError("has transparent pixels, which have no colour: save it without alpha")
        return np.ascontiguousarray(rgba[..., :3])
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _what_else(content: bytes) -> str:
    """What a file is that is not an image of `FORMATS`."""
    start = content[:64].lstrip().lower()
    for first, said in OTHER_FILES.items():
        if start.startswith(first):
            return said
    expected = f"{', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
    try:
        with Image.open(io.BytesIO(content), formats=UNREAD) as image:
            return f"is a {image.format} image, not {expected}: save it as one of them"
    except (*DAMAGED, AssertionError, Warning, Image.DecompressionBombError):
        return f"is not a {expected} image"
