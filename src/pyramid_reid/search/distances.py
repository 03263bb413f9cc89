"""Fused distances of embedded crops: what `fuse` ranks by, from features instead of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.core.params import BRANCHES
from pyramid_reid.retrieval.distance import cosine_distances
from pyramid_reid.retrieval.fusion import fuse


def distances(
    query: Annotated[ArrayLike, "num_query 4 D"],
    gallery: Annotated[ArrayLike, "num_gallery 4 D"],
    weights: Mapping[str, float] | None = None,
) -> Annotated[NDArray[np.float32], "num_query num_gallery"]:
    """D_final = w_ori D_ori + w_h1 D_h1 + w_h2 D_h2 + w_h3 D_h3 of every query and gallery crop.

    Args:
        query: features from `Model.embed`, branches in the order ori, h1, h2, h3.
        gallery: of the same model.
        weights: per branch, at least 0, one of them above; branches left out weigh 0. None weighs
            all alike. Divided by their sum, so that distances lie in [0, 2] whatever they are.

    Returns:
        float32.

    Raises:
        ValueError: shapes do not fit, or weights are not as above.
    """
    asked, answered = (np.asarray(each, np.float32) for each in (query, gallery))
    for name, each in (("query", asked), ("gallery", answered)):
        if each.ndim != 3 or each.shape[1] != len(BRANCHES):
            raise ValueError(
                f"{name} features have the shape {each.shape}, not (crops, {len(BRANCHES)}, D)"
            )
    if asked.shape[2] != answered.shape[2]:
        raise ValueError(
            f"query features have {asked.shape[2]} numbers per branch, gallery features"
            f" {answered.shape[2]}: they are of two models"
        )
    shares = proportions(weights)
    distmats = {
        branch: cosine_distances(
            np.ascontiguousarray(asked[:, number]), np.ascontiguousarray(answered[:, number])
        )
        for number, branch in enumerate(BRANCHES)
        if shares[branch]
    }
    return fuse(distmats, {branch: shares[branch] for branch in distmats})


def proportions(weights: Mapping[str, float] | None) -> dict[str, float]:
    """Weights of all four branches that add up to 1.

    Raises:
        ValueError: a branch is unknown, a weight is negative or no number, or all are 0.
    """
    if weights is None:
        return dict.fromkeys(BRANCHES, 1 / len(BRANCHES))
    if unknown := sorted(set(weights) - set(BRANCHES)):
        raise ValueError(f"no branch {', '.join(unknown)}: the branches are {', '.join(BRANCHES)}")
    given = {branch: float(weights.get(branch, 0)) for branch in BRANCHES}
    if not all(np.isfinite(value) and value >= 0 for value in given.values()):
        raise ValueError(f"weights are numbers from 0, not {dict(weights)}")
    total = sum(given.values())
    if not total:
        raise ValueError("all weights are 0: give one branch at least a weight above 0")
    return {branch: value / total for branch, value in given.items()}
