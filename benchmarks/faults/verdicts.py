"""When a disturbed pipeline has ended right, and when with a clear error."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.faults.project import Done, Project

Verdict = Literal["right", "clear", "wrong"]
CUT_OFF = re.compile(
    r"'(?:\./)?(dvc\.lock|\.dvc/tmp/rwlock)'"
    r"(?: is invalid| validation failed|\. JSON structure is corrupted)"
)
"""What DVC says of files of its own that a kill or a full disk has cut off: it writes in place."""


@dataclass(frozen=True, slots=True)
class Tried:
    """A fault that was tried, how it ended, and what was said if it ended wrong."""

    fault: str
    verdict: Verdict
    said: str = ""


@dataclass(frozen=True, slots=True)
class Reference:
    """A pipeline that was not disturbed.

    Attributes:
        project: finished; to be copied, not changed.
        lock: hash of each output, by stage.
        metrics: content of each file of metrics.
        seconds: that each stage took, in the order in which they ran.
    """

    project: Project
    lock: dict[str, dict[str, str]]
    metrics: dict[str, bytes]
    seconds: dict[str, float]

    def equals(self, project: Project) -> bool:
        """Whether a project has come to the same bytes, all of it or up to its last stage."""
        lock, metrics = project.lock, metrics_of(project)
        if not project.last:
            return lock == self.lock and metrics == self.metrics
        same = {stage: self.lock[stage] for stage in lock}
        finished = project.last in lock and lock == same
        return finished and all(self.metrics[name] == held for name, held in metrics.items())


def metrics_of(project: Project) -> dict[str, bytes]:
    """Content of each file of metrics."""
    return {path.name: path.read_bytes() for path in (project.folder / "metrics").iterdir()}


def settle(fault: str, project: Project, reference: Reference, first: Done) -> Tried:
    """Judge a fault by the first `dvc repro` after it.

    Right: it finished, with the bytes of the reference. Clear: it stopped with a sentence, and
    once its advice was followed, `dvc repro` finished with those bytes.
    """
    if first.code == 0:
        right = reference.equals(project)
        return Tried(fault, "right" if right else "wrong", first.said)
    if not first.clear:
        return Tried(fault, "wrong", first.said)
    follow(first.said, project.folder)
    again = project.repro()
    right = again.code == 0 and reference.equals(project)
    return Tried(fault, "clear" if right else "wrong", first.said + again.said)


def follow(said: str, folder: Path) -> bool:
    """Remove what docs/robustness.md advises to remove after a message of DVC's; was there any?"""
    cut_off = CUT_OFF.findall(said)
    for name in cut_off:
        (folder / name).unlink()
    return bool(cut_off)
