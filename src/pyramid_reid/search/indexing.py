"""From a gallery's files to rows of a store: read, restore and embed, write, all at once.

Threads read, hash, decode and cut ahead of the networks, another one writes behind them. What is
written stays usable whatever happens then: the same command goes on with the rest.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.decode import decode
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.search.gallery import Frame, Patterns, Value, listed
from pyramid_reid.search.images import cut
from pyramid_reid.search.store import BOX, Box, BusyError, Store, box_of, crop_id, schema

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 300
"""Crops that are embedded together: a multiple of the networks' batch."""
CHUNK_PIXELS = 2**24
"""Of crops that are embedded together, but for one that is larger."""
LARGEST = 2**21
"""Pixels of a crop: restored at x4 it has sixteen times as many."""
ROWS = 1000
"""Crops that are written together."""
SECONDS = 10.0
"""After which crops are written even if they are fewer: what a kill may cost."""
TOGETHER, AHEAD = 8, 8
"""Frames that a thread reads one after the other, and such pieces under way."""
POLL_S = 2.0
"""Between two looks at what is watched."""

T = TypeVar("T")
R = TypeVar("R")


class Embeds(Protocol):
    """What gives features: `search.model.Model`."""

    def embed(self, images: Iterable[Any]) -> Annotated[NDArray[np.float32], "N 4 D"]:
        """Features of crops, float32."""


@dataclass(slots=True)
class Report:
    """What a run did.

    Attributes:
        added, known: crops that were embedded now, or before.
        changed: known crops with another path or other columns now.
        copies: files that hold a crop that is in the store from another file.
        problems: files that could not be read, with the reason.
    """

    added: int = 0
    known: int = 0
    changed: int = 0
    copies: int = 0
    problems: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Crop:
    """A crop as it was read; pixels are None where the store has it."""

    identifier: str
    path: str
    box: Box | None
    values: dict[str, Value]
    stamp: str
    pixels: Pixels | None


@dataclass(frozen=True, slots=True)
class _Read:
    """What became of a frame."""

    crops: list[_Crop]
    problems: list[tuple[str, str]]
    untouched: int = 0


class Known:
    """What the store holds: where each crop came from, and what each place (path and box) gave."""

    def __init__(self, store: Store) -> None:
        self._paths = dict[str, str]()
        self._places = dict[bytes, tuple[str, str]]()
        for batch in store.batches(["id", "path", "box", "stamp"]):
            for row in batch.to_pylist():
                self.add(row["id"], row["path"], box_of(row), row["stamp"])

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._paths

    def path(self, identifier: str) -> str:
        """Path of a crop that is there."""
        return self._paths[identifier]

    def add(self, identifier: str, path: str, box: Box | None, stamp: str) -> None:
        """Note a crop."""
        self._paths[identifier] = path
        self._places[_place(path, box)] = (identifier, stamp)

    def at(self, path: str, box: Box | None) -> tuple[str, str] | None:
        """Id and stamp of what was at a place, or None."""
        return self._places.get(_place(path, box))

    def drop(self, identifier: str, path: str, box: Box | None) -> None:
        """Note that a crop is no longer there."""
        self._paths.pop(identifier, None)
        self._places.pop(_place(path, box), None)


def _place(path: str, box: Box | None) -> bytes:
    return hashlib.blake2b(f"{path}\0{box}".encode(), digest_size=16).digest()


def index(
    store: Store,
    load: Callable[[], Embeds],
    sources: Sequence[Path],
    patterns: Patterns,
    *,
    watch: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Report:
    """Put what is not there yet into a store.

    Args:
        load: gives the model, of the store's features; called where there is something to embed.
        sources: folders, tables, MOTChallenge files, images.
        watch: go on with what is written there, until interrupted.
        say: takes lines about what was done.

    Raises:
        UserError: a source is missing or has mistakes, there is no crop, another process writes, or
            nothing can be written.
    """
    with store.writing():
        known = Known(store)
        frames, problems = listed(sources, patterns)
        if not frames and not problems and not watch:
            raise UserError(f"{', '.join(map(str, sources))}: there is no image in it")
        report = Report(problems=problems)
        _run(store, load, frames, known, report, say)
    if watch:
        with suppress(KeyboardInterrupt):
            _watch(store, load, sources, patterns, known, report, say)
    return report


def _watch(
    store: Store,
    load: Callable[[], Embeds],
    sources: Sequence[Path],
    patterns: Patterns,
    known: Known,
    report: Report,
    say: Callable[[str], None],
) -> None:
    """Go on with what is new, until interrupted; between two looks others may write.

    What `forget` removes meanwhile stays known: it does not come back from its file.
    """
    seen, tried = dict[str, str](), dict[str, str]()
    say(f"{report.added:,} crops added; watching (Ctrl-C ends it)")
    while True:
        fresh = _settled(sources, patterns, known, report, seen, tried)
        while fresh:
            try:
                with store.writing():
                    _run(store, load, fresh, known, report, say)
                say(f"{report.added:,} crops added so far")
                break
            except BusyError:  # `forget` takes some seconds
                time.sleep(POLL_S)
        time.sleep(POLL_S)


def _settled(
    sources: Sequence[Path],
    patterns: Patterns,
    known: Known,
    report: Report,
    seen: dict[str, str],
    tried: dict[str, str],
) -> list[Frame]:
    """Frames that are new or changed, and were the same at the last look: they are complete."""
    try:
        frames, problems = listed(sources, patterns)
    except UserError:  # a table that is being written: the next look finds it whole
        return []
    report.problems |= problems
    fresh = []
    for frame in frames:
        try:
            stamps = _stamps(frame)
        except OSError:  # gone again
            continue
        was = [known.at(frame.path, box) for box, _ in frame.crops]
        if all(at and at[1] == stamp for at, stamp in zip(was, stamps, strict=True)):
            continue
        now = " ".join(stamps)
        if seen.get(frame.path) == now and tried.get(frame.path) != now:
            fresh.append(frame)
            tried[frame.path] = now  # a copy or a damaged file comes once
        seen[frame.path] = now
    return fresh


def _run(
    store: Store,
    load: Callable[[], Embeds],
    frames: Sequence[Frame],
    known: Known,
    report: Report,
    say: Callable[[str], None],
) -> None:
    """Read, embed and write some frames, and keep the index up."""
    total = sum(len(frame.crops) for frame in frames)
    bar = progress(range(total), "index", "crops", total)
    with _Writer(store) as writer, bar:
        waiting, pixels = list[_Crop](), 0

        def flush() -> None:
            nonlocal waiting, pixels
            if waiting:
                writer.put(waiting, _embedded(load(), waiting))
                report.added += len(waiting)
                bar.update(len(waiting))
            waiting, pixels = [], 0

        for read in ahead(lambda frame: _read(frame, known), frames):
            for path, problem in read.problems:
                report.problems[path] = problem
            report.known += read.untouched
            bar.update(read.untouched + len(read.problems))
            for crop in read.crops:
                if crop.identifier in known:
                    _again(writer, crop, known, report)
                    bar.update(1)
                    continue
                if crop.pixels is None:  # it was there when it was read, and was replaced since
                    report.problems[crop.path] = "changed while it was indexed: index it again"
                    continue
                old = known.at(crop.path, crop.box)
                if old is not None and old[0] in known:
                    writer.remove(old[0])  # the file is another one now
                    known.drop(old[0], crop.path, crop.box)
                known.add(crop.identifier, crop.path, crop.box, crop.stamp)
                size = crop.pixels.shape[0] * crop.pixels.shape[1]
                if waiting and pixels + size > CHUNK_PIXELS:
                    flush()
                waiting.append(crop)
                pixels += size
                if len(waiting) == CHUNK:
                    flush()
        flush()
    if built := store.build_index():
        say(str(built))


def _again(writer: _Writer, crop: _Crop, known: Known, report: Report) -> None:
    """A crop that the store has: from this place, from a file that is gone, or from another one."""
    at = known.at(crop.path, crop.box)
    elsewhere = at is None or at[0] != crop.identifier
    if elsewhere and Path(known.path(crop.identifier)).exists():
        report.copies += 1
        return
    report.known += 1
    report.changed += 1
    writer.update(crop)
    known.add(crop.identifier, crop.path, crop.box, crop.stamp)


def _embedded(model: Embeds, crops: Sequence[_Crop]) -> NDArray[np.float32]:
    try:
        return model.embed([crop.pixels for crop in crops])
    except ValueError as error:
        raise UserError(
            f"{crops[0].path} and {len(crops) - 1} more cannot be embedded: {error}"
        ) from error


def stamp_of(path: str) -> str:
    """Size and time of change of a file: what is the same in both was not written since."""
    status = os.stat(path)  # noqa: PTH116 - of many files
    return f"{status.st_size}:{status.st_mtime_ns}"


def _stamps(frame: Frame) -> list[str]:
    """Of each crop, what changes with its file or its columns."""
    stamp = stamp_of(frame.path)
    texts = [repr(sorted(values.items())).encode() for _, values in frame.crops]
    return [f"{stamp}:{hashlib.blake2b(text, digest_size=8).hexdigest()}" for text in texts]


def _read(frame: Frame, known: Known) -> _Read:
    """Read a frame and cut its crops, unless the store has them."""
    try:
        wanted = [
            (box, values, stamp)
            for (box, values), stamp in zip(frame.crops, _stamps(frame), strict=True)
            if (at := known.at(frame.path, box)) is None or at[1] != stamp
        ]
        untouched = len(frame.crops) - len(wanted)
        if not wanted:
            return _Read([], [], untouched)
        content = Path(frame.path).read_bytes()
    except OSError as error:
        return _Read([], [(frame.path, f"cannot be read: {error.strerror}")])
    digest = hashlib.sha256(content).digest()
    identifiers = [crop_id(digest, box) for box, *_ in wanted]
    pixels: Pixels | None = None
    if any(identifier not in known for identifier in identifiers):
        try:
            pixels = decode(content)
        except ValueError as error:
            return _Read([], [(frame.path, str(error))], untouched)
    crops, problems = [], []
    for identifier, (box, values, stamp) in zip(identifiers, wanted, strict=True):
        try:
            of_crop = None if pixels is None else _crop(pixels, box)
        except ValueError as error:
            problems.append((frame.path, str(error)))
            continue
        crops.append(_Crop(identifier, frame.path, box, values, stamp, of_crop))
    return _Read(crops, problems, untouched)


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


class _Writer:
    """Writes crops in a thread of its own; a context manager, which waits for what is written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None
        self._waiting: list[tuple[_Crop, NDArray[np.float32]]] = []
        self._written_at = time.monotonic()
        self._updates: list[_Crop] = []
        self._removals: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._write()  # what was embedded is kept also when something else went wrong
            self._wait()
        finally:
            self._pool.shutdown()

    def put(self, crops: Sequence[_Crop], features: NDArray[np.float32]) -> None:
        """Take crops with their features (n, 4, D)."""
        self._waiting += zip(crops, features, strict=True)
        if len(self._waiting) >= ROWS or time.monotonic() - self._written_at > SECONDS:
            self._write()

    def update(self, crop: _Crop) -> None:
        """Take new columns of a crop that is there."""
        self._updates.append(crop)

    def remove(self, identifier: str) -> None:
        """Take out a crop whose file is another one now."""
        self._removals.append(identifier)

    def _write(self) -> None:
        self._wait()
        waiting, updates, removals = self._waiting, self._updates, self._removals
        self._waiting, self._updates, self._removals = [], [], []
        self._written_at = time.monotonic()
        if waiting or updates or removals:
            self._under_way = self._pool.submit(self._commit, waiting, updates, removals)

    def _commit(
        self,
        waiting: Sequence[tuple[_Crop, NDArray[np.float32]]],
        updates: Sequence[_Crop],
        removals: Sequence[str],
    ) -> None:
        if waiting:
            features = np.stack([features for _, features in waiting])
            self._store.add(rows_of([crop for crop, _ in waiting], features))
        if removals:  # after the new ones: a kill in between leaves both, not none
            self._store.remove(removals)
        by_columns = defaultdict[tuple[str, ...], dict[str, _Crop]](dict)
        for crop in updates:
            by_columns[tuple(sorted(crop.values))][crop.identifier] = crop
        for alike in by_columns.values():
            self._store.update(rows_of(list(alike.values()), None))

    def _wait(self) -> None:
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()


def rows_of(
    crops: Sequence[_Crop], features: Annotated[NDArray[np.float32], "n 4 D"] | None
) -> pa.Table:
    """Rows of the store; without features those columns alone that `update` changes."""
    import pyarrow as pa

    fixed = schema(1 if features is None else features.shape[2])
    boxes = [None if crop.box is None else dict(zip(BOX, crop.box, strict=True)) for crop in crops]
    columns: dict[str, Any] = {
        "id": [crop.identifier for crop in crops],
        "path": [crop.path for crop in crops],
        "box": pa.array(boxes, fixed.field("box").type),
        "stamp": [crop.stamp for crop in crops],
    }
    names = sorted({name for crop in crops for name in crop.values})
    for name in ("camera", "time", "track"):
        if features is not None or name in names:
            columns[name] = pa.array([_text(crop.values.get(name)) for crop in crops], pa.string())
    for name in names:
        if name not in columns:
            columns[name] = _column(name, [crop.values.get(name) for crop in crops])
    if features is not None:
        flat = pa.array(features.astype(np.float16).ravel())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, features[0].size)
    return pa.table(columns)


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _column(name: str, values: Sequence[Value]) -> pa.Array:
    import pyarrow as pa

    try:
        column = pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(
            f"the column {name!r} mixes numbers and text: call one otherwise"
        ) from error
    return column.cast(pa.string()) if pa.types.is_null(column.type) else column


def summary(report: Report) -> dict[str, Any]:
    """A report for programs."""
    return {
        "added": report.added,
        "known": report.known,
        "changed": report.changed,
        "copies": report.copies,
        "unreadable": dict(sorted(report.problems.items())),
    }


def told(report: Report, count: int) -> list[str]:
    """A report in lines; `count` crops are in the store now."""
    added = f"{report.added:,} crops added, {report.known:,} were there"
    lines = [f"{added}, {report.copies:,} copies left out; the store holds {count:,}"]
    if report.changed:
        lines.append(f"{report.changed:,} of those that were there have another path or columns")
    if report.problems:
        lines.append(f"{len(report.problems):,} files could not be read:")
        lines += [f"  {path}: {problem}" for path, problem in sorted(report.problems.items())]
    return lines
