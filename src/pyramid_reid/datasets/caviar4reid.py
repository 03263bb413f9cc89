"""CAVIAR4REID as its authors publish it (Cheng et al., BMVC 2011): 1,220 files in one folder.

A file is `PPPPNNN.jpg`: person PPPP and image NNN, where 001-010 come from the corridor camera
(close, high resolution, camid 1 here) and 011-020 from the shop-front camera (far, low
resolution, camid 2). 50 of the 72 people are seen by both.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.datasets.layout import RawImage, check_root, parse

MARKS = ("0*.jpg",)
NAME = re.compile(r"(?P<pid>\d{4})0(?P<image>0[1-9]|1\d|20)\.jpg")
IMAGES_PER_CAMERA = 10


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List the crops in `root`, by person and image.

    Raises:
        UserError: the folder is not the set's, or a file is named otherwise.
    """
    check_root(root, MARKS)
    return [
        RawImage(path, int(name["pid"]), 1 if int(name["image"]) <= IMAGES_PER_CAMERA else 2)
        for path, name in parse(root, ["."], NAME, "0001001.jpg … 0072020.jpg")
    ]
