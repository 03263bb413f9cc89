"""What a split holds, and how far the mean colour alone gets on it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.crops import ROLES, CropStore
from pyramid_reid.retrieval.metrics import evaluate, summary


def describe(store: CropStore) -> dict[str, float]:
    """Counts and median heights per role, and the figures of ranking by mean colour."""
    card: dict[str, float] = {}
    for role, crops in store.index.groupby("role"):
        card[f"{role}_images"] = len(crops)
        card[f"{role}_identities"] = crops.pid.nunique()
        card[f"{role}_median_height"] = float(crops.height.median())
    baseline = mean_colour(store)
    return card | {f"mean_colour_{name}": baseline[name] for name in ("rank1", "mAP")}


def mean_colour(store: CropStore) -> dict[str, float]:
    """Rank-k, mAP and mINP in percent of the nearest mean RGB: what no network should need."""

    def colours(rows: list[int]) -> NDArray[np.float64]:
        return np.stack([store[row].mean((0, 1)) for row in rows])

    query, gallery = (store.rows(role) for role in ROLES[1:])
    distmat = np.linalg.norm(colours(query)[:, None] - colours(gallery)[None], axis=2)
    labels = [
        store.index[name].to_numpy()[rows] for rows in (query, gallery) for name in ("pid", "camid")
    ]
    return summary(evaluate(distmat, *labels))


def mean(cards: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over splits, to two decimals."""
    return {name: round(float(np.mean([card[name] for card in cards])), 2) for name in cards[0]}
