"""Rank-1 and mAP for all fusion weights on a grid."""

from __future__ import annotations

from itertools import combinations
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.retrieval.arrays import numbers
from pyramid_reid.retrieval.fusion import weighted_sum
from pyramid_reid.retrieval.metrics import Judge

Floats = NDArray[np.float32]

BLOCK_BYTES = 2**18
"""Fused distances of one query that are judged at a time."""


def simplex(branches: int, step: float) -> Annotated[NDArray[np.float64], "points branches"]:
    """All weights that are multiples of `step` and add up to 1.

    Args:
        step: divides 1.

    Raises:
        ValueError: it does not.
    """
    if not 0 < step <= 1 or abs(1 / step - round(1 / step)) > 1e-9:
        raise ValueError(f"the step {step} must divide 1, as 0.05 or 0.25 do")
    parts = round(1 / step)
    # a composition of `parts` is given by where the bars stand between the stars
    places = list(combinations(range(parts + branches - 1), branches - 1))
    bars = np.array(places, np.int64).reshape(len(places), branches - 1)
    edges = np.pad(bars, ((0, 0), (1, 1)), constant_values=-1)
    edges[:, -1] = parts + branches - 1
    return np.asarray((np.diff(edges, axis=1) - 1) / parts)


class Sweep:
    """Judges every query under every point of a grid of weights.

    The distances are those that `fuse` gives with a point's weights, bit for bit. The true matches
    are found in the sorted row by a mark in the last bit of their distances' 32-bit pattern, which
    is free as no distance has a sign; with it a match comes after another person's image at the
    same distance, as everywhere.
    """

    def __init__(
        self, judge: Judge, points: Annotated[NDArray[np.float64], "points branches"]
    ) -> None:
        """Start at the first query.

        Args:
            judge: knows which images count.
            points: weights.
        """
        self._judge, self._points = judge, points.astype(np.float32)
        self._rank1 = np.zeros(len(points))
        self._precision = np.zeros(len(points))

    def add(self, start: int, distances: Annotated[ArrayLike, "branches rows num_gallery"]) -> None:
        """Judge the queries from row `start` on.

        Args:
            distances: from 0 on.

        Raises:
            ValueError: the size does not fit, distances are no numbers, or one is NaN, infinite or
                below 0.
        """
        distances = np.asarray(numbers(distances, "distances", 3), np.float32)
        branches, rows, width = distances.shape
        expected = self._points.shape[1], self._judge.num_gallery
        if (branches, width) != expected or not 0 <= start <= self._judge.num_query - rows:
            raise ValueError(
                f"distances are {distances.shape} for {expected[0]} branches, {expected[1]} images"
                f" and the queries from {start} on, of {self._judge.num_query}"
            )
        # NaN is neither at least 0 nor below infinity
        wrong = ~((distances >= 0) & (distances < np.inf)).all(axis=(0, 2))
        if wrong.any():
            query = start + int(np.flatnonzero(wrong)[0])
            raise ValueError(f"query {query} has a distance that is NaN, infinite or negative")
        for row in range(rows):
            query = start + row
            draws = self._judge.columns(query)
            for true, others in draws:
                if len(true):
                    self._add(
                        distances[:, row][:, np.concatenate([true, others])],
                        len(true),
                        1 / len(draws),
                    )

    def _add(self, distances: Floats, matches: int, share: float) -> None:
        """Judge one query in one gallery: (branches, images), the true matches first."""
        block = max(1, BLOCK_BYTES // distances[0].nbytes)
        number = np.arange(1, matches + 1)
        for first in range(0, len(self._points), block):
            span = slice(first, first + block)
            fused = weighted_sum(list(distances), self._points[span])
            keys = fused.view(np.uint32)
            keys <<= 1
            keys[:, :matches] |= 1
            keys.sort(axis=1)
            found = np.flatnonzero((keys & 1).astype(bool)).reshape(-1, matches)
            ranks = found - keys.shape[1] * np.arange(len(keys))[:, None] + 1
            self._rank1[span] += share * (ranks[:, 0] == 1)
            self._precision[span] += share * (number / ranks).mean(axis=1)

    def figures(self) -> dict[str, Annotated[NDArray[np.float64], "points"]]:
        """Rank-1 and mAP in percent at each point, over the queries with a true match."""
        count = self._judge.results.query.size
        return {"rank1": 100 * self._rank1 / count, "mAP": 100 * self._precision / count}


def best(
    points: Annotated[NDArray[np.float64], "points branches"],
    precision: Annotated[NDArray[np.float64], "points"],
) -> int:
    """The point of highest mAP; among equals, the one nearest to equal weights.

    Args:
        precision: mAP.
    """
    return int(np.lexsort(((points**2).sum(axis=1), -precision.round(9)))[0])
