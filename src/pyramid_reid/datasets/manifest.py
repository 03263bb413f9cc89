"""Anybody's own crops: image files, and a table that says who is on them.

`manifest.csv` has the columns path, pid, camid and, if the split is fixed, role (train, query or
gallery, in each row). A path is that of a JPEG, PNG or BMP file, relative to the folder of the
table, with `/`. People and cameras are numbers from 0. The table is UTF-8 with commas, and quotes
where a path holds one.
"""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from pyramid_reid.core.errors import UserError
from pyramid_reid.datasets.layout import SUFFIXES, RawImage, check_root, file_problems, listed

MARKS = ("manifest.csv",)
REQUIRED = ("path", "pid", "camid")
ROLES = ("train", "query", "gallery")


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
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
    images, problems, seen = [], list[tuple[int, str]](), dict[str, int]()
    has_roles = any(row["role"] for _, row in rows)
    for line, row in rows:
        found = _problems(row, has_roles=has_roles)
        if row["path"] in seen:
            found.append(f"names {row['path']!r} again, after line {seen[row['path']]}")
        seen.setdefault(row["path"], line)
        problems += [(line, problem) for problem in found]
        if not found:
            images.append(RawImage(row["path"], int(row["pid"]), int(row["camid"]), row["role"]))
    broken = file_problems(file.parent, (image.path for image in images))
    problems += [(seen[path], f"{path!r} {problem}") for path, problem in broken.items()]
    if problems:
        said = [f"line {line} {problem}" for line, problem in sorted(problems)]
        raise UserError(f"{file}: {listed(said, '; ')}")
    return images


def _rows(file: Path) -> list[tuple[int, dict[str, str]]]:
    """Number of each line, and its values by column, role included."""
    try:
        # Excel begins its UTF-8 files with a byte order mark
        with file.open(encoding="utf-8-sig", newline="") as table:
            reader = csv.reader(table, strict=True)
            header = next(reader, [])
            rows = [(reader.line_num, row) for row in reader if row]
    except UnicodeDecodeError as error:
        raise UserError(f"{file} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    except csv.Error as error:
        raise UserError(f"{file} line {reader.line_num} is no CSV: {error}") from error
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}") from error
    known = (*REQUIRED, "role")
    if not set(REQUIRED) <= set(header) <= set(known) or len(header) != len(set(header)):
        raise UserError(
            f"{file} line 1: expected the columns {','.join(REQUIRED)} and perhaps role, got"
            f" {','.join(header)!r}"
        )
    if uneven := [f"line {line} has {len(row)}" for line, row in rows if len(row) != len(header)]:
        raise UserError(f"{file} has {len(header)} columns, but {listed(uneven)}")
    if not rows:
        raise UserError(f"{file} lists no image")
    return [(line, {"role": ""} | dict(zip(header, row, strict=True))) for line, row in rows]


def _problems(row: dict[str, str], *, has_roles: bool) -> list[str]:
    """What is wrong with a row in itself."""
    path = PurePosixPath(row["path"])
    found = [
        f"{name} {row[name]!r} is no whole number from 0"
        for name in ("pid", "camid")
        if not (row[name].isascii() and row[name].isdecimal() and len(row[name]) <= 9)
    ]
    if path.is_absolute() or ".." in path.parts:
        found.append(f"path {row['path']!r} leaves the folder of the table")
    elif path.as_posix() != row["path"] or path.suffix.lower() not in SUFFIXES:
        found.append(f"path {row['path']!r} is no plain path of a {', '.join(SUFFIXES)} file")
    if has_roles and row["role"] not in ROLES:
        found.append(f"role {row['role']!r} is none of {', '.join(ROLES)}, as other rows have")
    return found
