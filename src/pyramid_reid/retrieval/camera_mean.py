"""Features less the mean of their camera: what a camera gives all its crops says nothing of who."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.retrieval.arrays import unit_features
from pyramid_reid.retrieval.distance import normalize

Floats = NDArray[np.float32]

FEWEST = 20
"""Crops that a mean takes: that of fewer would be the mean of one or two people."""


def camera_means(
    features: Annotated[ArrayLike, "N D"], camids: Annotated[NDArray[np.int64], "N"]
) -> dict[int, Annotated[Floats, "D"]]:
    """The mean feature of each camera.

    Args:
        features: rows of length 1.
        camids: the camera of each.

    Raises:
        ValueError: features are no (N, D) of rows of length 1.
    """
    rows = unit_features(features, "features")
    return {
        int(camid): rows[camids == camid].mean(axis=0, dtype=np.float64).astype(np.float32)
        for camid in np.unique(camids)
    }


def centred(
    features: Annotated[ArrayLike, "N D"],
    camids: Annotated[NDArray[np.int64], "N"],
    means: Mapping[int, Annotated[Floats, "D"]],
) -> Annotated[Floats, "N D"]:
    """Features less the mean of their camera, scaled to length 1 again.

    The step that Song, Park and Lee, "Exploring the camera bias of person re-identification"
    (ICLR 2025), find to help networks on cameras that did not train them; without their division
    by the deviation.

    Args:
        features: rows of length 1.
        camids: the camera of each.
        means: of each camera, over other crops than those that are ranked.

    Raises:
        ValueError: features are no (N, D) of rows of length 1, or not as many as cameras; a camera
            has no mean; or a feature is its camera's mean, and has no direction.
    """
    rows = unit_features(features, "features")
    if len(rows) != len(camids):
        raise ValueError(f"{len(rows)} features for {len(camids)} crops")
    if missing := set(np.unique(camids).tolist()) - set(means):
        raise ValueError(f"camera {min(missing)} has no mean")
    moved = rows - np.stack([means[int(camid)] for camid in camids]) if len(rows) else rows
    return normalize(moved)
