"""Progress bars with the remaining time."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NoReturn, TypeVar

from tqdm import tqdm

from pyramid_reid.core.runtime import is_main

T = TypeVar("T")

LOG_INTERVAL_S = 20.0
"""Seconds between two lines where standard error is a file: a log stays readable."""


def progress(
    items: Iterable[T], what: str, unit: str, total: int | None = None, initial: int = 0
) -> tqdm[T]:
    """Wrap `items` in a bar that says `what`, counted in `unit`; only the main process shows it.

    Args:
        total: how many there are, where `items` does not say it.
        initial: how many an earlier run has done.
    """
    return tqdm(
        items,
        desc=what,
        unit=f" {unit}",
        total=total,
        initial=initial,
        mininterval=_interval(),
        dynamic_ncols=True,
        disable=not is_main() or sys.stderr is None,
    )


def bytes_bar(what: str, total: int | None, done: int) -> tqdm[NoReturn]:
    """A bar of bytes of which some may be there already; total None where nobody says it."""
    return tqdm(
        desc=what,
        unit="B",
        unit_scale=True,
        total=total,
        initial=done,
        mininterval=_interval(),
        dynamic_ncols=True,
        disable=sys.stderr is None,
    )


def _interval() -> float:
    """Standard error is None in a program that was started without one."""
    return 0.2 if sys.stderr is not None and sys.stderr.isatty() else LOG_INTERVAL_S
