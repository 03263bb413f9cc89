"""Running `index`: read, restore and embed, write, all at once.

What is written stays usable whatever happens then: the same command goes on with the rest.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.search.gallery import Frame, Patterns, listed
from pyramid_reid.search.indexing.intake import Intake, Work
from pyramid_reid.search.indexing.known import Known
from pyramid_reid.search.indexing.reading import stamps
from pyramid_reid.search.indexing.report import Report
from pyramid_reid.search.indexing.writing import Writer
from pyramid_reid.search.store import Store, ann
from pyramid_reid.search.store.lock import BusyError

POLL_S = 2.0
"""Between two looks at what is watched."""


def index(
    store: Store,
    work: Work,
    sources: Sequence[Path],
    patterns: Patterns,
    *,
    watch: bool = False,
    say: Callable[[str], None] = lambda _: None,
    by: ann.Builds | None = None,
) -> Report:
    """Put what is not there yet into a store.

    Args:
        work: reads and embeds: `embedding.here`, or `cluster.indexing.on` other machines.
        sources: folders, tables, MOTChallenge files, images.
        watch: go on with what is written there, until interrupted.
        say: takes lines about what was done.
        by: what joins files and builds the index; None for this process.

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
        _run(store, work, frames, known, report, say, by)
    if watch:
        with suppress(KeyboardInterrupt):
            _watch(store, work, sources, patterns, known, report, say, by)
    return report


def _watch(
    store: Store,
    work: Work,
    sources: Sequence[Path],
    patterns: Patterns,
    known: Known,
    report: Report,
    say: Callable[[str], None],
    by: ann.Builds | None,
) -> None:
    """Go on with what is new, until interrupted; between two looks others may write.

    What `forget` removes meanwhile stays known: it does not come back from its file.
    """
    seen, tried = dict[str, str](), dict[str, str]()
    say(f"{report.added:,} crops added; watching (Ctrl-C ends it)")
    while True:
        if fresh := _settled(sources, patterns, known, report, seen, tried):
            with _in_turn(store):
                if known.version != store.version():
                    known.refresh(store)
                for frame in fresh:  # if something is still wrong, it is said again
                    report.problems.pop(frame.path, None)
                for path in _run(store, work, fresh, known, report, say, by):
                    tried.pop(path, None)
            say(f"{report.added:,} crops added so far")
        time.sleep(POLL_S)


@contextmanager
def _in_turn(store: Store) -> Iterator[None]:
    """Be the one process that writes, once another one that does now has ended.

    Raises:
        UserError: another one took over meanwhile, or nothing can be written.
    """
    with ExitStack() as turn:
        while True:
            try:
                turn.enter_context(store.writing())
                break
            except BusyError:  # `forget` takes some seconds
                time.sleep(POLL_S)
        yield


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
    work: Work,
    frames: Sequence[Frame],
    known: Known,
    report: Report,
    say: Callable[[str], None],
    by: ann.Builds | None,
) -> set[str]:
    """Read, embed and write some frames, and keep the index up.

    Returns:
        Paths of copies whose crop was taken out, as its file is another one now: to be read again.
    """
    total = sum(len(frame.crops) for frame in frames)
    bar = progress(range(total), "index", "crops", total)
    with Writer(store) as writer, bar:
        intake = Intake(writer, known, report, bar.update)
        work(frames, known, intake)
        copies = intake.finish()
    if built := store.build_index(by=by):
        say(str(built))
    known.version = store.version()
    return copies
