"""What all layouts share: the images of a folder with their labels, checked and hashed."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.core.raw_set import COLUMNS, NAMED_LABELS, NAMES_COLUMNS, read_bytes
from pyramid_reid.core.threads import in_order
from pyramid_reid.datasets.labels import UNWRITABLE

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
"""Of image files, in any case; anything else in a set's folders (Thumbs.db, notes) is no image."""
NAMED = 10
"""So many offenders are named in one message; of the others, the number."""


@dataclass(frozen=True, slots=True)
class RawImage:
    """An image of a set, as its authors label it.

    Attributes:
        path: below the set's folder, with `/`.
        pid: person, at least 0. Distractors (role gallery, never queried) have pids that no other
            image has; they may share one where the set does not tell them apart.
        camid: camera, at least 0, numbered as the authors do.
        role: train, query or gallery where the set's authors fix it; "" where the protocol draws
            it.
        person, camera: the names that pid and camid stand for; "" where they are the authors' own
            numbers.
        further: what else the authors' table says of the image, as pairs of column and value.
    """

    path: str
    pid: int
    camid: int
    role: str = ""
    person: str = ""
    camera: str = ""
    further: tuple[tuple[str, str], ...] = ()


def listed(offenders: Sequence[str], separator: str = ", ") -> str:
    """The first offenders, and how many others there are."""
    more = len(offenders) - NAMED
    return separator.join(offenders[:NAMED]) + (f" and {more} more" if more > 0 else "")


def fits(root: Path, marks: Sequence[str]) -> bool:
    """Whether `root` holds something for each of the glob patterns `marks`."""
    return root.is_dir() and all(next(root.glob(mark), None) is not None for mark in marks)


def check_root(root: Path, marks: Sequence[str]) -> None:
    """Check that `root` is the folder that directly holds a set.

    Args:
        root: `data.root`.
        marks: glob patterns of what must lie in it.

    Raises:
        UserError: it is not; the message names the folder that was meant, where there is one two
            levels further up or down, and otherwise what is missing.
    """
    if fits(root, marks):
        return
    if not root.exists():
        raise UserError(f"data.root: {root} does not exist; give the folder with {listed(marks)}")
    for levels, down in (("one level", "*"), ("two levels", "*/*")):
        folders = sorted(path for path in root.glob(down) if fits(path, marks))
        if folders:
            several = f" (or {listed([str(path) for path in folders[1:]])})" if folders[1:] else ""
            raise UserError(f"data.root: {root} is {levels} too high; give {folders[0]}{several}")
    for levels, up in zip(("one level", "two levels"), root.absolute().parents, strict=False):
        if fits(up, marks):
            raise UserError(f"data.root: {root} is {levels} too low; give {up}")
    missing = [mark for mark in marks if not fits(root, [mark])]
    raise UserError(
        f"data.root: {root} holds no {listed(missing)}; give the folder with {listed(marks)}"
        " (docs/datasets.md shows each set's)"
    )


def images_in(root: Path, folder: str) -> Iterator[str]:
    """Paths below `root`, with /, of the image files directly in one of its folders, sorted."""
    with os.scandir(root / folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        # `._0001.jpg` is what macOS leaves beside `0001.jpg` in archives
        if name.lower().endswith(SUFFIXES) and not name.startswith("."):
            yield name if folder == "." else f"{folder}/{name}"


def parse(
    root: Path, folders: Iterable[str], name: re.Pattern[str], example: str
) -> list[tuple[str, re.Match[str]]]:
    """Match the names of all image files in some folders.

    Args:
        root: folder of the set.
        folders: below it, each sorted by name; "." is the root itself.
        name: pattern of a whole file name.
        example: a name, for messages.

    Returns:
        Path below `root` and match of each file.

    Raises:
        UserError: there is none, or some are named otherwise; all of them are counted.
    """
    paths = [path for folder in folders for path in images_in(root, folder)]
    matches = [(path, name.fullmatch(path.rpartition("/")[2])) for path in paths]
    if bad := [repr(path) for path, match in matches if not match]:
        raise UserError(
            f"data.root: {len(bad)} image(s) in {root} are not named as the set's are"
            f" ({example}): {listed(bad)}; remove them or give the set as it was published"
        )
    if not matches:
        raise UserError(f"data.root: {root} holds no image; expected files such as {example}")
    return [(path, match) for path, match in matches if match]


def file_problems(root: Path, paths: Iterable[str]) -> dict[str, str]:
    """What is wrong with files of a set, seen from outside: nothing is read.

    Args:
        root: folder of the set.
        paths: below it, with `/`.

    Returns:
        The offending paths with what to say of each.
    """
    top, start, inside_folder = root.resolve(), os.fspath(root), dict[str, bool]()

    def leads_inside(file: str) -> bool:
        return Path(file).resolve().is_relative_to(top)

    def problem(path: str) -> str | None:
        if UNWRITABLE.search(path):
            return "has a name with control characters or bytes that are no UTF-8; rename it"
        file = os.path.join(start, path)  # noqa: PTH118 - of many files; paths as objects are slow
        try:
            status = os.lstat(file)
            if stat.S_ISLNK(status.st_mode):
                status, inside = os.stat(file), leads_inside(file)  # noqa: PTH116
            else:
                folder = file.rpartition("/")[0]
                if folder not in inside_folder:
                    inside_folder[folder] = leads_inside(folder)
                inside = inside_folder[folder]
        except OSError as error:
            return f"cannot be read: {error.strerror}"
        if not inside:
            return "is a link out of the folder; copy what it points to into the folder"
        return None if stat.S_ISREG(status.st_mode) else "is no file"

    return {path: said for path in paths if (said := problem(path)) is not None}


def record(root: Path, images: Sequence[RawImage]) -> pd.DataFrame:
    """The images with size and SHA-256 of each file, columns `COLUMNS`.

    Raises:
        UserError: files are missing, cannot be read, or are links out of `root`.
    """
    problems = file_problems(root, (image.path for image in images))
    if problems:
        said = [f"{path!r} {problem}" for path, problem in problems.items()]
        raise UserError(f"data.root: in {root}, {listed(said, '; ')}")

    def size_and_hash(image: RawImage) -> tuple[int, str]:
        try:
            content = read_bytes(root, image.path)
        except OSError as error:
            raise UserError(f"{root / image.path} cannot be read: {error.strerror}") from error
        return len(content), hashlib.sha256(content).hexdigest()

    hashed = progress(in_order(size_and_hash, images), "hashes", "images", len(images))
    rows = [
        (image.path, image.pid, image.camid, image.role, *each)
        for image, each in zip(images, hashed, strict=True)
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def names(images: Sequence[RawImage]) -> pd.DataFrame:
    """Which number stands for which name, columns `NAMES_COLUMNS`; empty where none does."""
    pairs = {(label, number, name) for image in images for label, number, name in _named(image)}
    rows = sorted(pairs, key=lambda row: (NAMED_LABELS.index(row[0]), row[1]))
    return pd.DataFrame(rows, columns=NAMES_COLUMNS)


def name_notes(table: pd.DataFrame) -> list[str]:
    """What is unusual about a table of names: whole numbers among them, maybe typing errors.

    Args:
        table: as `names` returns it.
    """
    notes = []
    for label, names in table.groupby("label", sort=False).name:
        whole = names.str.fullmatch("[0-9]{1,9}")
        if whole.any() and not whole.all():
            others = listed([repr(name) for name in names[~whole]])
            notes.append(
                f"{int(whole.sum())} {label}s are whole numbers, but not {others}: all of them are"
                " taken for names; correct what is a typing error"
            )
    return notes


def _named(image: RawImage) -> Iterator[tuple[str, int, str]]:
    if image.person:
        yield "pid", image.pid, image.person
    if image.camera:
        yield "camid", image.camid, image.camera


def further(images: Sequence[RawImage]) -> pd.DataFrame:
    """The further columns of the authors' table as text, after `path`; empty where none are."""
    rows = [{"path": image.path, **dict(image.further)} for image in images if image.further]
    return pd.DataFrame(rows, dtype=str)
