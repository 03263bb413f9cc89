"""How much fusion weights matter: the whole grid, the point chosen on validation, and the best one.

The weights that are best on the test set (`oracle_test`) are not a result, because they are chosen
on the test labels. They show how much such a choice inflates the figures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.evaluation.rankings import Judging, common_splits, distance_runs, labels, rounded
from pyramid_reid.retrieval.metrics import rows_at_a_time
from pyramid_reid.retrieval.sweep import Sweep, best, simplex

VALIDATION = "validation"
"""Subfolder of a split with distances among validation identities, where they were held out."""


def sweep(
    folders: Mapping[str, Path], judging: Judging, step: float
) -> tuple[pd.DataFrame, dict[str, dict[str, float]]]:
    """Figures on the test set of all weights that are multiples of `step` and add up to 1.

    Args:
        folders: of each branch's distances, with a subfolder per split.

    Returns:
        The grid, a row per point: w_BRANCH, rank1, mAP (percent, mean over splits). And the chosen
        points, each with its weights, rank1 and mAP: `nearest_equal`, the point nearest to equal
        weights; `validation`, if every split holds validation identities out: the point of highest
        mAP on those, chosen per split (weights are their mean); `oracle_test`, the point of highest
        mean mAP on the test set itself.

    Raises:
        UserError: the branches do not belong together, or a distance is NaN.
    """
    points = simplex(len(folders), step)
    names = [f"w_{branch}" for branch in folders]
    splits = common_splits(folders)
    test = [_figures(folders, split, judging, points) for split in splits]
    mean = {key: np.mean([figures[key] for figures in test], axis=0) for key in test[0]}
    surface = pd.DataFrame({**dict(zip(names, points.T, strict=True)), **mean})

    def at(indices: list[int]) -> dict[str, float]:
        """Mean over splits of a point for each."""
        weights = points[indices].mean(axis=0)
        figures = {
            key: np.mean([of[key][n] for of, n in zip(test, indices, strict=True)]) for key in mean
        }
        return {
            # all decimals: with these very weights `fuse` gives these very figures
            **{name: round(float(w), 12) for name, w in zip(names, weights, strict=True)},
            **{key: rounded(value) for key, value in figures.items()},
        }

    everywhere = len(splits)
    chosen = {"nearest_equal": at([best(points, np.zeros(len(points)))] * everywhere)}
    first = next(iter(folders.values()))
    if all((first / split / VALIDATION).is_dir() for split in splits):
        indices = [
            best(points, _figures(folders, f"{split}/{VALIDATION}", judging, points)["mAP"])
            for split in splits
        ]
        chosen["validation"] = at(indices)
    chosen["oracle_test"] = at([best(points, mean["mAP"])] * everywhere)
    return surface, chosen


def _figures(
    folders: Mapping[str, Path], split: str, judging: Judging, points: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Rank-1 and mAP of each point in one split, (points,)."""
    query, gallery = labels({branch: folder / split for branch, folder in folders.items()})
    files = {branch: folder / split / "distmat.npy" for branch, folder in folders.items()}
    try:
        grid = Sweep(judging.judge(split, query, gallery), points)
        runs = distance_runs(files, len(query), len(gallery))
        total = -(-len(query) // rows_at_a_time(len(gallery)))
        for start, parts in progress(runs, split, "runs of queries", total):
            grid.add(start, np.stack(list(parts.values())))
    except ValueError as error:
        raise UserError(f"{split}: {error}") from error
    return grid.figures()


def reachable(surface: pd.DataFrame) -> pd.DataFrame:
    """Best mAP of the grid at each weight of each branch: columns weight and one per branch."""
    columns = [name for name in surface.columns if name.startswith("w_")]
    curves = {
        name.removeprefix("w_"): surface.groupby(surface[name].round(6)).mAP.max()
        for name in columns
    }
    return pd.DataFrame(curves).rename_axis("weight").reset_index()
