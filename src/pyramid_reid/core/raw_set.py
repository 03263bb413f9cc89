"""The raw set as `download` leaves it: a table of images with labels and hashes; no pixels."""

from __future__ import annotations

import hashlib
import os
import unicodedata
from pathlib import Path
from typing import Annotated

import pandas as pd

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.decode import decode
from pyramid_reid.core.errors import DAMAGED, UserError, reason

IMAGES, TEST_SETS, NAMES, FURTHER = "images.csv", "test_sets.csv", "names.csv", "further.csv"
COLUMNS = ["path", "pid", "camid", "role", "bytes", "sha256"]
"""Of `IMAGES`; path below the set's folder, role train, query, gallery, or "" for none."""
SHOWN = 20
"""Cameras that a message names."""
NAMED_LABELS = ("pid", "camid")
NAMES_COLUMNS = ["label", "number", "name"]
"""Of `NAMES`: the name that a number stands for, label being one of `NAMED_LABELS`."""


def read_images(folder: Path) -> pd.DataFrame:
    """The images of a set, columns `COLUMNS`.

    Raises:
        UserError: the table is missing or damaged.
    """
    return _read(folder / IMAGES, COLUMNS, text=("path", "role", "sha256"))


def read_test_sets(folder: Path) -> list[set[int]]:
    """The test identities of each split that the set's authors give; mostly there are none.

    Raises:
        UserError: the table is damaged.
    """
    if not (folder / TEST_SETS).exists():
        return []
    table = _read(folder / TEST_SETS, ["split", "pid"])
    return [set(pids) for _, pids in table.groupby("split").pid]


def read_names(folder: Path) -> dict[str, dict[int, str]]:
    """The name of each pid and each camid, where the set has names instead of numbers.

    Raises:
        UserError: the table is damaged.
    """
    found: dict[str, dict[int, str]] = {label: {} for label in NAMED_LABELS}
    if (folder / NAMES).exists():
        table = _read(folder / NAMES, NAMES_COLUMNS, text=("label", "name"))
        for label, number, name in table.itertuples(index=False):
            found.setdefault(label, {})[number] = name
    return found


def camera_number(camera: int | str, folder: Path) -> int:
    """The camid of a camera that is called by its name or its number; a name comes first.

    Raises:
        UserError: no camera has this name; those that there are are listed.
    """
    names = read_names(folder)["camid"]
    for number, name in names.items():
        if name == unicodedata.normalize("NFC", str(camera).strip()):
            return number
    if isinstance(camera, int):
        return camera
    listed = ", ".join(f"{name} ({number})" for number, name in sorted(names.items())[:SHOWN])
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    there = f"has the cameras {listed}{more}" if names else "numbers its cameras"
    raise UserError(
        f"simulate.low_camera is {camera!r}, the set {there}: give a camera's name or number, or"
        " random"
    )


def _read(path: Path, columns: list[str], text: tuple[str, ...] = ()) -> pd.DataFrame:
    """A table whose columns are numbers from 0, but for those of text."""
    again = "run `dvc repro --force --single-item download`, then `dvc repro`"
    try:
        table = pd.read_csv(path, dtype=dict.fromkeys(text, str), keep_default_na=False)
    except DAMAGED as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); {again}") from error
    if list(table.columns) != columns:
        raise UserError(f"{path} has the columns {list(table.columns)}, not {columns}; {again}")
    for name in [name for name in columns if name not in text]:
        if not pd.api.types.is_integer_dtype(table[name]) or (table[name] < 0).any():
            raise UserError(f"{path} has a {name} that is not a whole number from 0; {again}")
    return table


def read_bytes(root: Path, path: str) -> bytes:
    """A file of the set, in one call of the system: sets have tens of thousands of small ones.

    Raises:
        OSError: it cannot be read.
    """
    with open(os.path.join(root, path), "rb", buffering=0) as file:  # noqa: PTH118, PTH123
        return file.read()


def load_pixels(root: Path, path: str, sha256: str) -> Annotated[Pixels, "H W 3"]:
    """Decode an image to RGB and check that it is the recorded one.

    Raises:
        UserError: the file is missing, has changed since `download`, cannot be decoded, or has
            more pixels than Pillow's limit against decompression bombs.
    """
    try:
        content = read_bytes(root, path)
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
