"""Pictures of the recorded experiments: why rows differ. Without people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from benchmarks.results.comparison import (
    Records,
    Row,
    agreement,
    gains,
    of_experiments,
    per_query,
)
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyramid_reid.core.figures import save
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.evaluation import queries

STYLES = {
    "seeds": ("#000000", "o"),
    "mixed": ("#E69F00", "s"),
    "bicubic": ("#999999", "^"),
    "swinir": ("#0072B2", "D"),
    "han": ("#CC79A7", "v"),
    "zero_shot": ("#009E73", "P"),
    "plain": ("#56B4E9", "X"),
    "features": ("#E69F00", "*"),
    "joint": ("#F0E442", "h"),
    "own_sizes": ("#D55E00", "<"),
    "han_own": ("#CC79A7", ">"),
    "swinir_own": ("#0072B2", "d"),
}
"""Colour and marker of each experiment (Okabe and Ito's palette)."""


def by_height(path: Path, sets: Mapping[str, Records], rows: Sequence[Row]) -> None:
    """Draw Rank-1 of each row by height of the query, side by side for each set."""
    figure, grid = _side_by_side(sets, "height of the query (pixels, median of a group)")
    for axes, records in zip(grid, sets.values(), strict=True):
        for row in of_experiments(records, rows):
            table = queries.by_resolution(per_query(records, row))["rank1"]
            color, marker = STYLES[row.experiment]
            line = ":" if row.ranking in BRANCHES else "-"
            axes.plot(table.height, table["row"], line, color=color, marker=marker, label=row.name)
        axes.set_ylim(bottom=0)
    grid[0].set_ylabel("Rank-1 (%)")
    _legend(figure, grid[0])
    save(figure, path)


def psnr_and_rank1(
    path: Path,
    sets: Mapping[str, Records],
    rows: Sequence[Row],
    baseline: Row,
    luck: Sequence[Row],
) -> None:
    """Draw Rank-1 above the baseline against PSNR above bicubic, a point per branch and split.

    Args:
        rows: restored branches alone.
        luck: the baseline by other seeds; with it a band of their means.
    """
    figure, grid = _side_by_side(sets, "PSNR above bicubic (dB)")
    for axes, records in zip(grid, sets.values(), strict=True):
        axes.axhline(0, color="#666666", linewidth=1)
        seeds = [gains(records, row, baseline).rank1.mean() for row in (baseline, *luck)]
        axes.axhspan(min(seeds), max(seeds), color="#DDDDDD", label="seeds of the baseline")
        named = set[str]()
        for row in of_experiments(records, rows):
            points = gains(records, row, baseline)
            color, marker = STYLES[row.experiment]
            axes.plot(points.psnr, points.rank1, marker, color=color, alpha=0.3, markersize=4)
            mean = points.mean()
            label = row.experiment if row.experiment not in named else None
            named.add(row.experiment)
            axes.plot(mean.psnr, mean.rank1, marker, color=color, markersize=8, label=label)
            scale = f"×{BRANCHES.index(row.ranking) + 1}"
            axes.annotate(scale, (mean.psnr, mean.rank1), (6, 4), textcoords="offset points")
    grid[0].set_ylabel(f"Rank-1 above {baseline.name} (points)")
    _legend(figure, grid[0], columns=4)
    save(figure, path)


def agreements(path: Path, sets: Mapping[str, Records], experiments: Sequence[str]) -> None:
    """Draw how the average precisions of each two branches correlate over queries."""
    figure, grid = _side_by_side(sets, "two branches")
    for axes, records in zip(grid, sets.values(), strict=True):
        for experiment in (name for name in experiments if name in records):
            table: pd.DataFrame = agreement(records, experiment)
            color, marker = STYLES[experiment]
            label = f"{experiment} (mean {table.correlation.mean():.2f})"
            axes.plot(table.pair, table.correlation, marker + "-", color=color, label=label)
        axes.legend(frameon=False, fontsize="small")
        axes.tick_params(axis="x", rotation=30)
    grid[0].set_ylabel("correlation of average precision")
    save(figure, path)


def _side_by_side(sets: Mapping[str, Records], xlabel: str) -> tuple[Figure, NDArray[Any]]:
    """Axes for each set in a row."""
    figure = Figure(figsize=(4.8 * len(sets), 4.4), layout="constrained")
    grid: NDArray[Any] = figure.subplots(1, len(sets), squeeze=False)[0]
    for axes, (name, records) in zip(grid, sets.items(), strict=True):
        splits = len(next(iter(records.values())))
        counted = "1 split" if splits == 1 else f"{splits} splits"
        axes.set_title(f"{name}, {counted}", loc="left", fontsize="medium")
        axes.set_xlabel(xlabel)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    return figure, grid


def _legend(figure: Figure, axes: Axes, columns: int = 3) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=columns, frameon=False)
