"""MTA-ReID, people of a computer game (Köhl et al., CVPR Workshops 2020), 6 cameras.

`train/framegta_2862738_camid_2_pid_2733.png` is person 2733 seen by camera 2 (of 0 to 5); `test`
is the gallery. Sizes differ by nature. `distractors/` holds what shows too little of a person, in
folders `train`, `query`, `test` of its own; an image of one of these names is left out wherever it
lies. (Copies that keep a list instead, `distractors/*.txt` with one name or path per line, are
read, too.)
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from pyramid_reid.core.errors import UserError
from pyramid_reid.datasets.layout import RawImage, check_root, parse

ROLES = {"train": "train", "query": "query", "test": "gallery"}
MARKS = (*ROLES, "distractors")
NAME = re.compile(r"framegta_\d+_camid_(?P<camid>[0-5])_pid_(?P<pid>\d+)\.png")


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List training, query and gallery crops, each by name, without distractors.

    Raises:
        UserError: the folder is not the set's, files are named otherwise, or `distractors` names
            nothing.
    """
    check_root(root, MARKS)
    distractors = _distractors(root / "distractors")
    example = "train/framegta_2862738_camid_2_pid_2733.png"
    return [
        RawImage(path, int(name["pid"]), int(name["camid"]), ROLES[path.partition("/")[0]])
        for path, name in parse(root, ROLES, NAME, example)
        if path.rpartition("/")[2] not in distractors
    ]


def _distractors(folder: Path) -> set[str]:
    """Names of the files to leave out."""
    names = {path.name for path in folder.rglob("*.png")}
    for file in folder.rglob("*.txt"):
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file} cannot be read: {error}") from error
        names |= {PurePosixPath(line.strip()).name for line in lines if line.strip()}
    if bad := sorted(name for name in names if not NAME.fullmatch(name)):
        raise UserError(f"data.root: {folder} names {bad[0]!r}, which is no image of the set")
    if not names:
        raise UserError(f"data.root: {folder} names no image that is to be left out")
    return names
