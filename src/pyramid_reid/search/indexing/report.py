"""What a run of `index` did, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
