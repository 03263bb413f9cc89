"""The raw set as `download` records it: a list of images with labels and hashes, no pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pyramid_reid.crops import Pixels
from pyramid_reid.decode import decode
from pyramid_reid.errors import UserError

COLUMNS = ["path", "pid", "camid", "role", "bytes", "sha256"]
ROLES = ("", "train", "query", "gallery")


@dataclass(frozen=True, slots=True)
class RawImage:
    """An image of a set, as its authors label it.

    Attributes:
        path: below the set's folder, with `/`.
        pid: person, at least 0. Distractors (role gallery, never queried) have pids of their own.
        camid: camera, at least 0, numbered as the authors do.
        role: train, query or gallery where the set's authors fix it; "" where the protocol draws
            it.
    """

    path: str
    pid: int
    camid: int
    role: str = ""


def find(root: Path, pattern: str, example: str) -> list[Path]:
    """Files in `root` that match a glob pattern, sorted by name.

    Raises:
        UserError: the folder is missing or holds no such file; the message shows `example`.
    """
    if not root.is_dir():
        raise UserError(f"data.root: {root} is no folder; give the folder that holds {example}")
    paths = sorted(root.glob(pattern))
    if not paths:
        raise UserError(f"data.root: {root} holds no {pattern}; give the folder with {example}")
    return paths


def record(root: Path, images: Iterable[RawImage]) -> pd.DataFrame:
    """The images with size and SHA-256 of each file, columns `COLUMNS`."""
    rows = []
    for image in images:
        content = (root / image.path).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        labels = (image.path, image.pid, image.camid, image.role)
        rows.append((*labels, len(content), digest))
    return pd.DataFrame(rows, columns=COLUMNS)


def read_record(folder: Path) -> pd.DataFrame:
    """The table that `download` wrote to `folder`, columns `COLUMNS`; no role is ""."""
    return pd.read_csv(
        folder / "images.csv",
        dtype={"path": str, "role": str, "sha256": str},
        keep_default_na=False,
    )


def load_pixels(root: Path, path: str, sha256: str) -> Pixels:
    """Decode an image to (H, W, 3) uint8 RGB and check that it is the recorded one.

    Raises:
        UserError: the file is missing, has changed since `download`, or cannot be decoded.
    """
    try:
        content = (root / path).read_bytes()
    except OSError as error:
        raise UserError(f"{root / path} cannot be read: {error.strerror}") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise UserError(
            f"{root / path} has changed since the download stage recorded it; run"
            " `dvc repro --force --single-item download`, then `dvc repro`"
        )
    try:
        return decode(content)
    except ValueError as error:
        raise UserError(f"{root / path} {error}") from error
