"""Where crops arrive that were read and embedded, by whichever process: the store has each once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any

from numpy.typing import NDArray

from pyramid_reid.search.gallery import Frame
from pyramid_reid.search.indexing.known import Known
from pyramid_reid.search.indexing.reading import Crop, Read, stamp_of
from pyramid_reid.search.indexing.report import Report
from pyramid_reid.search.indexing.writing import Writer


class Intake:
    """Decides what is written of each crop, and counts; for one thread alone."""

    def __init__(
        self, writer: Writer, known: Known, report: Report, done: Callable[[int], object]
    ) -> None:
        self._writer, self._known, self._report, self._done = writer, known, report, done
        self._taken = dict[str, list[Crop]]()  # not put yet, and what is to be updated then

    def take(self, found: Read, ready: Callable[[Crop], bool]) -> Iterator[Crop]:
        """Note what became of a frame.

        Args:
            ready: whether a crop's features are there or can be computed.

        Yields:
            Crops that the store does not have: `put` them.
        """
        known, report = self._known, self._report
        for path, problem in found.problems:
            report.problems[path] = problem
        report.known += found.untouched
        self._done(found.untouched + len(found.problems))
        for crop in found.crops:
            if crop.identifier in known:
                self._again(crop)
                self._done(1)
                continue
            if not ready(crop):  # whoever read it took it for one that is there
                report.problems[crop.path] = "changed while it was indexed: index it again"
                continue
            known.add(crop.identifier, crop.path, crop.box, crop.stamp)
            self._taken[crop.identifier] = []
            yield crop

    def put(self, crops: Sequence[Crop], features: Annotated[NDArray[Any], "n 4 D"]) -> None:
        """Write crops that `take` gave, with their features."""
        self._writer.put(crops, features)
        for crop in crops:
            for later in self._taken.pop(crop.identifier):
                self._writer.update(later)
        self._report.added += len(crops)
        self._done(len(crops))

    def finish(self) -> set[str]:
        """Take out crops whose files are others now.

        Only when all frames were taken: a file that was renamed is met after the one that has its
        name now, or before.

        Returns:
            Paths that were left out as copies of these crops: now the store has none of them.
        """
        gone = self._known.pop_replaced()
        self._writer.remove(sorted(gone))
        return set[str]().union(*gone.values())

    def _again(self, crop: Crop) -> None:
        """A crop that is there: from this place, one that holds it no more, or one that does."""
        known, report = self._known, self._report
        at = known.at(crop.path, crop.box)
        elsewhere = at is None or at[0] != crop.identifier
        if elsewhere and _as_it_was(*known.file(crop.identifier)):
            report.copies += 1
            known.add_copy(crop.identifier, crop.path, crop.box)
            return
        report.known += 1
        report.changed += 1
        if crop.identifier in self._taken:  # there is no row to change yet
            self._taken[crop.identifier].append(crop)
        else:
            self._writer.update(crop)
        known.add(crop.identifier, crop.path, crop.box, crop.stamp)


def _as_it_was(path: str, stamp: str) -> bool:
    """Whether a file is there, and was not written since it had a crop's stamp."""
    try:
        return stamp.startswith(f"{stamp_of(path)}:")
    except OSError:
        return False


Work = Callable[[Sequence[Frame], Known, Intake], None]
"""Reads frames and embeds what an `Intake` takes of them: this process does, or those of a cluster.
"""
