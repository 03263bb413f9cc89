"""One process writes into a store at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.store.errors import guarded

LOCK = "lock"
"""The file that the writing process holds; its number stands in it."""


class BusyError(UserError):
    """Another process writes into the store."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the one process that writes.

    Raises:
        BusyError: another one does.
        UserError: the folder cannot be written.
    """
    with guarded(folder, "locked"):
        file = (folder / LOCK).open("a+")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise BusyError(
                f"{folder} is being written by process {file.read().strip() or '?'}"
                " (`index` or `forget`): wait until it ends, or end it"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
