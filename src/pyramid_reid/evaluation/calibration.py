"""From a fused distance to the probability of the same person, fitted on validation identities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.retrieval.metrics import Rule

STEPS = 100
"""Of Newton's method, which needs some ten."""

LEAST = 2
"""Validation identities without which nothing can be fitted."""


@dataclass(frozen=True, slots=True)
class Fit:
    """P(same | D) = 1 / (1 + exp(slope D + intercept)); slope > 0, so that it falls with D.

    Attributes:
        same_pairs, different_pairs: it was fitted on, of so many `identities`.
    """

    slope: float
    intercept: float
    identities: int
    same_pairs: int
    different_pairs: int

    def probability(
        self, distances: Annotated[ArrayLike, "..."]
    ) -> Annotated[NDArray[np.float64], "..."]:
        """Of the same person, per distance, where as many pairs are the same as are different."""
        exponent = self.slope * np.asarray(distances, np.float64) + self.intercept
        return np.asarray(1 / (1 + np.exp(np.clip(exponent, -700, 700))))


def fit(
    same: Annotated[ArrayLike, "..."], different: Annotated[ArrayLike, "..."], identities: int
) -> Fit:
    """Fit by maximum likelihood (Platt, 1999), both kinds of pairs with the same total weight.

    In a gallery most pairs are different, the more the larger it is: with equal weights the
    probability does not depend on the size of the validation gallery. Platt's targets, a little
    inside of 0 and 1, keep the fit finite where the kinds do not overlap.

    Args:
        same, different: D_final of pairs of the same and of different persons.
        identities: people whose pairs these are.

    Raises:
        UserError: too few identities, no pair of a kind, or distances that do not grow from same
            to different people.
    """
    kinds = [np.asarray(each, np.float64).ravel() for each in (same, different)]
    if identities < LEAST or not all(len(kind) for kind in kinds):
        raise UserError(
            f"{identities} validation identities with {len(kinds[0])} pairs of the same person are"
            " too few to calibrate on: raise reid.validation_identities"
        )
    if kinds[0].mean() >= kinds[1].mean():
        raise UserError(
            "pairs of the same validation person are not nearer than other pairs: the networks have"
            " learned nothing to calibrate; train them longer"
        )
    distances = np.concatenate(kinds)
    counts = [len(kind) for kind in kinds]
    targets = np.repeat([(counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2)], counts)
    weights = np.repeat([0.5 / counts[0], 0.5 / counts[1]], counts)
    centre, spread = distances.mean(), distances.std()
    features = np.stack([(distances - centre) / spread, np.ones_like(distances)])
    slope, intercept = _newton(features, targets, weights)
    return Fit(
        float(slope / spread), float(intercept - slope * centre / spread), identities, *counts
    )


def _newton(
    features: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimum of the weighted cross-entropy of 1 / (1 + exp(a x)); (2,)."""

    def loss(point: NDArray[np.float64]) -> float:
        exponent = point @ features
        return float(weights @ (np.logaddexp(0, exponent) - (1 - targets) * exponent))

    point = np.zeros(2)
    for _ in range(STEPS):
        probability = 1 / (1 + np.exp(np.clip(point @ features, -700, 700)))
        gradient = features @ (weights * (targets - probability))
        curvature = (features * (weights * probability * (1 - probability))) @ features.T
        step = np.linalg.solve(curvature + 1e-12 * np.eye(2), gradient)
        size = 1.0
        while loss(point - size * step) > loss(point) and size > 1e-6:
            size /= 2
        point = point - size * step
        if np.abs(size * step).max() < 1e-10:
            break
    return point


def pairs(
    distmat: Annotated[NDArray[np.float32], "num_query num_gallery"],
    query: pd.DataFrame,
    gallery: pd.DataFrame,
    rule: Rule,
) -> tuple[
    Annotated[NDArray[np.float32], "same_pairs"], Annotated[NDArray[np.float32], "different_pairs"]
]:
    """Distances of pairs of the same person that count by the rule, and of different people.

    Args:
        query, gallery: columns pid, camid.
        rule: all_shot counts pairs from one camera, too; by the others they are no matches.
    """
    same = query.pid.to_numpy()[:, None] == gallery.pid.to_numpy()
    counted = same
    if rule != "all_shot":
        counted = same & (query.camid.to_numpy()[:, None] != gallery.camid.to_numpy())
    return distmat[counted], distmat[~same]


def errors_at(
    probabilities: Sequence[float],
    fitted: Fit,
    same: Annotated[ArrayLike, "..."],
    different: Annotated[ArrayLike, "..."],
) -> pd.DataFrame:
    """What happens when pairs from some probability on are taken for the same person.

    Returns:
        Columns probability, distance (at which it is reached), false_accepts (percent of the pairs
        of different people that are taken for the same), false_rejects (percent of the pairs of
        the same that are not); a row per threshold.
    """
    ours, theirs = (np.asarray(each, np.float64) for each in (same, different))
    rows = []
    for probability in probabilities:
        distance = (np.log(1 / probability - 1) - fitted.intercept) / fitted.slope
        accepts, rejects = 100 * (theirs <= distance).mean(), 100 * (ours > distance).mean()
        rows.append((probability, distance, accepts, rejects))
    return pd.DataFrame(rows, columns=["probability", "distance", "false_accepts", "false_rejects"])


def reliability(
    fitted: Fit,
    same: Annotated[ArrayLike, "..."],
    different: Annotated[ArrayLike, "..."],
    bins: int = 10,
) -> pd.DataFrame:
    """Stated against observed probability, with both kinds of pairs weighing the same.

    Returns:
        Columns stated (mean in the bin), observed (share of same pairs), share (of all weight in
        the bin); empty bins are left out.
    """
    kinds = [np.asarray(each, np.float64).ravel() for each in (same, different)]
    stated = fitted.probability(np.concatenate(kinds))
    is_same = np.repeat([1.0, 0.0], [len(kind) for kind in kinds])
    weights = np.concatenate([np.full(len(kind), 0.5 / len(kind)) for kind in kinds])
    part = np.minimum((stated * bins).astype(int), bins - 1)
    rows = []
    for number in range(bins):
        inside = part == number
        if weight := weights[inside].sum():
            rows.append(
                (
                    np.average(stated[inside], weights=weights[inside]),
                    np.average(is_same[inside], weights=weights[inside]),
                    weight,
                )
            )
    return pd.DataFrame(rows, columns=["stated", "observed", "share"])
