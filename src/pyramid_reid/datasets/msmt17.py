"""MSMT17, versions 1 and 2 (Wei et al., CVPR 2018): crops named by list files, 15 cameras.

A line of `list_train.txt`, `list_val.txt`, `list_query.txt` or `list_gallery.txt` is
`0000/0000_000_01_0303morning_0008_0.jpg 0`: a path below `train` or `test` (version 2, with
blurred faces: `mask_train_v2`, `mask_test_v2`) and the person; the third field of the file name is
the camera. Training takes list_train and list_val, together the 32,621 crops of 1,041 people that
the paper trains on. Test people are counted from 0 again, and so have pids from 10,000 here.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.core.errors import UserError
from pyramid_reid.datasets.layout import RawImage, check_root, listed

LISTS = {"train": "train", "val": "train", "query": "query", "gallery": "gallery"}
MARKS = tuple(f"list_{name}.txt" for name in LISTS)
FOLDERS = {"train": ("train", "mask_train_v2"), "test": ("test", "mask_test_v2")}
LINE = re.compile(r"(?P<path>\d+/\d+_\d+_(?P<camid>\d\d)_[^/\s]+\.jpg) (?P<pid>\d+)")
TEST = 10_000
"""Added to the number of a test person."""


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List the crops in the order of the list files train, val, query, gallery.

    Raises:
        UserError: the folder is not the set's, or lines are not as expected.
    """
    check_root(root, MARKS)
    folders = {part: _folder(root, names) for part, names in FOLDERS.items()}
    images, bad = [], []
    for name, role in LISTS.items():
        file = root / f"list_{name}.txt"
        for number, line in enumerate(_lines(file), 1):
            match = LINE.fullmatch(line.rstrip())
            if not match:
                bad.append(f"{file.name}:{number} {line!r}")
                continue
            part, first = ("train", 0) if role == "train" else ("test", TEST)
            path = f"{folders[part]}/{match['path']}"
            images.append(RawImage(path, first + int(match["pid"]), int(match["camid"]), role))
    if bad:
        raise UserError(
            f"data.root: {len(bad)} line(s) of the list files in {root} are not as in"
            f" '0000/0000_000_01_0303morning_0008_0.jpg 0': {listed(bad)}"
        )
    return images


def _folder(root: Path, names: tuple[str, ...]) -> str:
    for name in names:
        if (root / name).is_dir():
            return name
    raise UserError(f"data.root: {root} has no folder {' or '.join(names)}")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}") from error
