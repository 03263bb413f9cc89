"""A picture of the crops of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from pyramid_reid.core import figures

ROLE_COLORS = {"train": figures.NO_BRANCH, "query": "#D55E00", "gallery": "#0072B2"}
"""Of Okabe and Ito's palette, other than the branches'."""


def draw(path: Path, name: str, index: pd.DataFrame) -> None:
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
