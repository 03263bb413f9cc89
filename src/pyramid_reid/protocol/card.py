"""Counts of what a split contains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.crops import CropStore
from pyramid_reid.protocol.roles import told
from pyramid_reid.retrieval.metrics import Judge, Rule


def describe(store: CropStore, rule: Rule) -> dict[str, float]:
    """Counts per role, heights in pixels, and the size of rankings.

    `gallery_ranked_mean` and `gallery_ranked_min` are the gallery crops that a query is ranked
    against by the rule, its true matches included: fewer than `gallery_images` where some do not
    count. `gallery_distractors` are crops of people whom no query shows.

    Args:
        rule: by which rankings are judged.
    """
    card: dict[str, float] = {}
    for role, crops in store.index.groupby("role"):
        card[f"{role}_images"] = len(crops)
        card[f"{role}_identities"] = crops.pid.nunique()
        card[f"{role}_cameras"] = crops.camid.nunique()
        card[f"{role}_median_height"] = float(crops.height.median())
    index = store.index
    strangers = (index.role == "gallery") & ~index.pid.isin(index.pid[index.role == "query"])
    ranked = _ranked(store, rule)
    return (
        card
        | {"gallery_distractors": int(strangers.sum())}
        | {"gallery_ranked_mean": float(ranked.mean())}
        | {"gallery_ranked_min": int(ranked.min())}
    )


def _ranked(store: CropStore, rule: Rule) -> NDArray[np.int64]:
    """Gallery crops that each query is ranked against; every draw of a gallery has as many."""
    query_pids, query_camids, gallery_pids, gallery_camids = (
        store.index[name].to_numpy()[store.rows(role)]
        for role in ("query", "gallery")
        for name in ("pid", "camid")
    )
    judge = Judge(query_pids, query_camids, gallery_pids, gallery_camids, rule, draws=1)
    return judge.results.gallery_size


def mean(cards: Sequence[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over splits, to two decimals; of the least ones the least."""
    return {
        name: round(
            float((min if name.endswith("_min") else np.mean)([card[name] for card in cards])), 2
        )
        for name in cards[0]
    }


def sentence(card: Mapping[str, float]) -> str:
    """How large the rankings are, and what the protocol leaves out.

    Args:
        card: of `describe`, with what `roles.left_out` counts; of several splits their mean.
    """
    mean, least = card["gallery_ranked_mean"], card["gallery_ranked_min"]
    size = f"{mean:.0f}" if mean == least else f"{mean:.0f} (at least {least:.0f})"
    ranks = f"a query is ranked against {size} of {card['gallery_images']:.0f} gallery crops"
    return f"{ranks}; left out: {told(card)}"
