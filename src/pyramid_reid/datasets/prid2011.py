"""PRID2011, single-shot (Hirzer et al., SCIA 2011): `cam_a/person_0001.png`, `cam_b/…`.

Camera A (camid 1) sees 385 people, camera B (camid 2) 749; people 1 to 200 are the same in both.
Beyond 200 the authors count each camera for itself, so that person 201 of A is not person 201 of
B: the 549 others of camera B, which publications add to the gallery as distractors, have pids
from 10,000 here. The 185 others of camera A keep their numbers; protocols leave them out.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.datasets.layout import RawImage, check_root, parse

CAMERAS = {"cam_a": 1, "cam_b": 2}
MARKS = tuple(CAMERAS)
NAME = re.compile(r"person_(?P<person>\d{4})\.png")
SHARED = 200
DISTRACTORS = 10_000
"""Added to the number of a person whom only camera B sees."""


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List the crops of camera A, then of camera B, each by person.

    Raises:
        UserError: the folder is not the set's, or files are named otherwise.
    """
    check_root(root, MARKS)
    images = []
    for path, name in parse(root, CAMERAS, NAME, "cam_a/person_0001.png"):
        person, camid = int(name["person"]), CAMERAS[path.partition("/")[0]]
        if camid == 2 and person > SHARED:
            images.append(RawImage(path, DISTRACTORS + person, camid, "gallery"))
        else:
            images.append(RawImage(path, person, camid))
    return images
