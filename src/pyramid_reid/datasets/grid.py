"""GRID, QMUL underGround Re-IDentification (Loy et al., IJCV 2010): 250 pairs and 775 distractors.

`probe/0001_1_25004_107_32_106_221.jpeg` is person 1 seen by one of eight cameras, `gallery/0001_…`
the same person seen by another one. Which side asks is fixed person by person, so the two sides
are the cameras here (probe 1, gallery 2), as in the authors' protocol. `gallery/0000_…` are the
775 crops of other people: they have role gallery and one pid, 0, for nobody asks for them. Splits
are drawn: 125 people train, 125 test.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.datasets.layout import RawImage, check_root, parse

MARKS = ("probe", "gallery")
NAME = re.compile(r"(?P<pid>\d{4})_\d_[\d_]+\.jpeg")
DISTRACTOR = 0


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List the probe crops, then the gallery's, each by person.

    Raises:
        UserError: the folder is not the set's, or files are named otherwise.
    """
    check_root(root, MARKS)
    images = []
    for path, name in parse(root, MARKS, NAME, "probe/0001_1_25004_107_32_106_221.jpeg"):
        pid = int(name["pid"])
        role = "gallery" if pid == DISTRACTOR else ""
        images.append(RawImage(path, pid, 1 + MARKS.index(path.partition("/")[0]), role))
    return images
