"""VIPeR as its authors publish it (Gray et al., PETS 2007): 632 people, one image per camera.

`cam_a/000_45.bmp` and `cam_b/000_90.bmp`, 48 x 128 pixels: person 0 from angles of 45 and 90
degrees. Camera A is camid 1, camera B camid 2. Splits are drawn: 316 people train, 316 test.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.datasets.layout import RawImage, check_root, parse

CAMERAS = {"cam_a": 1, "cam_b": 2}
MARKS = tuple(CAMERAS)
NAME = re.compile(r"(?P<pid>\d{3})_\d{1,3}\.bmp")


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List the crops of camera A, then of camera B, each by person.

    Raises:
        UserError: the folder is not the set's, or files are named otherwise.
    """
    check_root(root, MARKS)
    return [
        RawImage(path, int(name["pid"]), CAMERAS[path.partition("/")[0]])
        for path, name in parse(root, CAMERAS, NAME, "cam_a/000_45.bmp")
    ]
