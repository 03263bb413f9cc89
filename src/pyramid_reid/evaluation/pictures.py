"""Pictures of the evaluation, without people."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyramid_reid.core.figures import COLORS, plot, save

MARKERS = {
    "fused": "o",
    "ori": "s",
    "h1": "^",
    "h2": "D",
    "h3": "v",
    "reranked": "P",
    "centred": "X",
    "whitened": "*",
}
"""With `COLORS`, so that no one needs to tell colours apart."""
WIDE = 7
"""Letters of a name that the left margin has room for."""


def look(name: str) -> dict[str, Any]:
    """Colour, marker and line of a ranking; re-ranked, dashed in the look of what it was."""
    before = name.removesuffix("_reranked")
    line = "--" if before != name else "-"
    return {"color": COLORS[before], "marker": MARKERS[before], "linestyle": line}


def cmc(path: Path, curves: pd.DataFrame) -> None:
    """Draw CMC curves: columns rank and one per ranking, in percent."""
    figure, axes = plot(4.2, "rank k", "queries matched within k (%)", "Cumulative matching")
    for name in curves.columns.drop("rank"):
        axes.plot(
            curves["rank"],
            curves[name],
            **look(name),
            markevery=(0, 5),
            markersize=4,
            label=f"{name} (Rank-1 {curves[name].iloc[0]:.1f} %)",
            linewidth=2.5 if name == "fused" else 1.5,
        )
    axes.set_xlim(1, curves["rank"].max())
    axes.set_ylim(0, 101)
    axes.set_xticks([1, *range(5, int(curves["rank"].max()) + 1, 5)])
    axes.legend(loc="lower right", frameon=False)
    save(figure, path)


def uncertainty(
    path: Path, metrics: Mapping[str, Mapping[str, float]], told: Mapping[str, Any]
) -> None:
    """Draw Rank-1 and mAP with their 95 % intervals over identities."""
    title = f"95 % intervals over {told['identities']} identities"
    names = list(told["intervals"])
    figure, axes = plot(max(3.2, 0.55 * len(names)), "percent, higher is better", "", title)
    for key, label, shift, marker in (("rank1", "Rank-1", -0.16, "o"), ("mAP", "mAP", 0.16, "D")):
        for place, name in enumerate(names):
            low, high = told["intervals"][name][key]
            line = {key: value for key, value in look(name).items() if key != "marker"}
            axes.plot([low, high], [place + shift] * 2, linewidth=2, **line)
            axes.plot(
                metrics[name][key],
                place + shift,
                marker=marker,
                color=look(name)["color"],
                fillstyle="full" if key == "rank1" else "none",
            )
            axes.annotate(
                f"{label} {metrics[name][key]:.1f}",
                (high, place + shift),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize="small",
            )
    labels = [name.replace("_", "\n") for name in names]
    axes.set_yticks(range(len(names)), labels)
    if max(map(len, names)) > WIDE:
        figure.subplots_adjust(left=0.16)
    axes.invert_yaxis()
    low, high = axes.get_xlim()
    axes.set_xlim(low, high + 0.16 * (high - low))  # room for the last label
    save(figure, path)


def weights(path: Path, surface: pd.DataFrame, chosen: Mapping[str, Mapping[str, float]]) -> None:
    """Draw the best mAP that is reachable at each two weights, for each pair of branches.

    Args:
        surface: columns w_BRANCH, rank1, mAP; a row per point of the grid.
        chosen: points to mark, by what they are.
    """
    columns = [name for name in surface.columns if name.startswith("w_")]
    pairs = list(combinations(columns, 2))
    figure = Figure(figsize=(9.6, 6.4), layout="constrained")
    grid: NDArray[Any] = figure.subplots(2, 3)
    levels = np.sort(surface[columns[0]].unique())
    low, high = surface.mAP.min(), surface.mAP.max()
    for axes, (x, y) in zip(grid.flat, pairs, strict=True):
        best = surface.pivot_table(index=y, columns=x, values="mAP", aggfunc="max").to_numpy()
        picture = axes.pcolormesh(levels, levels, best, vmin=low, vmax=high, cmap="cividis")
        for (label, point), marker in zip(chosen.items(), ("o", "*", "s"), strict=False):
            axes.plot(
                point[x], point[y], marker, color="white", markeredgecolor="black", label=label
            )
        axes.set(xlabel=x, ylabel=y, aspect="equal")
    figure.colorbar(picture, ax=grid, label="best mAP (%) over the other two weights", shrink=0.8)
    handles, names = axes.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=3)
    save(figure, path)
