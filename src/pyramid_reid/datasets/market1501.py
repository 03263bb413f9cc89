"""Market-1501 (Zheng et al., ICCV 2015): three folders, 751 people train and 750 test, 6 cameras.

`bounding_box_train/0002_c1s1_000451_03.jpg` is person 2 seen by camera 1. In `bounding_box_test`,
person -1 is junk (boxes that are neither right nor wrong; evaluation skips them): left out. Person
0000 are false boxes that belong to the gallery: kept, all with pid 0.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.datasets.layout import RawImage, check_root, parse

ROLES = {"bounding_box_train": "train", "query": "query", "bounding_box_test": "gallery"}
MARKS = tuple(ROLES)
NAME = re.compile(r"(?P<pid>-1|\d{4})_c(?P<camid>[1-6])s\d_\d{6}_\d{2}(\.jpg){1,2}")
JUNK = -1


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List training, query and gallery crops, each by name, without junk.

    Raises:
        UserError: the folder is not the set's, or files are named otherwise.
    """
    images = of_folders(root, NAME, "query/0001_c1s1_001051_00.jpg")
    return [image for image in images if image.pid != JUNK]


def of_folders(root: Path, name: re.Pattern[str], example: str) -> list[RawImage]:
    """List the crops of a set whose folders are those of Market-1501, each by name.

    Args:
        name: pattern of a file name, with the groups pid and camid.
        example: a path, for messages.

    Raises:
        UserError: the folder is not the set's, or files are named otherwise.
    """
    check_root(root, MARKS)
    return [
        RawImage(path, int(match["pid"]), int(match["camid"]), ROLES[path.partition("/")[0]])
        for path, match in parse(root, ROLES, name, example)
    ]
