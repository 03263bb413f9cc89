"""What a split holds, and how far the mean colour alone gets on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyramid_reid import figures
from pyramid_reid.crops import CropStore
from pyramid_reid.retrieval.metrics import Judge, Rule, summary

ROLE_COLORS = {"train": figures.NO_BRANCH, "query": "#D55E00", "gallery": "#0072B2"}
"""Of Okabe and Ito's palette, other than the branches'."""

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


def picture(path: Path, name: str, index: pd.DataFrame) -> None:
    """Draw how many crops of which height and ratio each role has.

    Args:
        name: of the set, for the title.
        index: of a split's crop store.
    """
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    heights, ratios = figure.subplots(2, 1)
    bins = np.histogram_bin_edges(index.height, bins=30)
    values = sorted(index.ratio.unique())
    roles = [role for role in ROLE_COLORS if (index.role == role).any()]
    for place, role in enumerate(roles):
        crops, color = index[index.role == role], ROLE_COLORS[role]
        label = (
            f"{role}: {len(crops)} crops, {crops.pid.nunique()} people,"
            f" {crops.camid.nunique()} camera(s)"
        )
        heights.hist(crops.height, bins=bins, histtype="step", color=color, label=label, lw=1.8)
        counts = [(crops.ratio == value).sum() for value in values]
        places = np.arange(len(values)) + (place - (len(roles) - 1) / 2) * 0.27
        ratios.bar(places, counts, width=0.25, color=color)
        for x, count in zip(places, counts, strict=True):
            if count:
                ratios.text(x, count, f"{count}", ha="center", va="bottom", fontsize="x-small")
    heights.set(xlabel="height (pixels)", ylabel="crops")
    heights.set_title(f"{name}: crops of the first split", loc="left", fontsize="medium")
    heights.legend(frameon=False, fontsize="small")
    named = ["as it is" if value == 1 else f"÷{value}" for value in values]
    ratios.set_xticks(range(len(values)), named)
    ratios.set(xlabel="down-sampled by", ylabel="crops")
    ratios.margins(y=0.12)
    for axes in (heights, ratios):
        axes.spines[["top", "right"]].set_visible(False)
    figures.save(figure, path)
