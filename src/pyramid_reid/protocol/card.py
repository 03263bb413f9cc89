"""What a split holds, and how far the mean colour alone gets on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.crops import CropStore
from pyramid_reid.retrieval.metrics import Judge, Rule, summary

LABELS = ("pid", "camid")
QUERIES_AT_ONCE = 256
"""Rows of the distance matrix that are in memory."""


def describe(store: CropStore, rule: Rule, draws: int, seed: int) -> dict[str, float]:
    """Counts and heights in pixels per role, and the figures of ranking by mean colour.

    Args:
        rule, draws, seed: by which rankings are judged, as for `Judge`.
    """
    card: dict[str, float] = {}
    for role, crops in store.index.groupby("role"):
        card[f"{role}_images"] = len(crops)
        card[f"{role}_identities"] = crops.pid.nunique()
        card[f"{role}_cameras"] = crops.camid.nunique()
        card[f"{role}_median_height"] = float(crops.height.median())
    baseline = mean_colour(store, rule, draws, seed)
    return card | {f"mean_colour_{name}": baseline[name] for name in ("rank1", "mAP")}


def mean_colour(store: CropStore, rule: Rule, draws: int, seed: int) -> dict[str, float]:
    """Rank-k, mAP and mINP in percent of the nearest mean RGB: what no network should need."""
    query, gallery = (store.rows(role) for role in ("query", "gallery"))
    asks, answers = (_means(store, rows) for rows in (query, gallery))
    query_pids, query_camids, gallery_pids, gallery_camids = (
        store.index[name].to_numpy()[rows] for rows in (query, gallery) for name in LABELS
    )
    judge = Judge(query_pids, query_camids, gallery_pids, gallery_camids, rule, draws, seed)
    for start in range(0, len(query), QUERIES_AT_ONCE):
        judge.judge(start, _squared_distances(asks[start : start + QUERIES_AT_ONCE], answers))
    return summary(judge.results)


def _means(store: CropStore, rows: Sequence[int]) -> NDArray[np.float64]:
    """Mean RGB of crops, (len(rows), 3)."""
    # a product sums the pixels of a crop twenty times faster than NumPy's mean over two axes
    flat = (store[row].reshape(-1, 3).astype(np.float32) for row in rows)
    ones = np.ones(int((store.index.height * store.index.width).max()), np.float32)
    means = np.stack([ones[: len(each)] @ each / len(each) for each in flat])
    return means.astype(np.float64)


def _squared_distances(
    asks: NDArray[np.float64], answers: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of every row of one to every row of the other."""
    lengths = [(each**2).sum(1) for each in (asks, answers)]
    return np.asarray(lengths[0][:, None] + lengths[1] - 2 * asks @ answers.T)


def mean(cards: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over splits, to two decimals."""
    return {name: round(float(np.mean([card[name] for card in cards])), 2) for name in cards[0]}
