"""Parallel work on many small items, in order and with bounded memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

TOGETHER = 32
"""Items of one piece of work: the more, the less is spent on handing them over."""
AHEAD = 16
"""Pieces of work that are under way at once: bounds memory."""
MOST = 8
"""Threads at most: more would wait for the interpreter's lock."""


def in_order(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """What `work` makes of each item, in the order of the items, on as many threads as cores.

    For work that leaves the interpreter's lock to others most of the time, as reading, hashing,
    decoding and resizing do. What it raises is raised here.
    """
    pieces = [items[start : start + TOGETHER] for start in range(0, len(items), TOGETHER)]

    def of_piece(piece: Sequence[T]) -> list[R]:
        return [work(item) for item in piece]

    with ThreadPoolExecutor(min(MOST, os.cpu_count() or 1)) as pool:
        under_way = deque[Future[list[R]]]()
        for piece in pieces:
            under_way.append(pool.submit(of_piece, piece))
            if len(under_way) == AHEAD:
                yield from under_way.popleft().result()
        while under_way:
            yield from under_way.popleft().result()
