"""Printing that cannot fail, whatever standard output and standard error are.

Either may use an encoding without ×, be a pipe whose reader has gone or that another program made
non-blocking, be a file on a full disk, or be closed. File names may hold bytes that are not text.
"""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

OUTPUT, ERRORS = 1, 2
"""Numbers of standard output and standard error."""
UNREAD = 141
"""Exit status of a program whose reader has gone: that of a shell for a death by SIGPIPE."""
LOST = 2
"""Exit status of a program whose output could not be written for another reason."""
OWN_CHOICE = {"ignore", "replace", "backslashreplace", "namereplace", "xmlcharrefreplace"}
"""Ways to write what an encoding does not know that cannot fail: left as the user chose them."""


def survive() -> None:
    """For programs whose results are files: they go on when nobody can read what they print."""
    _replace(_note)


def end_when_lost() -> None:
    """For programs whose output is their result: they end as soon as it cannot be written.

    When its reader has gone (`| head`), without a word; context managers are left in order.
    """
    _replace(_end)


class Channel(io.FileIO):
    """Standard output or standard error, which waits for its reader and does not raise OSError.

    Args:
        number: of the open file.
        lost: is called with the first error; what cannot be written is left out.
    """

    def __init__(self, number: int, lost: Callable[[OSError], None]) -> None:
        super().__init__(number, "wb", closefd=False)
        self.lost = lost
        self._intact = True

    def write(self, data: ReadableBuffer, /) -> int:
        """Write what fits, at least one byte, or nothing at all for good; the number of bytes."""
        try:
            while (written := super().write(data)) is None:  # non-blocking, and full
                select.select([], [self], [])
        except OSError as error:
            first, self._intact = self._intact, False
            if first:
                self.lost(error)
            return memoryview(data).nbytes
        return written


def _replace(lost: Callable[[OSError], None]) -> None:
    """Put channels in the place of the streams that Python has opened.

    Streams that something else has put there, such as a test, are left alone.
    """
    _fill_closed()
    for name, number, what in (("stdout", OUTPUT, lost), ("stderr", ERRORS, _ignore)):
        stream = getattr(sys, name)
        raw = getattr(getattr(stream, "buffer", None), "raw", None)
        if isinstance(raw, Channel):
            raw.lost = what
        elif stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _stream(stream, Channel(number, what)))


def _stream(old: io.TextIOWrapper | None, channel: Channel) -> io.TextIOWrapper:
    """A text stream like an old one, which is None where it was closed."""
    encoding, errors = (old.encoding, old.errors) if old else ("utf-8", None)
    if old:
        with suppress(OSError):
            old.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(channel),
        encoding,
        errors if errors in OWN_CHOICE else "backslashreplace",
        line_buffering=True,
    )


def _fill_closed() -> None:
    """Open what is closed of the three standard files.

    Otherwise the next file that is opened gets its number, and what is printed below Python
    lands in it.
    """
    for number in (0, OUTPUT, ERRORS):
        try:
            os.fstat(number)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free
            os.set_inheritable(opened, True)


def _sentence(error: OSError) -> str:
    return f"{Path(sys.argv[0]).stem}: standard output cannot be written ({error.strerror})"


def _note(error: OSError) -> None:
    """Say that output is lost, unless its reader has gone, who wants none."""
    if error.errno != errno.EPIPE:
        print(f"{_sentence(error)}: it is left out, the results are not", file=sys.stderr)


def _end(error: OSError) -> NoReturn:
    """End the program."""
    if error.errno == errno.EPIPE:
        sys.exit(UNREAD)
    print(f"{_sentence(error)}: make room or name another place, and run it again", file=sys.stderr)
    sys.exit(LOST)


def _ignore(error: OSError) -> None:
    """There is no place left to say that standard error is lost."""
