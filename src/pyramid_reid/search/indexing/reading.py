"""Reading a gallery's files: threads hash, decode and cut ahead of the networks."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.decode import decode
from pyramid_reid.search.gallery import Frame, Value
from pyramid_reid.search.images import cut
from pyramid_reid.search.store.rows import Box, crop_id

LARGEST = 2**21
"""Pixels of a crop: restored at x4 it has sixteen times as many."""
TOGETHER, AHEAD = 8, 8
"""Frames that a thread reads one after the other, and such pieces under way."""

T = TypeVar("T")
R = TypeVar("R")


class Holds(Protocol):
    """What a store holds already: `known.Known`, or what a machine of a cluster was told of it."""

    def __contains__(self, identifier: str) -> bool:
        """Whether the store has a crop."""

    def at(self, path: str, box: Box | None) -> tuple[str, str] | None:
        """Id and stamp of what was at a place, or None."""


@dataclass(frozen=True, slots=True)
class Crop:
    """A crop as it was read; pixels are None where the store has it."""

    identifier: str
    path: str
    box: Box | None
    values: dict[str, Value]
    stamp: str
    pixels: Pixels | None


@dataclass(frozen=True, slots=True)
class Read:
    """What became of a frame."""

    crops: list[Crop]
    problems: list[tuple[str, str]]
    untouched: int = 0


def stamp_of(path: str) -> str:
    """Size and time of change of a file: what is the same in both was not written since."""
    status = os.stat(path)  # noqa: PTH116 - of many files
    return f"{status.st_size}:{status.st_mtime_ns}"


def stamps(frame: Frame) -> list[str]:
    """Of each crop, what changes with its file or its columns."""
    stamp = stamp_of(frame.path)
    texts = [repr(sorted(values.items())).encode() for _, values in frame.crops]
    return [f"{stamp}:{hashlib.blake2b(text, digest_size=8).hexdigest()}" for text in texts]


def read(frame: Frame, known: Holds) -> Read:
    """Read a frame and cut its crops, unless the store has them."""
    try:
        wanted = [
            (box, values, stamp)
            for (box, values), stamp in zip(frame.crops, stamps(frame), strict=True)
            if (at := known.at(frame.path, box)) is None or at[1] != stamp
        ]
        untouched = len(frame.crops) - len(wanted)
        if not wanted:
            return Read([], [], untouched)
        content = Path(frame.path).read_bytes()
    except OSError as error:
        return Read([], [(frame.path, f"cannot be read: {error.strerror}")])
    digest = hashlib.sha256(content).digest()
    identifiers = [crop_id(digest, box) for box, *_ in wanted]
    pixels: Pixels | None = None
    if any(identifier not in known for identifier in identifiers):
        try:
            pixels = decode(content)
        except ValueError as error:
            return Read([], [(frame.path, str(error))], untouched)
    crops, problems = [], []
    for identifier, (box, values, stamp) in zip(identifiers, wanted, strict=True):
        try:
            of_crop = None if pixels is None else _crop(pixels, box)
        except ValueError as error:
            problems.append((frame.path, str(error)))
            continue
        crops.append(Crop(identifier, frame.path, box, values, stamp, of_crop))
    return Read(crops, problems, untouched)


def _crop(pixels: Pixels, box: Box | None) -> Pixels:
    """The crop in a frame.

    Raises:
        ValueError: the box is none, or the crop is too large.
    """
    if box is not None:
        left, top, width, height = box
        pixels = cut(pixels, np.array([left, top, left + width, top + height]))
    height, width = pixels.shape[:2]
    if height * width > LARGEST:
        raise ValueError(
            f"is {width}x{height} pixels, too large for a crop of a person: give its boxes in a"
            " table if it is a frame, or a smaller copy"
        )
    return pixels


def ahead(work: Callable[[T], R], items: Sequence[T]) -> Iterator[R]:
    """What `work` makes of each item, in order, in threads that are some items ahead."""
    pieces = [items[start : start + TOGETHER] for start in range(0, len(items), TOGETHER)]
    with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        under_way = deque[Future[list[R]]]()
        try:
            for piece in pieces:
                under_way.append(pool.submit(lambda some: [work(item) for item in some], piece))
                if len(under_way) == AHEAD:
                    yield from under_way.popleft().result()
            while under_way:
                yield from under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()
