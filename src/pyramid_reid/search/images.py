"""What users call an image, as pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.decode import decode

Crop = str | Path | Image.Image | Annotated[NDArray[np.uint8], "H W 3"]


def as_pixels(image: Crop) -> Annotated[Pixels, "H W 3"]:
    """An image as uint8 RGB.

    Args:
        image: path of a JPEG, PNG or BMP; a Pillow image; or (H, W, 3) uint8 RGB.

    Raises:
        ValueError: it is no such image; the message names a path.
    """
    if isinstance(image, (str, Path)):
        try:
            return decode(Path(image).read_bytes())
        except OSError as error:
            raise ValueError(f"{image} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ValueError(f"{image} {error}") from error
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    pixels = np.asarray(image)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(
            f"an array of {pixels.dtype} and shape {pixels.shape} is no (H, W, 3) uint8 RGB image"
        )
    return np.ascontiguousarray(pixels)


def to_boxes(boxes: object) -> Annotated[NDArray[np.float64], "N 4"]:
    """Boxes as x1, y1, x2, y2.

    Raises:
        ValueError: they have another shape.
    """
    array = np.asarray(getattr(boxes, "xyxy", boxes), np.float64)
    if array.size == 0:
        return np.empty((0, 4))
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes have the shape {array.shape}, not (N, 4): x1, y1, x2, y2")
    return array


def cut(
    frame: Annotated[Pixels, "H W 3"], box: Annotated[NDArray[np.float64], "4"]
) -> Annotated[Pixels, "h w 3"]:
    """The part of a frame in a box x1, y1, x2, y2 (pixels, rounded to whole ones).

    Raises:
        ValueError: nothing of the box lies in the frame, or it holds no numbers.
    """
    if not np.isfinite(box).all():
        raise ValueError(f"box {box.tolist()} holds no numbers")
    height, width = frame.shape[:2]
    left, top, right, bottom = (int(value) for value in np.rint(box))
    left, top, right, bottom = max(0, left), max(0, top), min(width, right), min(height, bottom)
    if left >= right or top >= bottom:
        raise ValueError(f"box {box.tolist()} covers nothing of the frame, {width}x{height} pixels")
    return np.ascontiguousarray(frame[top:bottom, left:right])
