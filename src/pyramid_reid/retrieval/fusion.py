"""Fusion of the branches' distances: one sum, for given weights and for a grid of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.retrieval.arrays import numbers

Floats = NDArray[np.float32]


def fuse(
    distmats: Mapping[str, Annotated[ArrayLike, "num_query num_gallery"]],
    weights: Mapping[str, float],
) -> Annotated[Floats, "num_query num_gallery"]:
    """D_final = sum over branches of w_b D_b (Peng et al. 2024), in float32.

    Only the weights' proportions matter for the ranking; they need not add up to 1. A branch of
    weight 0 takes no part, whatever its distances are.

    Args:
        distmats: per branch, all of one shape; or the same rows of each.
        weights: per branch, at least 0, one of them above; the same keys.

    Raises:
        ValueError: keys or shapes differ, a weight is negative or not finite, all are 0, or
            distances are no numbers.
    """
    if set(distmats) != set(weights):
        raise ValueError(f"distances of {sorted(distmats)}, weights of {sorted(weights)}")
    parts = {
        branch: np.asarray(numbers(distmat, f"distances of {branch}"), np.float32)
        for branch, distmat in distmats.items()
    }
    if len({part.shape for part in parts.values()}) != 1:
        raise ValueError(f"shapes differ: { ({k: v.shape for k, v in parts.items()}) }")
    used = taking_part(weights)
    branches = [branch for branch in parts if branch in used]
    point = np.array([[weights[branch] for branch in branches]], np.float32)
    return np.asarray(weighted_sum([parts[branch] for branch in branches], point)[0])


def taking_part(weights: Mapping[str, float]) -> list[str]:
    """The branches that take part: those of a weight above 0.

    Raises:
        ValueError: a weight is negative or not finite, or none is above 0.
    """
    for branch, weight in weights.items():
        if not 0 <= weight < np.inf:
            raise ValueError(f"the weight of {branch} is {weight}, not a finite number from 0 on")
    used = [branch for branch, weight in weights.items() if weight]
    if not used:
        raise ValueError("no branch has a weight above 0")
    return used


def weighted_sum(
    distances: Sequence[Annotated[Floats, "..."]], weights: Annotated[Floats, "points branches"]
) -> Annotated[Floats, "points ..."]:
    """Sums of distances, once for each point of weights.

    Added up branch by branch in float32, so that a point has the same bits whether it is summed
    alone or among others, and whichever rows and columns are summed with it.

    Args:
        distances: of each branch, all of one shape.

    Returns:
        The sums, one for each point.
    """
    of_branches = weights.T.reshape(len(distances), -1, *[1] * distances[0].ndim)
    fused: Floats = distances[0] * of_branches[0]
    product = np.empty_like(fused)
    for part, weight in zip(distances[1:], of_branches[1:], strict=True):
        fused += np.multiply(part, weight, out=product)
    return fused
