"""A row of the store: its columns, and the id by which a crop is known.

A row holds `id` (SHA-256 of what the crop was made of), `path`, `box` in a frame or null, `camera`,
`time`, `track`, further columns of the user's, and `vector`: the four branches' features of length
1, one after the other, float16.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from pyramid_reid.core.params import BRANCHES

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]
Box = tuple[float, float, float, float]

OWN = ("id", "path", "box", "camera", "time", "track")
HIDDEN = ("vector", "stamp")
"""Columns that no table of hits shows; `stamp` tells a file that was not touched since."""
BOX = ("left", "top", "width", "height")


def schema(dim: int) -> pa.Schema:
    """Columns that each store has; a branch's feature has `dim` numbers."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            ("id", text),
            ("path", text),
            ("box", pa.struct([(name, number) for name in BOX])),
            ("camera", text),
            ("time", text),
            ("track", text),
            ("stamp", text),
            ("vector", pa.list_(pa.float16(), len(BRANCHES) * dim)),
        ]
    )


def box_of(row: Row) -> Box | None:
    """Left, top, width and height of a row's crop in its frame, or None."""
    box = row["box"]
    return None if box is None else (box["left"], box["top"], box["width"], box["height"])


def crop_id(content: bytes, box: Box | None) -> str:
    """Id of a crop.

    Args:
        content: SHA-256 of the file's bytes.
        box: in that frame; None where the file is the crop.
    """
    if box is None:
        return content.hex()
    return hashlib.sha256(content + " ".join(f"{value:.6g}" for value in box).encode()).hexdigest()
