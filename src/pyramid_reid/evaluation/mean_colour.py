"""A trivial baseline: ranking by the mean colour of the crops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.crops import CropStore
from pyramid_reid.retrieval.metrics import Judge, Rule, summary

QUERIES_AT_ONCE = 256
"""Rows of the distance matrix that are in memory."""


def of_split(store: CropStore, rule: Rule, draws: int, seed: int) -> dict[str, float]:
    """Rank-k, mAP and mINP in percent of the nearest mean RGB.

    Args:
        rule, draws, seed: by which rankings are judged, as for `Judge`.
    """
    query, gallery = (store.rows(role) for role in ("query", "gallery"))
    query_pids, query_camids, gallery_pids, gallery_camids = (
        store.index[name].to_numpy()[rows] for rows in (query, gallery) for name in ("pid", "camid")
    )
    judge = Judge(query_pids, query_camids, gallery_pids, gallery_camids, rule, draws, seed)
    ours, theirs = (_means(store, rows) for rows in (query, gallery))
    for start in range(0, len(query), QUERIES_AT_ONCE):
        judge.judge(start, _squared_distances(ours[start : start + QUERIES_AT_ONCE], theirs))
    return summary(judge.results)


def _means(store: CropStore, rows: Sequence[int]) -> NDArray[np.float64]:
    """Mean RGB of crops, (len(rows), 3)."""
    # a product sums the pixels of a crop twenty times faster than NumPy's mean over two axes
    flat = (store[row].reshape(-1, 3).astype(np.float32) for row in rows)
    ones = np.ones(int((store.index.height * store.index.width).max()), np.float32)
    means = np.stack([ones[: len(each)] @ each / len(each) for each in flat])
    return means.astype(np.float64)


def _squared_distances(
    ours: NDArray[np.float64], theirs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of every row of one to every row of the other."""
    lengths = [(each**2).sum(1) for each in (ours, theirs)]
    return np.asarray(lengths[0][:, None] + lengths[1] - 2 * ours @ theirs.T)
