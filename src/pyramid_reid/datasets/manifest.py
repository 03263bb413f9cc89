"""Your own crops: image files, and a table that names the person and camera of each.

`manifest.csv` has the columns path, pid, camid and, if the split is fixed, role (train, query or
gallery, in each row); further columns are recorded unchanged. A path names a JPEG, PNG or BMP file
below the table's folder. pid and camid are whole numbers or names (`labels`); if camid is empty in
every row, cameras are unknown, and each image counts as a camera of its own. The table is UTF-8, or
UTF-16 with a byte order mark, separated by commas, semicolons or tabs, with quotes around values
that contain a separator.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import posixpath
import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyramid_reid.core.errors import UserError
from pyramid_reid.datasets import labels
from pyramid_reid.datasets.layout import SUFFIXES, RawImage, check_root, file_problems, listed

MARKS = ("manifest.csv",)
REQUIRED = ("path", "pid", "camid")
KNOWN = (*REQUIRED, "role")
ROLES = ("train", "query", "gallery")
DELIMITERS = ",;\t"
WORKBOOKS = {b"PK\x03\x04": "an Excel or OpenDocument file", b"\xd0\xcf\x11\xe0": "an Excel file"}
"""First bytes of what spreadsheets save when they are not asked for CSV."""

_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the table, its labels plain."""

    line: int
    path: str
    pid: str
    camid: str
    role: str
    further: tuple[tuple[str, str], ...]


def read(root: Path, _option: str | None = None) -> list[RawImage]:
    """List the images in the order of the table.

    Args:
        root: the folder that holds `manifest.csv`, or a table of another name.

    Raises:
        UserError: the table is missing, or has mistakes: all of them, by line.
    """
    if not root.is_file():
        check_root(root, MARKS)
    file = root if root.is_file() else root / MARKS[0]
    rows = _rows(file)
    places = _Places(file.parent)
    problems, paths, first = list[tuple[int, str]](), dict[int, str](), dict[str, int]()
    has_roles = any(row.role for row in rows)
    has_cameras = not all(labels.is_missing(row.camid) for row in rows)
    for row in rows:
        path, problem = places.find(row.path)
        found = [problem] if problem else []
        found += _label_problems(row, has_cameras=has_cameras)
        if has_roles and row.role not in ROLES:
            found.append(f"role {row.role!r} is none of {', '.join(ROLES)}, as other rows have")
        if path in first:
            found.append(f"names {row.path!r} again, after line {first[path]}")
        first.setdefault(path, row.line)
        paths[row.line] = path
        problems += [(row.line, each) for each in found]
    bad = {line for line, _ in problems}
    broken = file_problems(file.parent, (paths[row.line] for row in rows if row.line not in bad))
    problems += [
        (first[path], f"{path!r} {said}{places.hint(path)}") for path, said in broken.items()
    ]
    for name in ("pid", "camid") if has_cameras else ("pid",):
        problems += _questions(name, rows)
    if problems:
        said = [f"line {line} {problem}" for line, problem in sorted(problems)]
        raise UserError(f"{file}: {listed(said, '; ')}")
    return list(_images(rows, paths, has_cameras=has_cameras))


def _images(
    rows: Sequence[_Row], paths: Mapping[int, str], *, has_cameras: bool
) -> Iterator[RawImage]:
    """The images of a table without mistakes."""
    pids, are_named = labels.numbers(row.pid for row in rows)
    camids, cameras_named = labels.numbers(row.camid for row in rows)
    for number, row in enumerate(rows, 1):
        yield RawImage(
            paths[row.line],
            pids[row.pid],
            camids[row.camid] if has_cameras else number,
            row.role,
            row.pid if are_named else "",
            row.camid if has_cameras and cameras_named else "",
            row.further,
        )


def _label_problems(row: _Row, *, has_cameras: bool) -> Iterator[str]:
    """What is wrong with the person and the camera of a row, each in itself."""
    for name, label in (("pid", row.pid), ("camid", row.camid)):
        if name == "camid" and not has_cameras:
            continue
        if problem := labels.problem(label):
            unknown = name == "camid" and labels.is_missing(label)
            partly = ", as it is not in other rows: name this camera, too" if unknown else ""
            yield f"{name} {label!r} {problem}{partly}"


def _questions(name: str, rows: Sequence[_Row]) -> Iterator[tuple[int, str]]:
    """Labels of a column that may stand for one person or camera, by line."""
    lines = dict[str, int]()
    for row in rows:
        lines.setdefault(row.pid if name == "pid" else row.camid, row.line)
    what = "person" if name == "pid" else "camera"
    for alike in labels.alike(lines):
        group = sorted(alike, key=lines.__getitem__)
        others = ", ".join(f"line {lines[label]}" for label in group)
        said = (
            f"{name} {labels.shown(group)} ({others}) may be one {what} or several: write them in"
            " the same way if it is one, or give names that differ by more than zeros and case"
        )
        yield max(lines[label] for label in group), said


def _text(file: Path) -> str:
    """The table's text, of whichever encoding that it declares."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    if kind := WORKBOOKS.get(content[:4]):
        raise UserError(f"{file} is {kind}, no text: save it as CSV (UTF-8)")
    # Excel begins its UTF-8 files with a byte order mark, and saves "Unicode text" as UTF-16
    utf16 = content.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8") from error


def _rows(file: Path) -> list[_Row]:
    """The rows of the table, its labels plain."""
    text = _text(file)
    mark = re.match(r"sep=.(\r\n?|\n)", text)  # for Excel's eyes
    skipped = 1 if mark else 0
    text = text[mark.end() :] if mark else text
    delimiter, header = _header(file, re.split(r"[\r\n]", text, maxsplit=1)[0], 1 + skipped)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        next(reader)
        lines = [(reader.line_num + skipped, row) for row in reader if any(row)]
    except csv.Error as error:
        line = reader.line_num + skipped
        raise UserError(f"{file} line {line} is not CSV: {error}") from error
    if uneven := [f"line {line} has {len(row)}" for line, row in lines if len(row) != len(header)]:
        raise UserError(f"{file} has {len(header)} columns, but {listed(uneven)}")
    if not lines:
        raise UserError(f"{file} lists no image")
    tables = [(line, dict(zip(header, row, strict=True))) for line, row in lines]
    _check_roles(file, header, [values for _, values in tables])
    return [
        _Row(
            line,
            values["path"],
            labels.plain(values["pid"]),
            labels.plain(values["camid"]),
            values.get("role", "").strip().lower(),
            tuple((name, values[name]) for name in header if name and name not in KNOWN),
        )
        for line, values in tables
    ]


def _header(file: Path, text: str, line: int) -> tuple[str, list[str]]:
    """Delimiter and columns; those that are known in small letters."""
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([text], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        names = [name.strip() for name in names]
        names = [name.lower() if name.lower() in KNOWN else name for name in names]
        # the index that pandas writes, and a delimiter at the end of a line, have no name
        named = [name for name in names if name]
        if set(REQUIRED) <= set(names) and len(named) == len(set(named)):
            return delimiter, names
    raise UserError(
        f"{file} line {line}: expected the columns {','.join(REQUIRED)}, each once, and perhaps"
        f" role and further ones, got {text!r} (camid may be empty in every row, where"
        " cameras are unknown)"
    )


def _check_roles(file: Path, header: Sequence[str], tables: Sequence[Mapping[str, str]]) -> None:
    """Refuse a column that is meant as `role` and would be taken for a further one."""
    if "role" in header:
        return
    for name in header:
        if not name or name in KNOWN:
            continue
        meant = bool(difflib.get_close_matches(name.lower(), ["role"], cutoff=0.75))
        if meant or all(values[name].strip().lower() in ROLES for values in tables):
            raise UserError(
                f"{file}: the column {name!r} is not read: call it role if it gives the split"
                f" ({', '.join(ROLES)}), or leave it out"
            )


class _Places:
    """Finds files below a folder as they are on disk."""

    def __init__(self, root: Path) -> None:
        self._root = os.fspath(root)
        self._tops = [
            posixpath.normpath(path) for path in (str(root.absolute()), str(root.resolve()))
        ]
        self._listings: dict[tuple[str, Callable[[str], str]], dict[str, str]] = {}

    def find(self, text: str) -> tuple[str, str | None]:
        """The path below the folder that a table means, and what is wrong with it, or None.

        A file of exactly this name comes first; then a path with backslashes is one of Windows,
        and letters with accents are compared in Unicode's form NFC: macOS writes other forms.
        """
        if _ADDRESS.match(text):
            return text, f"path {text!r} is an address: get the file, and give its path"
        if _WINDOWS.match(text):
            return text, f"path {text!r} is absolute: give it below the folder of the table"
        path = text
        for candidate in dict.fromkeys([text, text.strip(), text.strip().replace("\\", "/")]):
            path = self._inside(candidate)
            if path.startswith(("/", "../")) or path == "..":
                return path, f"path {text!r} leaves the folder of the table"
            if self._is_there(path):
                break
        if PurePosixPath(path).suffix.lower() not in SUFFIXES:
            return path, f"path {text!r} is no plain path of a {', '.join(SUFFIXES)} file"
        return (path if self._is_there(path) else self._spelt(path, _nfc) or path), None

    def hint(self, path: str) -> str:
        """Where a file that is missing may be meant to be, in brackets."""
        if self._is_there(path):
            return ""
        if other := self._spelt(path, _folded):
            return f" (there is {other!r}: case counts)"
        below = path.partition("/")[2]
        if below and (other := self._spelt(below, _nfc)):
            return f" (there is {other!r}: a path begins below the folder of the table)"
        return ""

    def _is_there(self, path: str) -> bool:
        if "\0" in path:  # which no call of the system takes
            return False
        return os.path.lexists(os.path.join(self._root, path))  # noqa: PTH118 - of many files

    def _inside(self, path: str) -> str:
        """A path without `.` and `..`; an absolute one that leads into the folder is below it."""
        path = posixpath.normpath(path)
        for top in self._tops:
            if path.startswith(top.rstrip("/") + "/"):
                return path[len(top.rstrip("/")) + 1 :]
        return path

    def _spelt(self, path: str, form: Callable[[str], str]) -> str | None:
        """The path on disk whose names are the same in a form, or None."""
        folder = ""
        for name in path.split("/"):
            if (folder, form) not in self._listings:
                try:
                    names = sorted(os.listdir(Path(self._root, folder)))  # noqa: PTH208
                except (OSError, ValueError):  # no folder, or no name of one
                    names = []
                self._listings[folder, form] = {form(other): other for other in names}
            same = self._listings[folder, form].get(form(name))
            if same is None:
                return None
            folder = posixpath.join(folder, same)
        return folder


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return _nfc(name).casefold()
