"""Atomic writing: after a kill or a full disk, a file is whole, or as it was before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_whole(path: Path, *parts: bytes | memoryview) -> None:
    """Replace a file in one step; folders are made.

    Whatever ends this early, the file holds what it held before, and what was written of the new
    one does not take room on a disk that is full. A kill leaves a `.partial` beside it, which the
    next call overwrites.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with partial.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def appended(path: Path) -> Iterator[IO[bytes]]:
    """A file of lines, open for appending.

    What an earlier run left of a line that it could not finish is cut off: a line that is added
    would continue it.
    """
    with path.open("a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        yield file


def whole_lines(path: Path) -> list[bytes]:
    """The lines of a file that were finished, without their ends."""
    return path.read_bytes().split(b"\n")[:-1]
