"""From the branches' distance files to the reported figures, over all splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyramid_reid.crops import splits
from pyramid_reid.errors import UserError
from pyramid_reid.retrieval.fusion import fuse
from pyramid_reid.retrieval.metrics import QueryResults, cmc, evaluate, summary

MAX_RANK = 20
"""Length of the CMC curves."""

Results = dict[str, list[QueryResults]]
"""Per branch, and fused, the results of each split."""


def evaluate_splits(folders: Mapping[str, Path], weights: Mapping[str, float]) -> Results:
    """Judge each branch and their weighted sum, split by split.

    Args:
        folders: of each branch's distances, with a subfolder per split.

    Returns:
        Keys `fused`, then the branches in the order of `folders`.

    Raises:
        UserError: the branches do not belong together, or a distance is NaN.
    """
    names = {branch: splits(folder) for branch, folder in folders.items()}
    first = next(iter(names))
    odd = [branch for branch in names if names[branch] != names[first]]
    if odd:
        raise UserError(f"{folders[odd[0]]} and {folders[first]} hold different splits")
    results: Results = {name: [] for name in ("fused", *folders)}
    for split in names[first]:
        labels = _labels({branch: folder / split for branch, folder in folders.items()})
        distmats: dict[str, NDArray[np.float32]] = {
            branch: _distmat(folder / split / "distmat.npy", len(labels[0]), len(labels[2]))
            for branch, folder in folders.items()
        }
        for name, distmat in {**distmats, "fused": fuse(distmats, weights)}.items():
            try:
                results[name].append(evaluate(distmat, *labels))
            except ValueError as error:
                raise UserError(f"{name}, {split}: {error}") from error
    return results


def _distmat(path: Path, num_query: int, num_gallery: int) -> NDArray[np.float32]:
    """The distances in a file, mapped into memory, of the size that its labels have."""
    try:
        distmat: NDArray[np.float32] = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no distance matrix ({error}); run `dvc repro`") from error
    if distmat.shape != (num_query, num_gallery):
        raise UserError(
            f"{path} is {distmat.shape} for {num_query} queries and {num_gallery} gallery crops;"
            " run `dvc repro`"
        )
    return distmat


def _labels(folders: Mapping[str, Path]) -> list[NDArray[np.int64]]:
    """Query pids and camids, gallery pids and camids; the same in every branch."""
    tables: list[pd.DataFrame] = []
    for role in ("query", "gallery"):
        # not height and width, which are each branch's own
        tables_of = [pd.read_csv(folder / f"{role}.csv") for folder in folders.values()]
        of_branch = [
            table.drop(columns=["height", "width"], errors="ignore") for table in tables_of
        ]
        for folder, table in zip(folders.values(), of_branch, strict=True):
            if not table.equals(of_branch[0]):
                raise UserError(f"{folder} ranks other {role} crops than {next(iter(folders))}")
        tables.append(of_branch[0])
    return [table[name].to_numpy() for table in tables for name in ("pid", "camid")]


def report(results: Results) -> dict[str, dict[str, float]]:
    """Figures in percent to two decimals: mean over splits, and sample deviation if several."""
    metrics = {}
    for name, of_splits in results.items():
        figures = pd.DataFrame([summary(result) for result in of_splits])
        metrics[name] = figures.mean().round(2).to_dict()
        if len(figures) > 1:
            metrics[name] |= figures.std().round(2).add_suffix("_std").to_dict()
    return metrics


def cmc_curves(results: Results) -> pd.DataFrame:
    """CMC in percent, mean over splits: columns rank (1 … `MAX_RANK`) and a column per name."""
    curves = {name: _mean_cmc(of_splits) for name, of_splits in results.items()}
    return pd.DataFrame({"rank": np.arange(1, MAX_RANK + 1), **curves})


def _mean_cmc(of_splits: Sequence[QueryResults]) -> NDArray[np.float64]:
    curves = [cmc(result.first_rank, MAX_RANK) for result in of_splits]
    return np.asarray(100 * np.mean(curves, axis=0))
