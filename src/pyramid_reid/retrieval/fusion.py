"""Fusion of the branches' distances."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def fuse(
    distmats: Mapping[str, NDArray[np.float32]], weights: Mapping[str, float]
) -> NDArray[np.float32]:
    """D_final = sum over branches of w_b D_b (Peng et al. 2024).

    Only the weights' proportions matter for the ranking; they need not add up to 1.

    Args:
        distmats: per branch (num_query, num_gallery), all of one shape.
        weights: per branch, at least 0; the same keys.

    Raises:
        ValueError: keys or shapes differ.
    """
    if set(distmats) != set(weights):
        raise ValueError(f"distances of {sorted(distmats)}, weights of {sorted(weights)}")
    if len({distmat.shape for distmat in distmats.values()}) != 1:
        raise ValueError(f"shapes differ: { ({k: v.shape for k, v in distmats.items()}) }")
    parts = [np.float32(weights[branch]) * distmat for branch, distmat in distmats.items()]
    return np.asarray(np.sum(parts, axis=0, dtype=np.float32))
