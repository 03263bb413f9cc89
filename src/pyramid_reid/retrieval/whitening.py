"""Features whitened within people: directions in which crops of one person differ count less."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.retrieval.arrays import unit_features
from pyramid_reid.retrieval.distance import normalize

Floats = NDArray[np.float32]

STRENGTH = 10.0
"""Of the identity that is added to the covariance, whose mean variance is scaled to 1: the people
of a small set span few of 512 directions. Chosen on validation people (docs/results.md): one number
for both sets and all splits, so who chose it in one split may be a test person of another.
"""
ALIKE = 1e-12
"""Mean variance that rounding leaves of crops that are all alike."""


def within_people(
    features: Annotated[ArrayLike, "N D"],
    pids: Annotated[NDArray[np.int64], "N"],
    strength: float = STRENGTH,
) -> Annotated[Floats, "D D"]:
    """The matrix that whitens features within people.

    Within-class covariance normalization of Hatch, Kajarekar and Stolcke (Interspeech 2006), with
    the covariance shrunk towards the identity: `W` with `W W' = inverse(C D / trace(C) + s I)`,
    where `C` is the covariance of features less the mean of their person.

    Args:
        features: rows of length 1, of the people that trained the network.
        pids: the person of each.
        strength: `s`, above 0.

    Raises:
        ValueError: features are no (N, D) of rows of length 1, or not as many as pids; or all crops
            of each person are alike, and there is nothing to whiten.
    """
    rows = unit_features(features, "features").astype(np.float64)
    if len(rows) != len(pids):
        raise ValueError(f"{len(rows)} features for {len(pids)} crops")
    for pid in np.unique(pids):
        rows[pids == pid] -= rows[pids == pid].mean(axis=0)
    covariance = rows.T @ rows / max(1, len(rows))
    mean_variance = np.trace(covariance) / max(1, len(covariance))
    if not mean_variance > ALIKE:
        raise ValueError("no person has two crops that differ")
    shrunk = covariance / mean_variance + strength * np.eye(len(covariance))
    return np.asarray(np.linalg.inv(np.linalg.cholesky(shrunk)).T, np.float32)


def whitened(
    features: Annotated[ArrayLike, "N D"], matrix: Annotated[ArrayLike, "D D"]
) -> Annotated[Floats, "N D"]:
    """Features times a matrix of `within_people`, scaled to length 1 again.

    Args:
        features: rows of length 1, centred as those were that the matrix comes from.

    Raises:
        ValueError: features are no (N, D) of rows of length 1, or the matrix is no (D, D).
    """
    rows, square = unit_features(features, "features"), np.asarray(matrix)
    if square.shape != (rows.shape[1],) * 2:
        raise ValueError(f"a matrix of {square.shape} for features of {rows.shape[1]} numbers")
    return normalize(rows @ square)
