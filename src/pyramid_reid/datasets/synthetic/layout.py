"""The synthetic set on disk: `0001_c1_01.png` is person 1, camera 1, image 1."""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.datasets.layout import RawImage, parse

NAME = re.compile(r"(?P<pid>\d{4})_c(?P<camid>[12])_\d{2,}\.png")


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List the crops in `root`, by person, camera and image."""
    return [
        RawImage(path, int(name["pid"]), int(name["camid"]))
        for path, name in parse(root, ["."], NAME, "0001_c1_01.png")
    ]
