"""Fusion of the branches' distances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def fuse(distmats: Mapping[str, Floats], weights: Mapping[str, float]) -> Floats:
    """D_final = sum over branches of w_b D_b (Peng et al. 2024).

    Only the weights' proportions matter for the ranking; they need not add up to 1. A branch of
    weight 0 takes no part, whatever its distances are.

    Args:
        distmats: per branch (num_query, num_gallery), all of one shape; or the same rows of each.
        weights: per branch, at least 0, one of them above; the same keys.

    Raises:
        ValueError: keys or shapes differ.
    """
    if set(distmats) != set(weights):
        raise ValueError(f"distances of {sorted(distmats)}, weights of {sorted(weights)}")
    if len({distmat.shape for distmat in distmats.values()}) != 1:
        raise ValueError(f"shapes differ: { ({k: v.shape for k, v in distmats.items()}) }")
    first, *others = (branch for branch in distmats if weights[branch])
    fused = distmats[first] * np.float32(weights[first])
    for branch in others:
        fused += distmats[branch] * np.float32(weights[branch])
    return fused
