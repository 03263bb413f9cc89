"""From the branches' distance files to the reported figures, over all splits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyramid_reid.core.crops import splits
from pyramid_reid.core.errors import DAMAGED, UserError, reason
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.evaluation.split_features import MOVED, Sides, joined_features, moved_runs
from pyramid_reid.retrieval.distance import DistanceReader
from pyramid_reid.retrieval.fusion import fuse
from pyramid_reid.retrieval.metrics import (
    Judge,
    QueryResults,
    Rule,
    cmc,
    rows_at_a_time,
    summaries,
)
from pyramid_reid.retrieval.rerank import Rerank, rerank

MAX_RANK = 20
"""Length of the CMC curves."""
SAME_IN_ALL = ["pid", "camid", "ratio", "source"]
"""Labels by which the crops of the branches are known to be the same; sizes differ."""


@dataclass(frozen=True, slots=True)
class Judging:
    """How rankings are judged.

    Attributes:
        rule: which gallery images count; see `retrieval.metrics`.
        draws: single-shot galleries that are drawn.
        seed: of the pipeline.
    """

    rule: Rule = "market1501"
    draws: int = 1
    seed: int = 0

    def judge(self, split: str, query: pd.DataFrame, gallery: pd.DataFrame) -> Judge:
        """A judge of the split; the same draws for whatever is ranked."""
        return Judge(
            query.pid.to_numpy(),
            query.camid.to_numpy(),
            gallery.pid.to_numpy(),
            gallery.camid.to_numpy(),
            self.rule,
            self.draws,
            derive_seed(self.seed, "gallery", split),
        )


@dataclass(frozen=True, slots=True)
class Split:
    """What one split's queries and gallery are, and what the rankings reached.

    Attributes:
        query, gallery: columns pid, camid, ratio, height, width, source; of branch ori.
        results: of `fused`, then of each branch, then perhaps of `centred`, `whitened`,
            `reranked`, `centred_reranked` and `whitened_reranked`.
    """

    name: str
    query: pd.DataFrame
    gallery: pd.DataFrame
    results: dict[str, QueryResults]


def common_splits(folders: Mapping[str, Path]) -> list[str]:
    """Names of the splits that every branch's folder holds.

    Raises:
        UserError: the branches hold different ones.
    """
    names = {branch: splits(folder) for branch, folder in folders.items()}
    first = next(iter(names))
    odd = [branch for branch in names if names[branch] != names[first]]
    if odd:
        raise UserError(f"{folders[odd[0]]} and {folders[first]} hold different splits")
    return names[first]


def evaluate_splits(
    folders: Mapping[str, Path],
    weights: Mapping[str, float],
    judging: Judging,
    reranking: Rerank | None = None,
    *,
    centred: bool = False,
    whitened: bool = False,
) -> list[Split]:
    """Judge each branch and their weighted sum, split by split, in runs of rows.

    Args:
        folders: of each branch's distances, with a subfolder per split.
        weights: of each branch.
        reranking: also judge the re-ranked fused distance, as `reranked`; with `centred` and
            `whitened` also those, as `centred_reranked` and `whitened_reranked`. Each single-shot
            gallery is re-ranked by itself: a crop that was not drawn is no neighbour of those that
            were.
        centred: also judge the fused distance of features less the mean of their camera, as
            `centred`.
        whitened: also judge that of those features whitened within people, as `whitened`.

    Raises:
        UserError: the branches do not belong together, a distance is NaN, no query has a true
            match, or features that are asked for are missing or damaged.
    """
    done = []
    for name in common_splits(folders):
        query, gallery = labels({branch: folder / name for branch, folder in folders.items()})
        moved = [each for each, asked in zip(MOVED, (centred, whitened), strict=True) if asked]
        again = {reranked_name(each): each for each in ("fused", *moved)}
        rankings = ("fused", *folders, *moved, *(again if reranking else ()))
        try:
            judges = {each: judging.judge(name, query, gallery) for each in rankings}
        except ValueError as error:
            raise UserError(f"{name}: {error}") from error
        files = {branch: folder / name / "distmat.npy" for branch, folder in folders.items()}
        for start, parts in distance_runs(files, len(query), len(gallery)):
            for each, run in {**parts, "fused": fuse(parts, weights)}.items():
                try:
                    judges[each].judge(start, run)
                except ValueError as error:
                    raise UserError(f"{each}, {name}: {error}") from error
        in_split = {branch: folder / name for branch, folder in folders.items()}
        for each in moved:
            for start, run in moved_runs(in_split, weights, query, gallery, each):
                judges[each].judge(start, run)
        if reranking:
            for each, ranking in again.items():
                given = in_split, weights, query, gallery, ranking
                try:  # features of one ranking at a time: no name keeps them
                    _judge_reranked(
                        judges[each], joined_features(*given), sum(weights.values()), reranking
                    )
                except ValueError as error:
                    raise UserError(f"{each}, {name}: {error}") from error
        results = {each: judge.results for each, judge in judges.items()}
        done.append(Split(name, query, gallery, results))
    return done


def reranked_name(ranking: str) -> str:
    """What a ranking is called when it is re-ranked."""
    return "reranked" if ranking == "fused" else f"{ranking}_reranked"


def _judge_reranked(judge: Judge, joined: Sides, total: float, settings: Rerank) -> None:
    """Judge re-ranked queries, each drawn gallery by itself; arguments as of `rerank`."""
    query, gallery = joined
    for draw in range(judge.num_draws):
        for start, run in rerank(query, gallery[judge.gallery(draw)], total, settings):
            judge.judge(start, run, draw)


def distance_runs(
    files: Mapping[str, Path], num_query: int, num_gallery: int
) -> Iterator[tuple[int, dict[str, Annotated[NDArray[np.float32], "rows num_gallery"]]]]:
    """First row and distances of run after run of the same rows of all branches.

    Raises:
        UserError: a file is no distance matrix of this size.
    """
    with ExitStack() as stack:
        readers = {}
        for branch, path in files.items():
            try:
                readers[branch] = stack.enter_context(DistanceReader(path))
            except DAMAGED as error:
                raise UserError(
                    f"{path} is not a distance matrix ({reason(error)}); run `dvc repro`"
                ) from error
            if readers[branch].shape != (num_query, num_gallery):
                raise UserError(
                    f"{path} is {readers[branch].shape} for {num_query} queries and {num_gallery}"
                    " gallery crops; run `dvc repro`"
                )
        rows = rows_at_a_time(num_gallery)
        runs = zip(*(reader.runs(rows) for reader in readers.values()), strict=True)
        for number, parts in enumerate(runs):
            yield number * rows, dict(zip(readers, parts, strict=True))


def labels(folders: Mapping[str, Path]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Query and gallery of a split, with the sizes of the first branch.

    Raises:
        UserError: a table is missing or damaged, or the branches rank different crops.
    """
    tables: list[pd.DataFrame] = []
    first = next(iter(folders.values()))
    for role in ("query", "gallery"):
        of_branch = [_labels_in(folder / f"{role}.csv") for folder in folders.values()]
        for folder, table in zip(folders.values(), of_branch, strict=True):
            if not table[SAME_IN_ALL].equals(of_branch[0][SAME_IN_ALL]):
                raise UserError(f"{folder} ranks different {role} crops from {first}")
        tables.append(of_branch[0])
    return tables[0], tables[1]


def _labels_in(path: Path) -> pd.DataFrame:
    try:
        # columns that are no numbers where they should be raise ValueError here, not later
        table = pd.read_csv(path, dtype={"pid": "int64", "camid": "int64", "source": str})
        missing = {*SAME_IN_ALL, "height", "width"} - set(table.columns)
    except DAMAGED as error:
        raise UserError(
            f"{path} is not a table of crops ({reason(error)}); run `dvc repro`"
        ) from error
    if missing:
        raise UserError(f"{path} lacks the column {min(missing)}; run `dvc repro`")
    return table


def report(done: Sequence[Split]) -> dict[str, dict[str, float]]:
    """Figures in percent to two decimals: mean over splits of the mean over draws.

    With several splits `…_std` is the sample deviation over splits of the means over draws. With
    several single-shot draws `…_draws_std` is the sample deviation over the draws of a split, mean
    over splits.
    """
    metrics = {}
    for name in done[0].results:
        draws = [summaries(split.results[name]) for split in done]
        of_splits = pd.DataFrame(
            {figure: [of[figure].mean() for of in draws] for figure in draws[0]}
        )
        told = of_splits.mean()
        if len(done) > 1:
            told = pd.concat([told, of_splits.std().add_suffix("_std")])
        if len(draws[0]["mAP"]) > 1:
            noise = {
                f"{figure}_draws_std": np.mean([of[figure].std(ddof=1) for of in draws])
                for figure in draws[0]
            }
            told = pd.concat([told, pd.Series(noise)])
        metrics[name] = {figure: rounded(value) for figure, value in told.items()}
    return metrics


def means(figures: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of Rank-1 and mAP over splits, as `report` rounds them."""
    return {
        name: rounded(float(np.mean([of[name] for of in figures]))) for name in ("rank1", "mAP")
    }


def rounded(value: float) -> float:
    """A figure to two decimals, the same whatever order its terms were added up in.

    What two orders leave different is far beyond the ninth decimal; a half in the third decimal
    must not go up in one stage and down in the other for it.
    """
    return round(round(float(value), 9), 2)


def cmc_curves(done: Sequence[Split]) -> pd.DataFrame:
    """CMC in percent, mean over splits: columns rank (1 … `MAX_RANK`) and a column per name."""
    curves = {
        name: 100 * np.mean([cmc(s.results[name].first_rank, MAX_RANK) for s in done], axis=0)
        for name in done[0].results
    }
    return pd.DataFrame({"rank": np.arange(1, MAX_RANK + 1), **curves})
