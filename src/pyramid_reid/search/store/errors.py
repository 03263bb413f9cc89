"""What LanceDB and the system raise, as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyramid_reid.core.errors import DAMAGED, UserError, reason

SYSTEM = {
    "os error 28": "the disk is full",
    "os error 27": "a file would be larger than this process may write",
    "os error 13": "it is not permitted",
}
"""Errors of the system by their numbers on Linux."""


def said(error: BaseException) -> str:
    """What LanceDB says of an error, without places in its own source."""
    text = reason(error).split(", /")[0]
    return next((plain for mark, plain in SYSTEM.items() if mark in str(error)), text)


STORAGES = {"aiobotocore", "aiohttp", "azure", "botocore", "gcsfs", "google"}
"""Packages behind object storage, whose errors are none of Python's."""


@contextmanager
def guarded(folder: Path, what: str) -> Iterator[None]:
    """Turn what LanceDB and object storage raise into one sentence.

    Args:
        folder: of the store.
        what: is done with it, a participle.

    Raises:
        UserError: in place of it.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        package = type(error).__module__.partition(".")[0]
        if not isinstance(error, DAMAGED) and package not in STORAGES:
            raise
        raise UserError(
            f"{folder} cannot be {what} ({said(error)}); what was written before is kept"
        ) from error
