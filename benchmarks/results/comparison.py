"""Rows of the table from records: figures over splits, intervals, paired tests, cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from benchmarks.results.records import BY_HAND, Record

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.evaluation import queries
from pyramid_reid.retrieval.uncertainty import bootstrap, cluster

FIGURES = ("rank1", "rank5", "rank10", "mAP")
RESAMPLES = 10_000
SEED = 0
COST = "core min"

Records = Mapping[str, Sequence[Record]]
"""Per experiment its records, of the same splits in the same order."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table.

    Attributes:
        name: what readers call it.
        experiment: whose records it comes from.
        ranking: in them: a branch, or the name of fusion weights.
    """

    name: str
    experiment: str
    ranking: str


def aligned(records: Records) -> dict[str, list[Record]]:
    """Only the splits that every experiment has.

    Raises:
        UserError: there are none, or the experiments saw other crops there.
    """
    common = set.intersection(*({each.split for each in of} for of in records.values()))
    if not common:
        raise UserError(f"{', '.join(records)} have no split in common")
    kept = {name: [each for each in of if each.split in common] for name, of in records.items()}
    for of_split in zip(*kept.values(), strict=True):
        hashes = {each.about["dataset"]["splits_sha256"] for each in of_split}
        if len(hashes) > 1:
            raise UserError(f"the records of split {of_split[0].split} are of different crops")
    return kept


def of_experiments(records: Records, rows: Sequence[Row]) -> list[Row]:
    """The rows whose experiments were run."""
    return [row for row in rows if row.experiment in records]


def per_query(records: Records, row: Row) -> pd.DataFrame:
    """What each query of each split reached: `queries.KEYS`, then row.rank1, row.mAP, row.mINP."""
    parts = []
    for record in records[row.experiment]:
        part = record.queries[queries.KEYS[1:]].copy()
        part.insert(0, "split", record.split)
        for figure in queries.FIGURES:
            part[f"row.{figure}"] = record.queries[f"{row.ranking}.{figure}"]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def figures(records: Records, row: Row) -> pd.DataFrame:
    """Figures of each split in percent: columns `FIGURES`, a row per split."""
    of_splits = [record.about["metrics"][row.ranking] for record in records[row.experiment]]
    return pd.DataFrame(of_splits)[list(FIGURES)]


def interval(table: pd.DataFrame, figure: str) -> tuple[float, float]:
    """95 % interval of a figure of `per_query`, over identities."""
    values = table[[f"row.{figure}"]].to_numpy()
    clusters = cluster(values, table.pid.to_numpy(), table["split"].to_numpy())
    drawn = bootstrap(clusters, RESAMPLES, np.random.default_rng(SEED))
    low, high = np.percentile(drawn[:, 0], [2.5, 97.5])
    return float(low), float(high)


def reached(table: pd.DataFrame) -> dict[str, float]:
    """Rank-1, mAP and mINP of a table as `per_query` makes it, or of some of its rows, in percent.

    Means over splits of the mean over a split's queries, as everywhere on the page: these are the
    figures whose differences `compared` tells. A split of which no query is there does not count.
    """
    values = table[[f"row.{figure}" for figure in queries.FIGURES]].to_numpy()
    found = cluster(values, table.pid.to_numpy(), table["split"].to_numpy()).figures()
    return dict(zip(queries.FIGURES, map(float, found), strict=True))


def minutes(records: Records, row: Row) -> float:
    """Minutes of one core that the row's stages need per split; NaN where one was never timed.

    On a GPU, of the core that keeps it busy.

    Processor time, of each stage the least over splits, as other work on the machine only adds to
    it. What an experiment took from the cache counts as where it ran. What no stage does counts in
    whole, whatever the ranking.
    """
    of_splits = []
    for place, record in enumerate(records[row.experiment]):
        timed: dict[str, float] = dict(record.about.get("cpu_seconds", {}))
        for others in records.values():
            elsewhere = others[place].about.get("cpu_seconds", {})
            for stage in SHARED_STAGES:
                if stage in elsewhere:
                    timed.setdefault(stage, elsewhere[stage])
        by_hand = timed.get(BY_HAND, 0.0)
        of_splits.append([by_hand, *(timed.get(stage, np.nan) for stage in stages(row.ranking))])
    return float(pd.DataFrame(of_splits).min().sum(skipna=False)) / 60


SHARED_STAGES = ("train_reid ori", "distances ori")
"""What experiments take from each other."""


def stages(ranking: str) -> list[str]:
    """Stages that train, restore and measure what a ranking needs."""
    branches = [ranking] if ranking in BRANCHES else list(BRANCHES)
    restoring = ["train_reconstructor", "generate_pyramid"] if branches != ["ori"] else []
    return [*restoring, *(f"{s} {b}" for b in branches for s in ("train_reid", "distances"))]


def difference(records: Records, row: Row, other: Row) -> dict[str, dict[str, float]]:
    """`row` minus `other` on the same queries, as `queries.compare` tells it."""
    ours, theirs = per_query(records, row), per_query(records, other)
    return queries.compare(ours, theirs, "row", "row", RESAMPLES, SEED)


def compared(ours: pd.DataFrame, theirs: pd.DataFrame) -> dict[str, str]:
    """Per figure the difference of two tables of the same queries, with interval and p."""
    found = queries.compare(ours, theirs, "row", "row", RESAMPLES, SEED)
    return {figure: _test(of) for figure, of in found.items()}


def table(records: Records, rows: Sequence[Row]) -> pd.DataFrame:
    """Figures of each row: mean ± sample deviation over splits, interval of mAP, minutes."""
    told = []
    for row in rows:
        of_splits = figures(records, row)
        low, high = interval(per_query(records, row), "mAP")
        texts = {
            column: mean_and_deviation(of_splits[figure])
            if deviates
            else f"{of_splits[figure].mean():.1f}"
            for figure, column, deviates in (
                ("rank1", "Rank-1", True),
                ("rank5", "Rank-5", False),
                ("rank10", "Rank-10", False),
                ("mAP", "mAP", True),
            )
        }
        cost = minutes(records, row)
        told.append(
            {"row": row.name, **texts, "95 % of mAP": f"{low:.1f} … {high:.1f}"}
            | {COST: "-" if np.isnan(cost) else f"{cost:.1f}"}
        )
    return pd.DataFrame(told)


def differences(records: Records, rows: Sequence[Row], others: Mapping[str, Row]) -> pd.DataFrame:
    """Rank-1 and mAP of each row minus those of others, with interval and p.

    Args:
        others: by what they are called.
    """
    told = []
    for row in rows:
        texts = {"row": row.name}
        for name, other in others.items():
            found = difference(records, row, other)
            for figure, column in (("rank1", "Rank-1"), ("mAP", "mAP")):
                texts[f"{column} − {name}"] = "" if row == other else _test(found[figure])
        told.append(texts)
    return pd.DataFrame(told)


def groups_of_queries(queries: pd.DataFrame) -> dict[str, dict[str, pd.Series]]:
    """By what queries may differ, the groups: of ratio where it varies, of height where that does.

    Args:
        queries: from `per_query`.

    Returns:
        By what, by the group's name, which of the queries are in it.
    """
    found: dict[str, dict[str, pd.Series]] = {}
    ratios = sorted(queries.ratio.unique())
    if len(ratios) > 1:
        found["ratio"] = {f"÷{ratio}": queries.ratio == ratio for ratio in ratios}
        found["ratio"]["÷3 and ÷4"] = queries.ratio >= 3
    heights = queries.height
    if heights.nunique() > len(ratios):
        low, high = heights.quantile([1 / 3, 2 / 3])
        found["height"] = {
            f"to {low:.0f} px": heights <= low,
            f"to {high:.0f} px": (heights > low) & (heights <= high),
            f"above {high:.0f} px": heights > high,
        }
    return found


def by_group(
    records: Records, rows: Sequence[Row], other: Row, groups: Mapping[str, pd.Series]
) -> pd.DataFrame:
    """MAP of each row in each group of queries, and its difference to another row's there.

    Both are means over splits (`reached`), so that they add up: a split's few queries of a group
    count as much as another's many.
    """
    theirs, told = per_query(records, other), []
    for row in rows:
        ours, texts = per_query(records, row), {"row": row.name}
        for name, chosen in groups.items():
            texts[name] = f"{reached(ours[chosen])['mAP']:.1f}"
            if row != other:
                texts[f"{name} − control"] = compared(ours[chosen], theirs[chosen])["mAP"]
        told.append(texts)
    return pd.DataFrame(told).fillna("")


def by_seed(
    records: Records, pairs: Sequence[tuple[Row, Row]], called: str = "seed"
) -> pd.DataFrame:
    """A control and another row by the seed of their trainings, then their means over seeds.

    In the means, a query's figures are averaged over seeds before people are resampled: other seeds
    are no further people.

    Args:
        pairs: of each seed the control and the other row, named as in the first pair.
        called: what differs between the pairs, where it is more than the seed.
    """
    tables = [tuple(per_query(records, row) for row in pair) for pair in pairs]
    numbered = [(f"{called} {number}", *pair) for number, pair in enumerate(tables, 1)]
    means = [mean_of_seeds([pair[side] for pair in tables]) for side in range(2)]
    told = []
    for name, theirs, ours in [*numbered, (f"mean of {called}s", *means)]:
        texts = {"row": name}
        for row, of in zip(pairs[0], (theirs, ours), strict=True):
            shown = reached(of)
            texts[row.name] = f"{shown['rank1']:.1f} / {shown['mAP']:.1f}"
        found = compared(ours, theirs)
        told.append(texts | {"Rank-1 gained": found["rank1"], "mAP gained": found["mAP"]})
    return pd.DataFrame(told)


def mean_of_seeds(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """One table of `per_query`, whose figures are means of those of all."""
    columns = [f"row.{figure}" for figure in queries.FIGURES]
    mean = np.mean([table[columns].to_numpy() for table in tables], axis=0)
    return tables[0].assign(**dict(zip(columns, mean.T, strict=True)))


def mean_and_deviation(values: pd.Series) -> str:
    """Mean ± sample deviation; of one value, the value."""
    deviation = f" ± {values.std():.1f}" if len(values) > 1 else ""
    return f"{values.mean():.1f}{deviation}"


def _test(found: Mapping[str, float]) -> str:
    p = "<.001" if found["p"] < 0.001 else f"{found['p']:.3f}".lstrip("0")
    return f"{found['difference']:+.1f} [{found['low']:+.1f}, {found['high']:+.1f}] p {p}"


def gains(records: Records, row: Row, baseline: Row) -> pd.DataFrame:
    """PSNR above bicubic (dB) and Rank-1 above a baseline (points) of each split.

    Args:
        row: of a branch alone.
    """
    ours, theirs = figures(records, row), figures(records, baseline)
    psnr = [psnr_gain(record, row.ranking) for record in records[row.experiment]]
    return pd.DataFrame({"psnr": psnr, "rank1": ours.rank1 - theirs.rank1})


def psnr_gain(record: Record, branch: str) -> float:
    """PSNR of a branch's images above bicubic, in dB, on test people; 0 where none is restored.

    Args:
        branch: h1, h2 and h3 are of scales 2, 3 and 4.
    """
    of = record.about["restoration"].get(f"x{BRANCHES.index(branch) + 1}")
    return float(of["psnr"] - of["psnr_bicubic"]) if of else 0.0


def reasons(records: Records, experiments: Sequence[str]) -> pd.DataFrame:
    """What should make a fusion better than its members, means over splits.

    Returns:
        A row per experiment: `experiment`, PSNR above bicubic (dB) per restored branch, and the
        mean `correlation` of two branches' average precision.
    """
    rows = []
    for name in experiments:
        told: dict[str, object] = {"experiment": name}
        for branch in BRANCHES[1:]:
            gain = np.mean([psnr_gain(record, branch) for record in records[name]])
            told[f"dB {branch}"] = f"{gain:+.2f}"
        told["correlation"] = f"{agreement(records, name).correlation.mean():.3f}"
        rows.append(told)
    return pd.DataFrame(rows)


def agreement(records: Records, experiment: str) -> pd.DataFrame:
    """Correlation over queries of the branches' average precision: how alike their errors are.

    Returns:
        A row per pair of branches, columns pair, correlation (mean over splits; NaN where a branch
        does equally well on all queries).
    """
    tables = [
        record.queries[[f"{branch}.mAP" for branch in BRANCHES]].corr().to_numpy()
        for record in records[experiment]
    ]
    mean = np.mean(tables, axis=0)
    rows = [
        (f"{BRANCHES[i]}, {BRANCHES[j]}", float(mean[i, j]))
        for i in range(len(BRANCHES))
        for j in range(i + 1, len(BRANCHES))
    ]
    return pd.DataFrame(rows, columns=["pair", "correlation"])
