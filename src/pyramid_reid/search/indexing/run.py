"""Running `index`: read, restore and embed, write, all at once.

What is written stays usable whatever happens then: the same command goes on with the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.search.gallery import Frame, Patterns, listed
from pyramid_reid.search.indexing.known import Known
from pyramid_reid.search.indexing.reading import Crop, ahead, read, stamps
from pyramid_reid.search.indexing.report import Report
from pyramid_reid.search.indexing.writing import Writer
from pyramid_reid.search.store import Store
from pyramid_reid.search.store.lock import BusyError

CHUNK = 300
"""Crops that are embedded together: a multiple of the networks' batch."""
CHUNK_PIXELS = 2**24
"""Of crops that are embedded together, but for one that is larger."""
POLL_S = 2.0
"""Between two looks at what is watched."""


class Embeds(Protocol):
    """What gives features: `search.model.Model`."""

    def embed(self, images: Iterable[Any]) -> Annotated[NDArray[np.float32], "N 4 D"]:
        """Features of crops, float32."""


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
            stamped = stamps(frame)
        except OSError:  # gone again
            continue
        was = [known.at(frame.path, box) for box, _ in frame.crops]
        if all(at and at[1] == stamp for at, stamp in zip(was, stamped, strict=True)):
            continue
        now = " ".join(stamped)
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
    with Writer(store) as writer, bar:
        waiting, pixels = list[Crop](), 0

        def flush() -> None:
            nonlocal waiting, pixels
            if waiting:
                writer.put(waiting, _embedded(load(), waiting))
                report.added += len(waiting)
                bar.update(len(waiting))
            waiting, pixels = [], 0

        for found in ahead(lambda frame: read(frame, known), frames):
            for path, problem in found.problems:
                report.problems[path] = problem
            report.known += found.untouched
            bar.update(found.untouched + len(found.problems))
            for crop in found.crops:
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


def _again(writer: Writer, crop: Crop, known: Known, report: Report) -> None:
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


def _embedded(model: Embeds, crops: Sequence[Crop]) -> NDArray[np.float32]:
    try:
        return model.embed([crop.pixels for crop in crops])
    except ValueError as error:
        raise UserError(
            f"{crops[0].path} and {len(crops) - 1} more cannot be embedded: {error}"
        ) from error
