"""Features as the store keeps them, and the distances by which hits are ordered."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.params import BRANCHES

Floats = NDArray[np.float32]


def unit(vectors: Any) -> Annotated[Floats, "n 4 D"]:
    """A column of vectors as float32, each branch of length 1 again after float16."""
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    dim = vectors.type.list_size // len(BRANCHES)  # told, where there is no vector to tell it by
    return normalized(flat.astype(np.float32).reshape(len(vectors), len(BRANCHES), dim))


def normalized(features: Annotated[Floats, "n 4 D"]) -> Annotated[Floats, "n 4 D"]:
    """Features of length 1 again after float16; in place."""
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    return features


def distances_to(
    query: Annotated[Floats, "4 D"], gallery: Annotated[Floats, "n 4 D"]
) -> Annotated[Floats, "n 4"]:
    """Cosine distances of a query and crops, per branch."""
    return np.asarray(np.clip(1 - np.einsum("bd,nbd->nb", query, gallery), 0, 2))
