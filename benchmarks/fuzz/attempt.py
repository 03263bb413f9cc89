"""One bad input."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Attempt:
    """An input to try.

    Attributes:
        call: reads it.
        names: what a message that refuses it must hold: the file.
        canary: what a hostile input makes if its code runs.
        either: of these, a message must hold one: the key, or what stands for its line.
        holds: whether what was read can be used; anything may be, where nothing more is said.
    """

    call: Callable[[], object]
    names: tuple[str, ...]
    holds: Callable[[object], bool] = lambda _: True
    either: tuple[str, ...] = ("",)
    canary: Path | None = None


Target = Callable[[Path, random.Random], Iterator[Attempt]]
"""Takes a folder of its own."""
