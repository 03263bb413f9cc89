"""Query-by-query comparison of two experiments."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from pyramid_reid.evaluation import queries


def report(a: Path, b: Path, resamples: int, seed: int) -> str:
    """Per ranking that differs and figure, A minus B with its interval and p, as text.

    Args:
        a, b: `data/evaluation/queries.csv` of two experiments on the same queries.
        resamples: of identities, and of signs.

    Raises:
        UserError: a table cannot be read, or they are of different queries.
    """
    ours, theirs = (queries.read(path) for path in (a, b))
    rows = {
        f"{name} {figure}": row
        for name in queries.names(ours)
        if name in queries.names(theirs) and _differ(ours, theirs, name)
        for figure, row in queries.compare(ours, theirs, name, name, resamples, seed).items()
    }
    head = f"{a} minus {b}, points of percent, {ours.pid.nunique()} identities"
    if not ours.gallery_size.equals(theirs.gallery_size):
        head += "\nnote: their galleries differ in size, and with them what is compared"
    table = pd.DataFrame(rows).T.to_string(float_format="%g") if rows else "no ranking differs"
    return f"{head}\n{table}"


def _differ(ours: pd.DataFrame, theirs: pd.DataFrame, name: str) -> bool:
    columns = [f"{name}.{figure}" for figure in queries.FIGURES]
    return not ours[columns].equals(theirs[columns])
