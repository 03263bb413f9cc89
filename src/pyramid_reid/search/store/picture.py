"""The picture of a crop: its file, or what is cut from its frame."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.store.rows import Box, Row, box_of, crop_id


def picture_of(row: Row) -> bytes:
    """A crop as a JPEG or PNG file: its own, or cut from its frame.

    Raises:
        UserError: its file is gone or another by now.
    """
    path = Path(row["path"])
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    if crop_id(hashlib.sha256(content).digest(), box_of(row)) != row["id"]:
        raise UserError(f"{path} is another file than was indexed: run `pyramid-reid index`")
    if row["box"] is None and content[:3] == b"\xff\xd8\xff":
        return content
    if row["box"] is None and content[:4] == b"\x89PNG":
        return content
    return _cut(path, content, box_of(row))


def _cut(path: Path, content: bytes, box: Box | None) -> bytes:
    """A crop as PNG, where its file is a frame or of a format that browsers may not show."""
    from PIL import Image

    from pyramid_reid.core.decode import decode
    from pyramid_reid.search.images import cut

    try:
        pixels = decode(content)
        if box is not None:
            left, top, width, height = box
            pixels = cut(pixels, np.array([left, top, left + width, top + height]))
    except ValueError as error:
        raise UserError(f"{path} {error}") from error
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
