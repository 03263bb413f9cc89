"""The synthetic set on disk: `0001_c1_01.png` is person 1, camera 1, image 1."""

from __future__ import annotations

from pathlib import Path

from pyramid_reid.datasets.raw import RawImage, find


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List the crops in `root`, by person, camera and image."""
    return [
        RawImage(path.name, int(path.name[:4]), int(path.name[6]))
        for path in find(root, "*_c?_*.png", "the synthetic set's files, such as 0001_c1_01.png")
    ]
