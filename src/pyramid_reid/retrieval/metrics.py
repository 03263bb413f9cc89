"""CMC, mAP and mINP from a distance matrix, by the rule of Market-1501.

Gallery images of the query's own person from the query's own camera are left out (Zheng et al.,
ICCV 2015). A gallery image of another person at the same distance as a true match is ranked
before it: the figures do not depend on the order of the gallery, and a network that gives all
images the same feature scores nothing by luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

RANKS = (1, 5, 10, 20)
"""The k of the Rank-k figures that are reported."""


@dataclass(frozen=True, slots=True)
class QueryResults:
    """What each query reached; arrays of (num_query,).

    Attributes:
        first_rank: rank of the nearest true match, from 1.
        average_precision: mean of the precision at each true match, in [0, 1].
        inverse_negative_penalty: share of true matches among all down to the last of them, in
            (0, 1] (INP; Ye et al., TPAMI 2021).
    """

    first_rank: NDArray[np.int64]
    average_precision: NDArray[np.float64]
    inverse_negative_penalty: NDArray[np.float64]


def evaluate(
    distmat: NDArray[np.floating],
    query_pids: NDArray[np.integer],
    query_camids: NDArray[np.integer],
    gallery_pids: NDArray[np.integer],
    gallery_camids: NDArray[np.integer],
) -> QueryResults:
    """Judge every query of a distance matrix.

    Args:
        distmat: (num_query, num_gallery), smaller is nearer.
        query_pids, query_camids: (num_query,).
        gallery_pids, gallery_camids: (num_gallery,).

    Raises:
        ValueError: there is no query, sizes do not fit, a distance is NaN, or a query has no true
            match in the gallery (all such queries are named).
    """
    if distmat.shape != (len(query_pids), len(gallery_pids)) or not len(query_pids):
        raise ValueError(
            f"distmat is {distmat.shape} for {len(query_pids)} queries and"
            f" {len(gallery_pids)} gallery images"
        )
    check_matches(query_pids, query_camids, gallery_pids, gallery_camids)
    first, precision, penalty = [], [], []
    for row, (pid, camid) in enumerate(zip(query_pids, query_camids, strict=True)):
        distances = distmat[row]
        if np.isnan(distances).any():
            raise ValueError(f"query {row} (pid {pid}, camid {camid}) has a distance that is NaN")
        same = gallery_pids == pid
        ranks = match_ranks(distances[same & (gallery_camids != camid)], distances[~same])
        first.append(ranks[0])
        precision.append(np.mean(np.arange(1, len(ranks) + 1) / ranks))
        penalty.append(len(ranks) / ranks[-1])
    return QueryResults(np.array(first), np.array(precision), np.array(penalty))


def concatenate(parts: Sequence[QueryResults]) -> QueryResults:
    """Results of several blocks of queries, in order."""
    return QueryResults(
        *(
            np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(QueryResults)
        )
    )


def check_matches(
    query_pids: NDArray[np.integer],
    query_camids: NDArray[np.integer],
    gallery_pids: NDArray[np.integer],
    gallery_camids: NDArray[np.integer],
) -> None:
    """Raise ValueError that names the queries without a true match from another camera."""
    cameras: dict[int, set[int]] = {}
    for pid, camid in zip(gallery_pids, gallery_camids, strict=True):
        cameras.setdefault(int(pid), set()).add(int(camid))
    lost = [
        f"query {row} (pid {pid}, camid {camid})"
        for row, (pid, camid) in enumerate(zip(query_pids, query_camids, strict=True))
        if not cameras.get(int(pid), set()) - {int(camid)}
    ]
    if lost:
        more = f" and {len(lost) - 5} more" if len(lost) > 5 else ""
        raise ValueError(
            f"{', '.join(lost[:5])}{more}: the gallery has no image of this person from another"
            " camera (those from the query's own camera do not count)"
        )


def match_ranks(
    positives: NDArray[np.floating], negatives: NDArray[np.floating]
) -> NDArray[np.int64]:
    """Ranks, from 1 and rising, of the true matches among all gallery images of one query.

    Args:
        positives: (P,) distances of the true matches.
        negatives: (N,) distances of the other people's images; at a tie they come first.
    """
    before = np.searchsorted(np.sort(negatives), np.sort(positives), side="right")
    return before + np.arange(1, len(positives) + 1)


def cmc(first_rank: NDArray[np.int64], max_rank: int) -> NDArray[np.float64]:
    """Cumulative matching characteristic: share of queries matched at rank k = 1 … max_rank."""
    return np.array([np.mean(first_rank <= rank) for rank in range(1, max_rank + 1)])


def summary(results: QueryResults) -> dict[str, float]:
    """Rank-k for k in `RANKS`, mAP and mINP, in percent."""
    figures = {f"rank{rank}": float(np.mean(results.first_rank <= rank)) for rank in RANKS}
    figures["mAP"] = float(results.average_precision.mean())
    figures["mINP"] = float(results.inverse_negative_penalty.mean())
    return {name: 100 * value for name, value in figures.items()}
