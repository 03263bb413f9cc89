"""What is kept of an experiment on one split: figures, what each query reached, and cost.

Two small files per experiment and split, `split_N.json` and `split_N.csv`: enough to compare
experiments query by query, and no pixel of a person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pyramid_reid import evaluation, queries
from pyramid_reid.errors import UserError
from pyramid_reid.params import BRANCHES, Params
from pyramid_reid.protocols import PROTOCOLS
from pyramid_reid.tables import write_csv, write_json

FIXED_WEIGHTS: dict[str, dict[str, float]] = {
    "equal": dict.fromkeys(BRANCHES, 0.25),
    "2:1:1:1": {"ori": 0.4, "h1": 0.2, "h2": 0.2, "h3": 0.2},
}
"""Fusion weights that nobody chose on this data; the second ones are those of the public code."""

CHOSEN_WEIGHTS = ("validation", "oracle_test")
"""Those that `sweep_weights` chooses, by their names in metrics/weights.json."""

STAGE = re.compile(r"^(?P<stage>\w+(?: \w+)?): .* \((?P<seconds>\d+) s\)$")
"""The last line of a stage."""


@dataclass(frozen=True, slots=True)
class Record:
    """An experiment on one split.

    Attributes:
        about: what its JSON file holds: `params`, `metrics` (per ranking, percent), `weights`
            (per name), `restoration` (metrics/reconstructor.json), `dataset`, `seconds` and
            `cpu_seconds` (per stage that ran) and where it ran.
        queries: a row per query, columns `queries.KEYS` without `split`, then RANKING.FIGURE in
            percent; rankings are the branches and the names of the fusion weights.
    """

    split: int
    about: dict[str, Any]
    queries: pd.DataFrame


def seconds(output: str) -> dict[str, int]:
    """Seconds of each stage that ran, from what a run printed."""
    found = (STAGE.match(line.strip()) for line in output.splitlines())
    return {match["stage"]: int(match["seconds"]) for match in found if match}


def collect(
    project: Path, params: Params, split: int, about: Mapping[str, object], output: str
) -> Record:
    """Read what a finished run of one split left in the project's folder.

    The fusions are judged again from the distances, once with each weights: the same program and
    the same figures as when `fuse` is run with them.

    Args:
        params: of the run.
        about: what else to note down.
        output: what the run printed.

    Raises:
        UserError: a file is missing, or it was a run of other splits.
    """
    metrics = {
        name: json.loads((project / f"metrics/{name}.json").read_text(encoding="utf-8"))
        for name in ("dataset", "reconstructor", "weights")
    }
    weights = FIXED_WEIGHTS | {
        name: {branch: metrics["weights"][name][f"w_{branch}"] for branch in BRANCHES}
        for name in CHOSEN_WEIGHTS
        if name in metrics["weights"]
    }
    folders = {branch: project / "data/distances" / branch for branch in BRANCHES}
    if evaluation.common_splits(folders) != [f"split_{split}"]:
        raise UserError(f"{project / 'data/distances'} does not hold split {split} alone")
    rule = params.evaluation.rule or PROTOCOLS[params.data.name].rule
    judging = evaluation.Judging(rule, params.evaluation.draws, params.seed)
    figures: dict[str, dict[str, float]] = {}
    tables: list[pd.DataFrame] = []
    for name, each in weights.items():
        done = evaluation.evaluate_splits(folders, each, judging)
        report = evaluation.report(done)
        table = queries.table(done).drop(columns="split")
        if not tables:
            figures |= {branch: report[branch] for branch in BRANCHES}
            tables.append(table.drop(columns=[f"fused.{figure}" for figure in queries.FIGURES]))
        figures[name] = report["fused"]
        fused = table[[f"fused.{figure}" for figure in queries.FIGURES]]
        tables.append(fused.rename(columns=lambda column: column.replace("fused", name)))  # noqa: B023
    means = {
        ranking: {key: value for key, value in of.items() if not key.endswith("_std")}
        for ranking, of in figures.items()
    }
    noted = {
        **about,
        "dataset": metrics["dataset"],
        "metrics": means,
        "restoration": metrics["reconstructor"],
        "seconds": seconds(output),
        "weights": weights,
    }
    return Record(split, noted, pd.concat(tables, axis=1))


def write(folder: Path, record: Record) -> None:
    """Write the two files of a record."""
    write_csv(folder / f"split_{record.split}.csv", record.queries)
    write_json(folder / f"split_{record.split}.json", record.about)


def read(folder: Path) -> list[Record]:
    """All records of an experiment, by split.

    Raises:
        UserError: there is none, or a file is damaged.
    """
    paths = {int(path.stem.removeprefix("split_")): path for path in folder.glob("split_*.json")}
    if not paths:
        raise UserError(f"{folder} holds no record: run the experiment first")
    try:
        return [
            Record(
                split,
                json.loads(paths[split].read_text(encoding="utf-8")),
                pd.read_csv(paths[split].with_suffix(".csv")),
            )
            for split in sorted(paths)
        ]
    except (OSError, ValueError) as error:
        raise UserError(f"{folder} holds a damaged record ({error})") from error
