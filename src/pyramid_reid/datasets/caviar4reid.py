"""CAVIAR4REID as its authors publish it (Cheng et al., BMVC 2011): 1,220 files in one folder.

A file is `PPPPNNN.jpg`: person PPPP and image NNN, where 001-010 come from the corridor camera
(close, high resolution, camid 1 here) and 011-020 from the shop-front camera (far, low
resolution, camid 2). 50 of the 72 people are seen by both.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.datasets.raw import RawImage, find
from pyramid_reid.errors import UserError

IMAGES_PER_CAMERA = 10
NAME = re.compile(r"(?P<pid>\d{4})(?P<image>\d{3})\.jpg")


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List the crops in `root`, by person and image.

    Raises:
        UserError: the folder is missing, holds no crop, or a file is named otherwise.
    """
    return [
        _parse(path) for path in find(root, "*.jpg", "CAVIAR4REID's files, such as 0001001.jpg")
    ]


def _parse(path: Path) -> RawImage:
    match = NAME.fullmatch(path.name)
    if not match or not 1 <= int(match["image"]) <= 2 * IMAGES_PER_CAMERA:
        raise UserError(
            f"{path} is not named as CAVIAR4REID's files are (0001001.jpg … 0072020.jpg)"
        )
    camid = 1 if int(match["image"]) <= IMAGES_PER_CAMERA else 2
    return RawImage(path.name, int(match["pid"]), camid)
