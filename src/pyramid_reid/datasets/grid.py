"""GRID, QMUL underGround Re-IDentification (Loy et al., IJCV 2010): 250 pairs and 775 distractors.

`probe/0001_1_25004_107_32_106_221.jpeg` is person 1 seen by one of eight cameras, `gallery/0001_…`
the same person seen by another one. The set fixes query and gallery person by person, so the two
sides count as the cameras here (probe 1, gallery 2), as in the authors' protocol. `gallery/0000_…`
are 775 crops of people without a probe, one each: distractors, with role gallery and pids from
10,001 in the order of their names. Splits are drawn: 125 people train, 125 test against 125 + 775
crops.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.datasets.layout import RawImage, check_root, parse

MARKS = ("probe", "gallery")
NAME = re.compile(r"(?P<pid>\d{4})_\d_[\d_]+\.jpeg")
DISTRACTOR, DISTRACTORS = 0, 10_000
"""The set's number for all distractors, and what their own numbers here are counted from."""


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List the probe crops, then the gallery's, each by person.

    Raises:
        UserError: the folder is not the set's, or files are named otherwise.
    """
    check_root(root, MARKS)
    images, distractors = list[RawImage](), 0
    for path, name in parse(root, MARKS, NAME, "probe/0001_1_25004_107_32_106_221.jpeg"):
        pid, camid = int(name["pid"]), 1 + MARKS.index(path.partition("/")[0])
        if pid == DISTRACTOR:
            distractors += 1
            images.append(RawImage(path, DISTRACTORS + distractors, camid, "gallery"))
        else:
            images.append(RawImage(path, pid, camid))
    return images
