"""Where a store lies: a folder, or an address of object storage, such as s3://bucket/gallery."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from pyramid_reid.core import whole_files
from pyramid_reid.core.errors import UserError, reason


def place(text: str | Path) -> Path:
    """A folder, or what does the same for an address with `://`.

    Lance and fsspec find keys and end points in the environment, each by the names of the storage's
    own tools (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …).

    Raises:
        UserError: the extra `cluster` or the storage's own package is not installed, or no storage
            has such an address.
    """
    if isinstance(text, Path) or "://" not in str(text):
        return Path(text)
    if find_spec("upath") is None:
        raise UserError(
            f"{text}: object storage needs the extra `cluster`: run `uv pip install"
            " 'pyramid-reid[cluster]'`, or the same with pip"
        )
    from upath import UPath

    try:
        found = UPath(str(text))
        found.exists()
    except Exception as error:  # each storage's package has errors of its own
        raise UserError(f"{text} cannot be reached: {reason(error)}") from error
    return cast(Path, found)  # has the same methods


def is_remote(folder: Path) -> bool:
    """Whether a place is object storage."""
    return not isinstance(folder, Path)


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all; object storage does so by itself."""
    if is_remote(path):
        path.write_text(text, encoding="utf-8")
        return
    whole_files.write_whole(path, text.encode())


def names(folder: Path) -> set[str]:
    """What lies in a place now; nothing where there is none, as object storage knows none empty."""
    try:
        if is_remote(folder):
            return _names(folder)
        return {path.name for path in folder.iterdir()}
    except FileNotFoundError:
        return set()


def _names(folder: Any) -> set[str]:
    folder.fs.invalidate_cache(folder.path)  # other processes write, too
    found = folder.fs.ls(folder.path, detail=False)
    return {name.rstrip("/").rpartition("/")[2] for name in found}
