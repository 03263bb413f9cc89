"""Figures of each query, as a table: written, compared, and grouped by resolution."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from pyramid_reid.core.crops import split_number
from pyramid_reid.core.errors import DAMAGED, UserError, reason
from pyramid_reid.evaluation.rankings import Split
from pyramid_reid.retrieval.uncertainty import bootstrap, cluster, sign_flip

KEYS = ["split", "pid", "camid", "ratio", "height", "width", "source"]
"""Columns that say which query a row is; split is its number among all splits of the seed."""
FIGURES = ("rank1", "mAP", "mINP")
"""What is kept of each query and ranking, in percent; their means over queries are the metrics."""
BINS = 4
"""Groups of queries by height: enough to see a trend, large enough to mean something."""


def table(done: Sequence[Split]) -> pd.DataFrame:
    """A row per split and judged query: columns `KEYS`, `gallery_size`, then `name.figure`.

    `gallery_size` is the number of gallery crops that the query is ranked against, in each draw;
    figures are means over draws.
    """
    parts = []
    for split in done:
        first = next(iter(split.results.values()))
        rows = split.query.iloc[first.query][KEYS[1:]].reset_index(drop=True)
        rows.insert(0, "split", split_number(split.name))
        rows["gallery_size"] = first.gallery_size
        for name, results in split.results.items():
            values = (
                results.first_rank == 1,
                results.average_precision,
                results.inverse_negative_penalty,
            )
            for figure, value in zip(FIGURES, values, strict=True):
                rows[f"{name}.{figure}"] = 100 * value.mean(axis=0)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)


def said_of_galleries(done: Sequence[Split], queries: pd.DataFrame) -> str:
    """How many gallery crops a query is ranked against, of how many: means over queries and splits.

    Args:
        queries: as `table` makes it of `done`.
    """
    all_crops = float(np.mean([len(split.gallery) for split in done]))
    mean, least = queries.gallery_size.mean(), queries.gallery_size.min()
    if least == all_crops:
        return f"all {least:g} gallery crops in each ranking"
    said = "" if least == mean else f" (at least {least})"
    return f"{mean:.5g} of {all_crops:.5g} gallery crops in each ranking{said}"


def read(path: Path) -> pd.DataFrame:
    """Read a table of queries.

    Raises:
        UserError: it is none.
    """
    try:
        queries = pd.read_csv(path)
    except DAMAGED as error:
        raise UserError(f"{path} cannot be read ({reason(error)})") from error
    rankings = {"fused", *names(queries)}
    figures = [f"{name}.{figure}" for name in sorted(rankings) for figure in FIGURES]
    missing = {*KEYS, *figures} - set(queries.columns)
    if missing:
        raise UserError(f"{path} is not a table of queries: column {min(missing)} is missing")
    for figure in figures:
        if not pd.to_numeric(queries[figure], errors="coerce").between(0, 100).all():
            raise UserError(f"{path}: column {figure} holds a value that is not a percentage")
    return queries


def names(queries: pd.DataFrame) -> list[str]:
    """The rankings of a table: fused, the branches, then further ones."""
    return [name.removesuffix(".rank1") for name in queries.columns if name.endswith(".rank1")]


def uncertainty(queries: pd.DataFrame, resamples: int, seed: int) -> dict[str, object]:
    """95 % intervals of each figure, and paired tests of the fusion against everything else.

    Args:
        queries: as `table` makes it.
        resamples: of identities, and of signs.

    Returns:
        `identities`, `queries`, `resamples`; `intervals`: per name and figure its ends in percent;
        `fused_minus`: per other name and figure what `compare` says.
    """
    rankings = names(queries)
    columns = [f"{name}.{figure}" for name in rankings for figure in FIGURES]
    clusters = cluster(
        queries[columns].to_numpy(), queries.pid.to_numpy(), queries["split"].to_numpy()
    )
    sampled = bootstrap(clusters, resamples, np.random.default_rng(seed))
    low, high = np.percentile(sampled, [2.5, 97.5], axis=0).round(2)
    ends = dict(zip(columns, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    return {
        "identities": int(queries.pid.nunique()),
        "queries": len(queries),
        "resamples": resamples,
        "intervals": {
            name: {figure: ends[f"{name}.{figure}"] for figure in FIGURES} for name in rankings
        },
        "fused_minus": {
            name: compare(queries, queries, "fused", name, resamples, seed)
            for name in rankings
            if name != "fused"
        },
    }


def compare(
    ours: pd.DataFrame, theirs: pd.DataFrame, our: str, their: str, resamples: int, seed: int
) -> dict[str, dict[str, float]]:
    """Ranking `our` of one table minus ranking `their` of another, on the same queries.

    Returns:
        Per figure: `difference` in points of percent, `low` and `high` of its 95 % interval, and
        `p` that identities with as large differences of random sign give as much.

    Raises:
        UserError: the tables do not hold the same queries.
    """
    same = ["split", "pid", "camid", "source"]
    if not ours[same].equals(theirs[same]):
        raise UserError("the two tables hold different queries: only the same ones can be compared")
    values = [
        table[[f"{name}.{figure}" for figure in FIGURES]].to_numpy()
        for table, name in ((ours, our), (theirs, their))
    ]
    clusters = cluster(values[0] - values[1], ours.pid.to_numpy(), ours["split"].to_numpy())
    rng = np.random.default_rng(seed)
    low, high = np.percentile(bootstrap(clusters, resamples, rng), [2.5, 97.5], axis=0)
    p = sign_flip(clusters.contributions(), resamples, rng)
    return {
        figure: {
            "difference": round(float(clusters.figures()[n]), 2),
            "low": round(float(low[n]), 2),
            "high": round(float(high[n]), 2),
            "p": max(round(float(p[n]), 4), 1e-4),  # it is never 0
        }
        for n, figure in enumerate(FIGURES)
    }


def by_resolution(queries: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rank-1 and mAP of queries in groups of about equal number by height.

    Returns:
        Per figure, a row per group from the lowest up: `height` (median, pixels), `from`, `to`,
        `queries`, then a column per ranking in percent.
    """
    edges = np.unique(np.quantile(queries.height, np.linspace(0, 1, BINS + 1)))
    group = np.clip(np.searchsorted(edges, queries.height, side="right") - 1, 0, len(edges) - 2)
    grouped = queries.groupby(np.maximum(group, 0))
    sizes = grouped.height.agg(["median", "min", "max", "size"])
    sizes.columns = pd.Index(["height", "from", "to", "queries"])
    tables = {}
    for figure in ("rank1", "mAP"):
        means = grouped[[f"{name}.{figure}" for name in names(queries)]].mean()
        means.columns = pd.Index(names(queries))
        tables[figure] = pd.concat([sizes, means], axis=1).reset_index(drop=True)
    return tables
