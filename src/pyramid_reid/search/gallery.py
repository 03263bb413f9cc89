"""What goes into a store: crops in folders, in tables, and boxes in frames.

Nothing is read here but lists; `indexing` reads the images.
"""

from __future__ import annotations

import configparser
import math
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyramid_reid.core.errors import DAMAGED, UserError, reason
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.datasets.folders import OF_SYSTEMS, OTHER_IMAGES
from pyramid_reid.datasets.layout import SUFFIXES
from pyramid_reid.search.store.rows import BOX, HIDDEN, Box
from pyramid_reid.search.times import as_time

TABLES = (".csv", ".parquet")
MOT = ".txt"
FIXED = {"path", *BOX}
"""Columns of a user's table that are no column of the store by themselves."""
TAKEN = {
    *("id", "path", "box", *BOX, *HIDDEN),
    *("rank", "distance", *BRANCHES, "probability", "reranked", "centred", "crops"),
    *("_distance", "_score", "_relevance_score", "_rowid", "_rowaddr", "_rowoffset"),
}
"""Names that a user's column cannot have: of a store's own columns, of what hits have beside them,
and of what LanceDB puts there."""
UNREAD = f"is of a kind that is not read: save it as {', '.join(SUFFIXES)}"
"""What is wrong with an image of another kind."""
TEXT = {"camera", "time", "track", "pid", "identity"}
"""Columns that are text whatever they look like: `17` names somebody."""
WHOLE = re.compile(r"-?(0|[1-9][0-9]*)")
NUMBER = re.compile(r"-?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
"""Of other columns. Two texts that are one number, as 0017 and 17, would be one name no more."""
EXACT = 2**53
"""Up to here each whole number is a float of its own."""
LARGEST = 2**63
"""What whole numbers of a store are less than: they have 64 bits."""
PEDESTRIAN = "1"
"""Class of MOTChallenge's ground truth."""
WITH_CLASS = 9
"""Fields of a line of ground truth that has a class (MOT16, MOT17, MOT20); MOT15's lines have ten,
and a place in the world where others have their class."""

Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Frame:
    """An image file, and the crops that it gives.

    Attributes:
        path: absolute.
        crops: box and values of each; a box is None where the whole file is the crop.
    """

    path: str
    crops: Sequence[tuple[Box | None, dict[str, Value]]]


@dataclass(frozen=True, slots=True)
class Patterns:
    """Where values stand in the names of files: named groups of an expression are columns."""

    expressions: Sequence[tuple[re.Pattern[str], dict[str, str | int]]] = ()

    @classmethod
    def of(cls, camera: str | None, time: str | None, columns: str | None) -> Patterns:
        """From what the command line gives.

        Args:
            camera, time: the value is the group of this name, else the first group, else all that
                matches.
            columns: each named group is a column.

        Raises:
            UserError: one is not a regular expression, or names what cannot be a column.
        """
        found = []
        for option, text, name in (
            ("--camera-from", camera, "camera"),
            ("--time-from", time, "time"),
            ("--columns-from", columns, None),
        ):
            if text is None:
                continue
            try:
                pattern = re.compile(text)
            except re.error as error:
                raise UserError(
                    f"{option} {text!r} is not a regular expression: {error}"
                ) from error
            groups: dict[str, str | int] = {group: group for group in pattern.groupindex}
            if name:
                groups.setdefault(name, min(1, pattern.groups))
            if not groups:
                raise UserError(
                    f"{option} {text!r} names no column: write (?P<pid>\\d+) for a column pid"
                )
            check_names(groups, option)
            found.append((pattern, groups))
        return cls(found)

    def values(self, name: str) -> dict[str, Value]:
        """Columns that stand in a file's name.

        Args:
            name: with its folders below the source that was given, as `name_in` cuts it off.

        Raises:
            ValueError: a pattern is not found, or a time is none.
        """
        values = dict[str, Value]()
        for pattern, groups in self.expressions:
            match = pattern.search(name)
            if match is None:
                raise ValueError(f"shows no {', '.join(groups)} by {pattern.pattern!r} in {name!r}")
            values |= {column: match[group] for column, group in groups.items()}
        if values.get("time") is not None:
            values["time"] = as_time(str(values["time"]))
        if values.get("frame") is not None:
            values["frame"] = number = int(str(values["frame"]))
            if not -LARGEST <= number < LARGEST:
                raise ValueError(f"shows a frame of more digits than fit in {name!r}")
        return values


def check_names(names: Iterable[str], where: str) -> None:
    """Check that columns may be called so.

    Raises:
        UserError: the store uses a name itself, or SQL does not know it as one.
    """
    for name in names:
        if name in TAKEN:
            raise UserError(
                f"{where}: the store has a column {name!r} of its own: call it otherwise"
            )
        if not re.fullmatch(r"[A-Za-z_]\w*", name):
            raise UserError(
                f"{where}: the column {name!r} cannot be named in a condition: use letters, digits"
                " and _"
            )


def listed(sources: Sequence[Path], patterns: Patterns) -> tuple[list[Frame], dict[str, str]]:
    """All images of folders, tables, MOTChallenge files and single images.

    Returns:
        The frames, and what is wrong with those that are left out, by path.

    Raises:
        UserError: a source is missing, or a table has mistakes.
    """
    frames, problems = list[Frame](), dict[str, str]()
    for source in sources:
        path = Path(os.path.abspath(source))  # noqa: PTH100 - links stay as they are named
        if not path.exists():
            raise UserError(f"{source} does not exist")
        if path.is_dir():
            text = mot_of(path)
            root, found = path, mot(text) if text else _folder(path, problems)
        elif path.suffix.lower() in TABLES:
            root, found = path.parent, table(path)
        elif path.suffix.lower() == MOT:
            root, found = _sequence(path), mot(path)
        elif path.suffix.lower() in SUFFIXES:
            root, found = path.parent, iter([Frame(str(path), [(None, {})])])
        else:
            raise UserError(
                f"{source} is none of a folder, a table ({', '.join(TABLES)}), a MOTChallenge file"
                f" ({MOT}) and an image ({', '.join(SUFFIXES)})"
            )
        for frame in found:
            try:
                frame.path.encode()
                values = patterns.values(name_in(root, frame.path))
            except UnicodeEncodeError:
                problems[ascii(frame.path)] = "has a name that is no UTF-8: rename it"
                continue
            except ValueError as error:
                problems[frame.path] = str(error)
                continue
            crops = [(box, {**values, **own}) for box, own in frame.crops]
            frames.append(Frame(frame.path, crops))
    return frames, problems


def name_in(root: Path, path: str) -> str:
    """The part of a path that tells of the crop: what leads to the source is no part of it.

    Args:
        root: the folder that was given, or that of a table, a sequence or an image.

    Returns:
        The path below the root; of a file that lies elsewhere, as a table may name one, its name.
    """
    above = os.path.join(root, "")  # noqa: PTH118 - ends with /, also where the root is /
    return path[len(above) :] if path.startswith(above) else os.path.basename(path)  # noqa: PTH119


def _folder(root: Path, problems: dict[str, str]) -> Iterator[Frame]:
    """Each image below a folder is a crop; arguments as for `images_below`."""
    for path in images_below(root, problems):
        yield Frame(path, [(None, {})])


def images_below(root: Path, problems: dict[str, str]) -> Iterator[str]:
    """Paths of the images below a folder, sorted; what systems leave there is passed over.

    Args:
        problems: gets the images of other kinds and the links to folders, which are left out.

    Raises:
        UserError: a folder cannot be read.
    """
    for folder, folders, names in os.walk(root, onerror=_unlisted):
        folders[:] = sorted(
            name for name in folders if not name.startswith(".") and name not in OF_SYSTEMS
        )
        for name in folders:
            if os.path.islink(path := f"{folder}/{name}"):  # noqa: PTH114 - a name need not be UTF-8
                problems[path] = "is a link to a folder, which is not followed: name it, too"
        for name in sorted(names):
            suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
            if name.startswith("."):
                continue
            if suffix in SUFFIXES:
                yield f"{folder}/{name}"
            elif suffix in OTHER_IMAGES:
                problems[f"{folder}/{name}"] = UNREAD


def _unlisted(error: OSError) -> None:
    raise UserError(f"{error.filename} cannot be read: {error.strerror}")


def mot_of(folder: Path) -> Path | None:
    """The MOTChallenge file of a sequence's folder: ground truth, else detections; or None."""
    for name in ("gt/gt.txt", "det/det.txt"):
        if (folder / name).is_file():
            return folder / name
    return None


def _sequence(file: Path) -> Path:
    """The folder of the sequence that a MOTChallenge file belongs to."""
    return file.parent.parent if file.parent.name in ("gt", "det") else file.parent


def mot(file: Path) -> Iterator[Frame]:
    """Boxes of a MOTChallenge file, `frame,id,left,top,width,height,confidence,…`, from 1 on.

    Frames lie in `img1` (or what `seqinfo.ini` names) of the sequence's folder, or beside the file.
    The camera is the folder's name. Of ground truth, what is marked as not to be counted, and all
    that is no pedestrian, is left out.

    Raises:
        UserError: there are no frames, or a line is no such line.
    """
    sequence = _sequence(file)
    info = configparser.ConfigParser(interpolation=None)
    try:
        info.read(sequence / "seqinfo.ini", encoding="utf-8")
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (*DAMAGED, configparser.Error) as error:
        raise UserError(f"{file}: {reason(error)}") from error
    folder = sequence / info.get("Sequence", "imDir", fallback="img1")
    folder = folder if folder.is_dir() else file.parent
    numbered = {
        int(name.stem): name
        for name in folder.iterdir()
        if name.suffix.lower() in SUFFIXES and name.stem.isdecimal()
    }
    if not numbered:
        raise UserError(f"{file}: no frames such as 000001.jpg in {folder}, nor in an img1 beside")
    is_truth = file.stem == "gt"
    by_frame = dict[int, list[tuple[Box | None, dict[str, Value]]]]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        parts = [part.strip() for part in line.split(",")]
        try:
            frame, track = int(float(parts[0])), int(float(parts[1]))
            left, top, width, height = (float(part) for part in parts[2:6])
            ignored = is_truth and len(parts) > 6 and float(parts[6]) == 0
        except (ValueError, OverflowError, IndexError) as error:
            raise UserError(
                f"{file} line {number} is not frame,id,left,top,width,height,confidence,…:"
                f" {line[:60]!r}"
            ) from error
        other = is_truth and len(parts) == WITH_CLASS and parts[7] != PEDESTRIAN
        if ignored or other:
            continue
        if frame not in numbered:
            raise UserError(f"{file} line {number}: {folder} has no frame {frame}")
        values: dict[str, Value] = {
            "camera": sequence.name,
            "track": None if track < 0 else str(track),
            "frame": frame,
        }
        by_frame.setdefault(frame, []).append(((left - 1, top - 1, width, height), values))
    for frame in sorted(by_frame):
        yield Frame(str(numbered[frame]), by_frame[frame])


def table(file: Path) -> Iterator[Frame]:
    """Crops of a CSV or Parquet table: path, and perhaps box, camera, time, track and further ones.

    Paths are below the table's folder, or absolute. A column is of whole numbers, of numbers, or
    text: in a CSV file by what all of its values look like, in a Parquet file as it says.

    Raises:
        UserError: it is no such table; the message names the line.
    """
    import pandas as pd

    declared = file.suffix.lower() == ".parquet"
    try:
        if declared:
            read = pd.read_parquet(file)
        else:
            read = pd.read_csv(
                file, dtype=str, keep_default_na=False, encoding="utf-8-sig", sep=_delimiter(file)
            )
    except DAMAGED as error:
        raise UserError(f"{file} cannot be read as a table ({reason(error)})") from error
    read.columns = [str(name).strip() for name in read.columns]
    if "path" not in read.columns:
        raise UserError(
            f"{file} has no column path (it has {', '.join(read.columns)}): give path, and perhaps"
            " camera, time, track, left, top, width, height and further ones"
        )
    if read.columns.duplicated().any():
        raise UserError(
            f"{file} has the column {read.columns[read.columns.duplicated()][0]!r} twice"
        )
    boxes = [name for name in BOX if name in read.columns]
    if boxes and len(boxes) < len(BOX):
        raise UserError(f"{file} has {', '.join(boxes)}, but a box is {', '.join(BOX)}")
    further = [name for name in read.columns if name not in FIXED]
    check_names(further, str(file))
    columns = {
        name: _typed(name, _plain(name, read[name].tolist(), file), file, declared=declared)
        for name in further
    }
    edges = [_plain(name, read[name].tolist(), file) for name in BOX] if boxes else []
    grouped = dict[str, list[tuple[Box | None, dict[str, Value]]]]()
    for row, path in enumerate(read["path"].tolist()):
        if not isinstance(path, str) or not path.strip():
            raise UserError(f"{file} line {row + 2} has no path")
        full = os.path.abspath(file.parent / path)  # noqa: PTH100
        box = _box([edge[row] for edge in edges], f"{file} line {row + 2}") if boxes else None
        values = {name: values[row] for name, values in columns.items()}
        grouped.setdefault(full, []).append((box, values))
    for path, crops in grouped.items():
        yield Frame(path, crops)


def _delimiter(file: Path) -> str:
    with file.open(encoding="utf-8-sig") as opened:
        first = opened.readline()
    return max(",;\t", key=first.count)


def _box(parts: Sequence[Any], where: str) -> Box | None:
    """A box of a row; None where all of it is empty."""
    texts = ["" if part is None else str(part).strip() for part in parts]
    if all(text.casefold() in ("", "nan", "none") for text in texts):
        return None
    try:
        left, top, width, height = (float(text) for text in texts)
    except ValueError as error:
        raise UserError(f"{where}: {', '.join(BOX)} are {texts}, which are no numbers") from error
    return left, top, width, height


def _plain(name: str, values: Sequence[Any], file: Path) -> list[Any]:
    """A column's values, None where there is none: empty text, NaN, and pandas' NA and NaT.

    Raises:
        UserError: one is a list or a struct, as Parquet may hold.
    """
    import pandas as pd

    plain = list[Any]()
    for row, value in enumerate(values):
        if not pd.api.types.is_scalar(value):
            raise UserError(
                f"{file} line {row + 2}: the column {name!r} holds a {type(value).__name__}, but a"
                " column is of numbers or text: leave it out"
            )
        known = value.strip() or None if isinstance(value, str) else value
        plain.append(None if pd.isna(known) else known)
    return plain


def _typed(name: str, plain: Sequence[Any], file: Path, *, declared: bool) -> list[Value]:
    """A column's values, all of one type: whole numbers, numbers, or text.

    Args:
        declared: the file itself says what is text.
    """
    if name == "time":
        times = list[Value]()
        for row, value in enumerate(plain):
            try:
                times.append(None if value is None else as_time(str(value)))
            except ValueError as error:
                raise UserError(f"{file} line {row + 2} {error}") from error
        return times
    texts: list[Value] = [None if value is None else str(value) for value in plain]
    if name in TEXT:
        return [text and re.sub(r"^(\d+)\.0$", r"\1", str(text)) for text in texts]
    if declared and any(isinstance(value, str) for value in plain):
        return texts
    return _numbers(plain) or texts


def _numbers(plain: Sequence[Any]) -> list[Value] | None:
    """A column of numbers, all of them whole or none; None where a value is no number.

    The text `nan` stands for no value among numbers.
    """
    numbers = list[int | float | None]()
    for value in plain:
        if value is None or (isinstance(value, str) and value.casefold() == "nan"):
            numbers.append(None)
            continue
        number = _number(value)
        if number is None:
            return None
        numbers.append(number)
    given = [number for number in numbers if number is not None]
    if all(isinstance(number, int) for number in given):
        return list(numbers) if given else None
    if any(isinstance(number, int) and abs(number) > EXACT for number in given):
        return None
    return [None if number is None else float(number) for number in numbers]


def _number(value: Any) -> int | float | None:
    """The number that a value is; None of a text that names something, as `0017` and `1_11` do."""
    if isinstance(value, float):
        return value
    text = str(value)
    if not NUMBER.fullmatch(text):
        return None
    if not WHOLE.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else None
    # the store's whole numbers have 64 bits
    return int(text) if len(text) <= 20 and -(2**63) <= int(text) < 2**63 else None
