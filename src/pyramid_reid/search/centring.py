"""Features less the mean of their camera, over the crops that a store holds of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.retrieval.camera_mean import FEWEST, camera_means, centred
from pyramid_reid.retrieval.distance import cosine_distances, normalize
from pyramid_reid.retrieval.fusion import taking_part
from pyramid_reid.search.store import Store, filters

Floats = NDArray[np.float32]


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
        query: mean of the features of its crops, which are all of `camera`; not scaled to length 1.
        features: of the crops, of length 1 in each branch.
        cameras: of the crops.
        weights: of the branches, adding up to 1.

    Raises:
        UserError: the store holds too few crops of a camera, or only equal ones.
    """
    names = sorted({camera, *cameras})
    numbers = {name: number for number, name in enumerate(names)}
    means = np.stack([_mean(store, name, asked=name == camera) for name in names])
    of_crops = np.array([numbers[name] for name in cameras])
    total = np.zeros(len(features))
    for branch in taking_part(weights):
        place = BRANCHES.index(branch)
        # scaled before, a query of several crops would keep some of its camera
        moved = (query[place] - means[numbers[camera], place])[None]
        try:
            ours = normalize(moved)
        except ValueError as error:
            raise UserError(
                f"--centred {camera}: the query is the mean of its camera, and tells nothing of who"
            ) from error
        theirs = _centred(features[:, place], of_crops, dict(enumerate(means[:, place])))
        total += weights[branch] * cosine_distances(ours, theirs)[0]
    return total


def _mean(store: Store, camera: str, *, asked: bool) -> Annotated[Floats, "4 D"]:
    """The mean of the features of all crops of a camera.

    Args:
        asked: whether it is the query's camera.
    """
    total, count = np.zeros(()), 0
    for _, features in store.features(f"camera = {filters.quoted(camera)}"):
        total = total + features.sum(axis=0, dtype=np.float64)
        count += len(features)
    if asked and count < FEWEST:
        raise UserError(
            f"--centred {camera}: the store has {count} crops of the query's camera, and a mean"
            f" takes {FEWEST} at least: name it as the column `camera` does, or index more of its"
            " crops"
        )
    _check(camera, count)
    mean: Floats = (total / count).astype(np.float32)
    return mean


def _check(camera: str, count: int) -> None:
    """Check that there are enough crops of a camera.

    Raises:
        UserError: there are not.
    """
    if count < FEWEST:
        raise UserError(
            f"--centred: there are {count} crops of camera {camera!r}, and a mean takes {FEWEST} at"
            " least: index more of them, or leave them out by --where"
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
