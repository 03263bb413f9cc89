"""Uncertainty of figures: intervals and paired tests over identities. NumPy only.

Queries of one person share clothes, pose and gallery images, so they are not independent;
identities are. Therefore identities are resampled with all their queries (cluster bootstrap; Efron
and Tibshirani 1993, ch. 8), and a difference between two rankings is tested by giving each
identity's difference a random sign (Fisher's randomisation test).

Both show how the figures would vary with other people and the same networks, not with other
trainings; the deviation over splits shows that. A query's figure is its mean over single-shot
draws; the noise of draws is in neither, and is reported separately (`rankings.report`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.retrieval.arrays import labels, numbers

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clusters:
    """Values of queries, added up per identity and split.

    Attributes:
        sums: of the values.
        counts: of queries.
    """

    sums: Annotated[Floats, "identities splits figures"]
    counts: Annotated[Floats, "identities splits"]

    def contributions(self) -> Annotated[Floats, "identities figures"]:
        """What each identity adds to each figure."""
        return np.asarray((self.sums / self.counts.sum(0)[:, None]).mean(axis=1))

    def figures(self) -> Annotated[Floats, "figures"]:
        """Mean over splits of the mean over queries."""
        return np.asarray(self.contributions().sum(axis=0))


def cluster(
    values: Annotated[ArrayLike, "num_query figures"],
    pids: Annotated[ArrayLike, "num_query"],
    splits: Annotated[ArrayLike, "num_query"],
) -> Clusters:
    """Add up the values of queries per identity and split.

    Args:
        pids: whole numbers or names.
        splits: the same; those between which no query is are no splits.

    Raises:
        ValueError: there is no query, numbers of queries differ, or a value is NaN.
    """
    given = np.asarray(numbers(values, "values", 2), np.float64)
    people, person = np.unique(labels(pids, "pids"), return_inverse=True)
    numbered, split = np.unique(labels(splits, "splits"), return_inverse=True)
    if not len(given) == len(person) == len(split) or not len(given):
        raise ValueError(f"{len(given)} values, {len(person)} pids, {len(split)} splits of queries")
    if np.isnan(given).any():
        raise ValueError(
            f"query {np.flatnonzero(np.isnan(given).any(axis=1))[0]} has a value of NaN"
        )
    shape = (len(people), len(numbered))
    sums, counts = np.zeros((*shape, given.shape[1])), np.zeros(shape)
    np.add.at(sums, (person, split), given)
    np.add.at(counts, (person, split), 1)
    return Clusters(sums, counts)


def bootstrap(
    clusters: Clusters, resamples: int, rng: np.random.Generator
) -> Annotated[Floats, "resamples figures"]:
    """Figures of sets of identities drawn with replacement.

    A split of which a set holds no query does not count in it.
    """
    identities, splits, figures = clusters.sums.shape
    drawn = rng.integers(identities, size=(resamples, identities))
    times = np.zeros((resamples, identities))
    np.add.at(times, (np.arange(resamples)[:, None], drawn), 1)
    sums = (times @ clusters.sums.reshape(identities, -1)).reshape(resamples, splits, figures)
    counts = times @ clusters.counts
    counts[counts == 0] = np.nan
    return np.asarray(np.nanmean(sums / counts[:, :, None], axis=1))


def sign_flip(
    differences: Annotated[ArrayLike, "identities figures"],
    resamples: int,
    rng: np.random.Generator,
) -> Annotated[NDArray[np.float64], "figures"]:
    """Two-sided p-values that paired differences add up to nothing.

    Exact where all patterns of signs are no more than `resamples`; otherwise from that many random
    ones, counting the observed one among them, so that p is never 0.

    Args:
        differences: what each identity adds to each difference.

    Raises:
        ValueError: there is no identity, or a difference is NaN.
    """
    differences = np.asarray(numbers(differences, "differences", 2), np.float64)
    identities = len(differences)
    if not identities or np.isnan(differences).any():
        raise ValueError(f"differences of {identities} identities, of which none may be NaN")
    exact = identities < 63 and 2**identities <= resamples
    if exact:
        bits = np.arange(2**identities)[:, None] >> np.arange(identities) & 1
    else:
        bits = rng.integers(2, size=(resamples, identities), dtype=np.int8)
    sums = np.abs((1 - 2.0 * bits) @ differences)
    observed = np.abs(differences.sum(axis=0))
    # equal but for rounding counts as reached
    reached = (sums >= observed - 1e-9 * np.abs(differences).sum(axis=0)).sum(axis=0)
    return np.asarray(reached / len(sums) if exact else (reached + 1) / (resamples + 1))
