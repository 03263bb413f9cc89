"""How far a figure may be chance: intervals and paired tests over identities. NumPy only.

Queries of one person share clothes, pose and gallery images: they are no independent
observations, identities are. So identities are resampled, with all their queries (cluster
bootstrap; Efron and Tibshirani 1993, ch. 8), and a difference between two rankings is tested by
giving each identity's difference a random sign (Fisher's randomisation test).

Both say how the figures would vary with other people before the same networks. They say nothing of
other trainings; the deviation over splits does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Clusters:
    """Values of queries, added up per identity and split.

    Attributes:
        sums: (identities, splits, figures).
        counts: (identities, splits) queries.
    """

    sums: Floats
    counts: Floats

    def contributions(self) -> Floats:
        """What each identity adds to each figure, (identities, figures)."""
        return np.asarray((self.sums / self.counts.sum(0)[:, None]).mean(axis=1))

    def figures(self) -> Floats:
        """Mean over splits of the mean over queries, (figures,)."""
        return np.asarray(self.contributions().sum(axis=0))


def cluster(values: Floats, pids: NDArray[np.integer], splits: NDArray[np.integer]) -> Clusters:
    """Add up the values of queries per identity and split.

    Args:
        values: (num_query, figures).
        pids: (num_query,) any numbers.
        splits: (num_query,) any numbers, such as those of splits that were run apart.
    """
    _, person = np.unique(pids, return_inverse=True)
    _, split = np.unique(splits, return_inverse=True)
    shape = (int(person.max()) + 1, int(split.max()) + 1)
    sums, counts = np.zeros((*shape, values.shape[1])), np.zeros(shape)
    np.add.at(sums, (person, split), values)
    np.add.at(counts, (person, split), 1)
    return Clusters(sums, counts)


def bootstrap(clusters: Clusters, resamples: int, rng: np.random.Generator) -> Floats:
    """Figures of sets of identities drawn with replacement, (resamples, figures).

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
    differences: NDArray[np.float64], resamples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Two-sided p-values that paired differences add up to nothing, (figures,).

    Exact where all patterns of signs are no more than `resamples`; otherwise from that many random
    ones, counting the observed one among them, so that p is never 0.

    Args:
        differences: (identities, figures) what each identity adds to each difference.
    """
    identities = len(differences)
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
