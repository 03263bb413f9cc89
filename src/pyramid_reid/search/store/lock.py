"""One process writes into a store at a time."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.store.errors import guarded
from pyramid_reid.search.store.place import is_remote

LOCK = "lock"
"""The file that the writing process holds; its number stands in it."""


RENEW_S, STALE_S = 15.0, 60.0
"""Between two signs of life, and after which a process without any is taken for dead."""
SETTLE_S = 2.0
"""After which all that took the same process for dead have removed its object."""


class BusyError(UserError):
    """Another process writes into the store."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the one process that writes.

    Raises:
        BusyError: another one does.
        UserError: the folder cannot be written.
    """
    with leased(folder / LOCK) if is_remote(folder) else _held(folder):
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the file, which the system gives up for a process that ends."""
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
        except OSError as error:
            raise UserError(
                f"{folder} cannot be locked ({error.strerror}): put the store on a local disk or"
                " into object storage, or mount its file system with locks"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


@contextmanager
def leased(path: Path) -> Iterator[None]:
    """Own an object, which is written anew while its process lives; for storage without locks.

    Raises:
        BusyError: another process owns it, or took it over while this one stood still.
    """
    signed = [_signature()]
    with guarded(path.parent, "locked"):
        if not _created(path, signed[0]):
            was = _owner(path)
            time.sleep(STALE_S)
            if (now := _owner(path)) is not None and now != was:
                raise BusyError(
                    f"{path.parent} is being written by {now.partition(',')[0]} (`index` or"
                    " `forget`): wait until it ends, or end it"
                )
            path.unlink(missing_ok=True)  # its process is gone
            if not _created(path, signed[0]) or not _stays(path, signed[0]):
                raise BusyError(
                    f"{path.parent} is being written by a process that began just now: wait until"
                    " it ends, or end it"
                )
    ended = Event()

    def renew() -> None:
        while not ended.wait(RENEW_S):
            # whatever the storage's package raises: the next one is in time, too
            with suppress(Exception):
                if _owner(path) not in signed:
                    return  # told at the end
                signed.append(_signature())
                path.write_text(signed[-1], encoding="utf-8")

    keeper = Thread(target=renew, daemon=True)
    keeper.start()
    try:
        yield
    except BaseException:
        ended.set()
        keeper.join()
        with suppress(Exception):  # what went wrong before is what is told
            _released(path, signed)
        raise
    ended.set()
    keeper.join()
    with guarded(path.parent, "unlocked"):
        kept = _released(path, signed)
    if not kept:
        raise BusyError(
            f"{path.parent} was taken over by another process while this one stood still for more"
            f" than {STALE_S:.0f} s: wait until that one ends, then run this command again"
        )


def _signature() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}, {time.time_ns()}"


def _created(path: Any, signature: str) -> bool:
    """Write an object that must not be there yet; whether it was not."""
    try:
        path.fs.pipe_file(path.path, signature.encode(), mode="create")
    except FileExistsError:
        return False
    return True


def _stays(path: Path, signature: str) -> bool:
    """Whether an object in place of a dead process's is still there after a moment.

    Another process that waited for the same may have seen the old one just before it was removed,
    and then removed the new one.
    """
    time.sleep(SETTLE_S)
    return _owner(path) == signature


def _released(path: Path, signed: Sequence[str]) -> bool:
    """Remove an object, where its owner is still this process; whether it was."""
    kept = _owner(path) in signed
    if kept:
        path.unlink(missing_ok=True)
    return kept


def _owner(path: Any) -> str | None:
    """Who owns an object, or None where nobody does.

    In one request: `read_text` asks for the version first, and fails where another one comes after.
    """
    try:
        return str(path.fs.cat_file(path.path), "utf-8")
    except FileNotFoundError:
        return None
