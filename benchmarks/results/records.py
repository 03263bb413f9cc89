"""What is kept of an experiment on one split: figures, what each query reached, and cost.

Two small files per experiment and split, `split_N.json` and `split_N.csv`: enough to compare
experiments query by query, and no pixel of a person.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pyramid_reid.core import protocol_record
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES, Params
from pyramid_reid.core.tables import write_csv, write_json
from pyramid_reid.evaluation import queries
from pyramid_reid.evaluation.rankings import (
    Judging,
    Split,
    common_splits,
    evaluate_splits,
    report,
    reranked_name,
)
from pyramid_reid.evaluation.split_features import joined_features
from pyramid_reid.retrieval.metrics import Judge
from pyramid_reid.retrieval.rerank import Rerank, rerank

FIXED_WEIGHTS: dict[str, dict[str, float]] = {
    "equal": dict.fromkeys(BRANCHES, 0.25),
    "2:1:1:1": {"ori": 0.4, "h1": 0.2, "h2": 0.2, "h3": 0.2},
}
"""Fusion weights that nobody chose on this data; the second ones are those of the public code."""

RERANKED = reranked_name("fused")
"""The ranking of equal weights, re-ranked by the published parameters: `evaluation.rerank`."""
ALONE = "_alone"
"""Follows the name of a re-ranked ranking: each query by itself, as `pyramid-reid search --rerank`
has it, so that no other query is a neighbour."""

CENTRED = "centred"
"""The ranking of equal weights, of features less the mean of their camera: `distances.centred`."""
WHITENED = "whitened"
"""The same, of these features whitened within people: `distances.whitened`."""
WHITENED_RERANKED = reranked_name(WHITENED)

CHOSEN_WEIGHTS = ("validation", "oracle_test")
"""Those that `sweep_weights` chooses, by their names in metrics/weights.json."""

STAGE = re.compile(r"^(?P<stage>\w+(?: \w+)?): .* \((?P<seconds>\d+) s\)$")
"""The last line of a stage."""


BY_HAND = "by hand"
"""Among a record's `cpu_seconds`: what a row needs beside its stages."""


@dataclass(frozen=True, slots=True)
class Record:
    """An experiment on one split.

    Attributes:
        about: what its JSON file holds: `params`, `metrics` (per ranking, percent), `weights`
            (per name), `restoration` (metrics/reconstructor.json), `dataset`, `seconds` and
            `cpu_seconds` (per stage that ran, and `BY_HAND`), where it ran, and the revision of
            the code, with whether it was `clean`; `judged_by`, where a later revision judged the
            same distances again.
        queries: a row per query, columns `queries.KEYS` without `split`, then RANKING.FIGURE in
            percent; rankings are the branches, the names of the fusion weights, `CENTRED` and
            `WHITENED` where the params have them; and, where all branches were run, `RERANKED`,
            with those two `centred_reranked` and `WHITENED_RERANKED`, and of the first and last of
            the three what each query reached with `ALONE` (older records lack some).
    """

    split: int
    about: dict[str, Any]
    queries: pd.DataFrame


def hardware(device: str) -> str:
    """The GPU; or processor and number of cores."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name}, {os.cpu_count()} cores"


def seconds(output: str) -> dict[str, int]:
    """Seconds of each stage that ran, from what a run printed."""
    found = (STAGE.match(line.strip()) for line in output.splitlines())
    return {match["stage"]: int(match["seconds"]) for match in found if match}


def collect(
    project: Path,
    params: Params,
    split: int,
    about: Mapping[str, object],
    output: str,
    branches: Sequence[str] = BRANCHES,
) -> Record:
    """Read what a finished run of one split left in the project's folder.

    The fusions are judged again from the distances, once with each weights: the same program and
    the same figures as when `fuse` is run with them.

    Args:
        params: of the run.
        about: what else to note down.
        output: what the run printed.
        branches: that were run: all of them, or ori alone.

    Raises:
        UserError: it was a run of other splits, or the distances are damaged.
    """
    alone = len(branches) < len(BRANCHES)
    metrics = {
        name: json.loads((project / f"metrics/{name}.json").read_text(encoding="utf-8"))
        for name in ("dataset", *(() if alone else ("reconstructor", "weights")))
    }
    weights = {"equal": dict.fromkeys(branches, 1.0)} if alone else dict(FIXED_WEIGHTS)
    weights |= {
        name: {branch: metrics["weights"][name][f"w_{branch}"] for branch in BRANCHES}
        for name in CHOSEN_WEIGHTS
        if name in metrics.get("weights", {})
    }
    folders = {branch: project / "data/distances" / branch for branch in branches}
    if common_splits(folders) != [f"split_{split}"]:
        raise UserError(f"{project / 'data/distances'} does not hold split {split} alone")
    recorded = protocol_record.read(project / "data/crops")
    rule = protocol_record.evaluation_rule(params.evaluation.rule, recorded)
    judging = Judging(rule, params.evaluation.draws, params.seed)
    moved = {CENTRED: params.distances.centred, WHITENED: params.distances.whitened}
    figures, tables = _judged(folders, weights, judging, [each for each in moved if moved[each]])
    noted = {
        **about,
        "dataset": metrics["dataset"],
        "metrics": figures,
        "restoration": metrics.get("reconstructor", {}),
        "seconds": seconds(output),
        "weights": weights,
    }
    return Record(split, noted, pd.concat(tables, axis=1))


def _judged(
    folders: Mapping[str, Path],
    weights: Mapping[str, Mapping[str, float]],
    judging: Judging,
    moved: Sequence[str] = (),
) -> tuple[dict[str, dict[str, float]], list[pd.DataFrame]]:
    """Figures of each branch and of the fusion with each weights; what each query reached, apart.

    Args:
        weights: the first ones are equal; where all branches were run, also judged re-ranked,
            and so are those of `moved`.
        moved: of `CENTRED` and `WHITENED`; the first weights are also judged so.

    Returns:
        Per ranking its figures in percent; and tables of the same queries, to stand side by side.
    """
    figures: dict[str, dict[str, float]] = {}
    tables: list[pd.DataFrame] = []
    all_branches = len(folders) == len(BRANCHES)
    for name, of_branches in weights.items():
        of_all = Rerank() if all_branches and not tables else None
        further = dict.fromkeys(() if tables else moved, True)
        done = evaluate_splits(folders, of_branches, judging, of_all, **further)
        reached = queries.table(done).drop(columns="split")
        fused = reached[[f"fused.{figure}" for figure in queries.FIGURES]]
        if not tables:
            tables.append(reached.drop(columns=fused.columns))
            rankings = [ranking for ranking in done[0].results if ranking != "fused"]
            figures |= {ranking: _means(done, ranking) for ranking in rankings}
        tables.append(fused.set_axis([f"{name}.{figure}" for figure in queries.FIGURES], axis=1))
        figures[name] = _means(done, "fused")
    most_moved = [WHITENED] if WHITENED in moved else []
    for ranking in ("fused", *most_moved) if all_branches else ():
        alone = _each_alone(folders, next(iter(weights.values())), judging, done[0], ranking)
        (name,) = alone.results
        tables.append(queries.table([alone])[[f"{name}.{figure}" for figure in queries.FIGURES]])
        figures[name] = _means([alone], name)
    return figures, tables


def _each_alone(
    folders: Mapping[str, Path],
    weights: Mapping[str, float],
    judging: Judging,
    fused: Split,
    ranking: str,
) -> Split:
    """The split, of whose ranking the queries are re-ranked one by one."""
    joined = joined_features(
        {branch: folder / fused.name for branch, folder in folders.items()},
        *(weights, fused.query, fused.gallery, ranking),
    )
    judge = judging.judge(fused.name, fused.query, fused.gallery)
    judge_reranked(judge, *joined, sum(weights.values()), at_once=1)
    return replace(fused, results={reranked_name(ranking) + ALONE: judge.results})


def judge_reranked(
    judge: Judge, query: np.ndarray, gallery: np.ndarray, total: float, at_once: int
) -> None:
    """Judge queries that are re-ranked by the published parameters, each drawn gallery by itself.

    Args:
        query, gallery: (N, D), joined features of both.
        total: of the fusion weights.
        at_once: so many queries are neighbours of each other; all of them, as `evaluation.rerank`
            has it, or 1.
    """
    for draw in range(judge.num_draws):
        drawn = gallery[judge.gallery(draw)]
        for first in range(0, len(query), at_once):
            for start, rows in rerank(query[first : first + at_once], drawn, total, Rerank()):
                judge.judge(first + start, rows, draw)


def _means(done: Sequence[Split], ranking: str) -> dict[str, float]:
    """Figures of a ranking, means over draws, without the deviation of draws."""
    figures = report(done)[ranking]
    return {name: value for name, value in figures.items() if not name.endswith("_std")}


def write(folder: Path, record: Record) -> None:
    """Write the two files of a record."""
    write_csv(folder / f"split_{record.split}.csv", record.queries)
    write_json(folder / f"split_{record.split}.json", record.about)


def read(folder: Path) -> list[Record]:
    """All records of an experiment, by split.

    Raises:
        UserError: there is none, or a file is damaged.
    """
    splits = sorted(int(path.stem.removeprefix("split_")) for path in folder.glob("split_*.json"))
    if not splits:
        raise UserError(f"{folder} holds no record: run the experiment first")
    return [read_one(folder, split) for split in splits]


def read_one(folder: Path, split: int) -> Record:
    """The record of a split.

    Raises:
        UserError: a file of it is missing or damaged.
    """
    path = folder / f"split_{split}.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        return Record(split, about, pd.read_csv(path.with_suffix(".csv")))
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds a damaged record ({error})") from error
