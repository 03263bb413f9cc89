"""Cosine distances."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def normalize(features: Floats) -> Floats:
    """Scale each row of (N, D) to Euclidean length 1.

    Raises:
        ValueError: a row is zero, NaN or infinite, and has no direction.
    """
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if bad.size:
        raise ValueError(f"{bad.size} features have no direction, the first in row {bad[0]}")
    return np.asarray(features / lengths, np.float32)


def cosine_distances(query: Floats, gallery: Floats) -> Floats:
    """1 - cos of the angle between every query and every gallery feature.

    Args:
        query: (num_query, D), rows of length 1.
        gallery: (num_gallery, D), rows of length 1.

    Returns:
        (num_query, num_gallery) float32 in [0, 2], up to rounding.
    """
    return np.float32(1) - query @ gallery.T
