"""Parallel work with torch, each part on one thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch


@contextmanager
def single_threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """A pool of as many threads, in each of which torch computes on that thread alone.

    Work that is shared out among them as a whole keeps cores busier than threads that share each
    small product and wait for each other.
    """
    of_this_thread = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(number, initializer=_start) as pool:
            yield pool
    finally:
        # what a thread sets for itself, torch also sets for threads that are started later
        torch.set_num_threads(of_this_thread)


def _start() -> None:
    torch.set_num_threads(1)
    # torch takes over the number in this thread's first computation: before another one sets it
    torch.get_num_threads()
