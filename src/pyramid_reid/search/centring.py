"""Features less the mean of their camera, over the crops that a store holds of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.retrieval.camera_mean import camera_means, centred
from pyramid_reid.retrieval.distance import cosine_distances
from pyramid_reid.search.store import Store, filters

Floats = NDArray[np.float32]

FEWEST = 20
"""Crops that a mean takes: that of fewer would be the mean of one or two people."""
MOST = 5000
"""Crops that are read of a camera for a search: more tell nothing new."""


def distances(
    store: Store,
    query: Annotated[Floats, "4 D"],
    camera: str,
    features: Annotated[Floats, "N 4 D"],
    cameras: Annotated[NDArray[Any], "N"],
    weights: Mapping[str, float],
) -> Annotated[NDArray[np.float64], "N"]:
    """Fused distances of a query to crops of a store, by features less the mean of their camera.

    Args:
        camera: of the query.
        features: of the crops, of length 1 in each branch.
        cameras: of the crops.
        weights: of the branches, adding up to 1.

    Raises:
        UserError: the store holds too few crops of a camera, or only equal ones.
    """
    names = sorted({camera, *cameras})
    numbers = {name: number for number, name in enumerate(names)}
    means = np.stack([_mean(store, name) for name in names])
    lengths = np.linalg.norm(query, axis=1, keepdims=True)
    asked, of_crops = (query / lengths)[None], np.array([numbers[name] for name in cameras])
    total = np.zeros(len(features))
    for place, branch in enumerate(BRANCHES):
        of_branch = dict(enumerate(means[:, place]))
        ours = _centred(asked[:, place], np.array([numbers[camera]]), of_branch)
        theirs = _centred(features[:, place], of_crops, of_branch)
        total += weights[branch] * cosine_distances(ours, theirs)[0]
    return total


def _mean(store: Store, camera: str) -> Annotated[Floats, "4 D"]:
    """The mean of the features of a camera's crops, of the first ones where there are many."""
    kept, count = list[Floats](), 0
    for _, features in store.features(f"camera = {filters.quoted(camera)}"):
        kept.append(features)
        count += len(features)
        if count >= MOST:
            break
    _check(camera, count)
    mean: Floats = np.concatenate(kept)[:MOST].mean(axis=0, dtype=np.float64).astype(np.float32)
    return mean


def _check(camera: str, count: int) -> None:
    """Check that there are enough crops of a camera.

    Raises:
        UserError: there are not.
    """
    if count < FEWEST:
        raise UserError(
            f"--centred: there are {count} crops of camera {camera!r}, and a mean takes {FEWEST} of"
            " them at least: index more of them, or leave them out by --where"
        )


def all_centred(
    features: Annotated[Floats, "N 4 D"], cameras: Annotated[NDArray[Any], "N"]
) -> Annotated[Floats, "N 4 D"]:
    """Features of crops less the mean of their camera, all of them of length 1 in each branch.

    Raises:
        UserError: there are too few of a camera, or only equal ones.
    """
    names, numbers, counts = np.unique(cameras, return_inverse=True, return_counts=True)
    for name, count in zip(names, counts, strict=True):
        _check(str(name), int(count))
    of_branches = (np.ascontiguousarray(features[:, place]) for place in range(len(BRANCHES)))
    less = [_centred(of, numbers, camera_means(of, numbers)) for of in of_branches]
    return np.stack(less, axis=1)


def _centred(
    features: Annotated[Floats, "N D"],
    numbers: Annotated[NDArray[np.int64], "N"],
    means: Mapping[int, Annotated[Floats, "D"]],
) -> Annotated[Floats, "N D"]:
    """Features less the mean of their camera.

    Raises:
        UserError: one of them is that mean.
    """
    try:
        return centred(features, numbers, means)
    except ValueError as error:
        raise UserError(
            f"--centred: {error}: a camera's crops are all alike; leave them out by --where"
        ) from error
