"""Measuring another program's way in a process of its own, in turns with ours.

What makes ours fast in its process (memory that is kept, deterministic algorithms) then neither
helps nor hinders the other.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Self


class OtherProcess:
    """This program again, with `--child` and arguments; it answers by `serve`.

    A context manager. Each call asks for one measurement and gives its figure.
    """

    def __init__(self, *arguments: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", _program(), "--child", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def __call__(self) -> float:
        """The next figure."""
        assert self._process.stdin is not None  # noqa: S101 - for mypy: it is a pipe
        assert self._process.stdout is not None  # noqa: S101
        with suppress(BrokenPipeError):  # it has ended, and answers nothing
            print(file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            sys.exit("the process that is measured beside failed")
        return float(answer)


def _program() -> str:
    """Name of the module that runs, as `python -m` takes it."""
    return str(sys.modules["__main__"].__spec__.name)  # type: ignore[union-attr]


def serve(measure: Callable[[], float]) -> None:
    """Answer each line of the standard input by a measurement."""
    for _ in sys.stdin:
        print(measure(), flush=True)
