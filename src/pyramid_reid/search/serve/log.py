"""Who searched for whom, and when: a line of JSON per search."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from pyramid_reid.core.errors import UserError, reason

FILE = "searches.jsonl"
"""In the store's folder, where no other file is named."""


class SearchLog:
    """A file to which lines are appended, each whole; readable by its owner alone.

    Several processes of a machine may append to the same one.

    Args:
        path: made where it is missing; None: nothing is written.

    Raises:
        UserError: it cannot be written. A search that cannot be logged is not answered.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._one = threading.Lock()
        self._append(b"")

    def write(self, entry: Mapping[str, object]) -> None:
        """Append an entry with the time (UTC).

        Raises:
            UserError: it cannot be written.
        """
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._append(json.dumps({"time": now, **entry}).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        if self.path is None:
            return
        try:
            with self._one:
                file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
                    size = os.fstat(file).st_size
                    if os.write(file, line) != len(line):  # the disk is full
                        os.ftruncate(file, size)
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                finally:
                    os.close(file)
        except OSError as error:
            raise UserError(
                f"the log of searches {self.path} cannot be written ({reason(error)}): make room or"
                " name another file by --log"
            ) from error
