"""Restoring only small crops: the pyramid judges queries up to a height, its control the others.

No training: which of the two judges a query does not change its ranking in either, so the figures
of this rule are those recorded of each query.

The height of a split is chosen on the people who train in it, as they were judged in other splits,
by networks that had never seen them. (The galleries of other splits hold some of its test people;
one number per split learns nothing about them.)
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from benchmarks.results.comparison import Records, Row, per_query

from pyramid_reid.evaluation import queries

COLUMNS = [f"row.{figure}" for figure in queries.FIGURES]


def judged_by(small: pd.DataFrame, large: pd.DataFrame, height: float | pd.Series) -> pd.DataFrame:
    """What each query reaches if `small` judges those up to a height, and `large` the others.

    Args:
        small, large: as `per_query` makes them, of the same queries in the same order.
        height: in pixels; of all queries, or of each.
    """
    chosen = large.copy()
    up_to = small.height <= height
    chosen.loc[up_to, COLUMNS] = small.loc[up_to, COLUMNS]
    return chosen


def best_height(small: pd.DataFrame, large: pd.DataFrame) -> float:
    """The height whose mean average precision is highest, of equals the greatest; 0: restore none.

    A query counts by its own height, so the answer is a height that some query has, or 0.
    """
    gain = (small["row.mAP"] - large["row.mAP"]).groupby(small.height).sum().sort_index()
    sums = np.concatenate([[0.0], gain.cumsum().to_numpy()])
    heights = np.concatenate([[0.0], gain.index.to_numpy(dtype=float)])
    return float(heights[np.flatnonzero(sums == sums.max())[-1]])


def chosen_heights(small: pd.DataFrame, large: pd.DataFrame) -> dict[int, float]:
    """Per split the height that is best on the people who are not tested in it."""
    found = {}
    for split in sorted(small["split"].unique()):
        tested = set(small.pid[small["split"] == split])
        others = ~small.pid.isin(tested)
        found[int(split)] = best_height(small[others], large[others])
    return found


def rule(records: Records, pyramid: Row, control: Row) -> tuple[pd.DataFrame, dict[int, float]]:
    """What each query reaches by the rule, and the height of each split."""
    small, large = per_query(records, pyramid), per_query(records, control)
    heights = chosen_heights(small, large)
    return judged_by(small, large, small["split"].map(heights)), heights
