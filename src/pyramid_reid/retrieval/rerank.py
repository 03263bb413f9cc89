"""k-reciprocal re-ranking (Zhong et al., CVPR 2017) of the fused distance, in runs of rows.

The published code holds several dense matrices of (queries + gallery)². Here each image's encoding
is a sparse row, and distances are computed a few rows at a time as products of features: the fused
distance sum_b w_b (1 - q_b · g_b) equals sum_b w_b - q · g, where q and g concatenate the branches'
features, each multiplied by the square root of its weight.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.retrieval.arrays import numbers, unit_features
from pyramid_reid.retrieval.fusion import taking_part

Floats = NDArray[np.float32]

CHUNK_BYTES = 2**26
"""Distances or gathered features that are held at a time."""
SAME = 1e-6
"""Share of the sum of weights below which distances are rounding: products of float32 features."""


@dataclass(frozen=True, slots=True)
class Rerank:
    """Settings, as published: k1 = 20, k2 = 6, lambda = 0.3.

    Attributes:
        k1: neighbours among which reciprocal ones are looked for.
        k2: neighbours whose encodings are averaged; 1 averages none.
        lambda_value: weight of the original distance beside the Jaccard distance, in [0, 1].
    """

    k1: int = 20
    k2: int = 6
    lambda_value: float = 0.3


def join(
    features: Mapping[str, Annotated[ArrayLike, "N D_b"]], weights: Mapping[str, float]
) -> Annotated[Floats, "N D"]:
    """One vector per image whose products are weighted sums of the branches' cosines.

    Args:
        features: per branch, rows of length 1.
        weights: per branch, at least 0, one of them above. A branch of weight 0 takes no part,
            whatever its features are.

    Returns:
        D is the sum of the branches' D_b.

    Raises:
        ValueError: branches differ or hold different numbers of images, a weight is none, or
            features are no (N, D) of rows of length 1.
    """
    if set(features) != set(weights):
        raise ValueError(f"features of {sorted(features)}, weights of {sorted(weights)}")
    parts = {
        branch: unit_features(features[branch], f"features of {branch}")
        for branch in taking_part(weights)
    }
    if len({len(part) for part in parts.values()}) != 1:
        raise ValueError(f"numbers of images differ: { ({k: len(v) for k, v in parts.items()}) }")
    return np.concatenate(
        [np.float32(np.sqrt(weights[branch])) * part for branch, part in parts.items()], axis=1
    )


def rerank(
    query: Annotated[ArrayLike, "num_query D"],
    gallery: Annotated[ArrayLike, "num_gallery D"],
    total: float,
    settings: Rerank,
) -> Iterator[tuple[int, Annotated[Floats, "rows num_gallery"]]]:
    """Re-ranked distances, run after run of queries.

    Every image of the gallery may be a neighbour and moves the distances of others: hand over those
    alone that are judged. Where all images have the same features, all distances are 0.

    Args:
        query, gallery: features that `join` made.
        total: sum of the weights: the distance of two images is this less their product.

    Returns:
        Runs: first row, and distances.

    Raises:
        ValueError: there is no query or no gallery, or features are no (N, D) of finite numbers of
            one D, at once and not with the first run.
    """
    first, second = (
        np.asarray(numbers(values, name, 2), np.float32)
        for values, name in ((query, "query features"), (gallery, "gallery features"))
    )
    if not len(first) or not len(second) or first.shape[1] != second.shape[1]:
        raise ValueError(
            f"query features are {first.shape}, gallery features {second.shape}: there must be one"
            " of each, and of as many numbers"
        )
    features = np.concatenate([first, second])
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise ValueError(f"features of {bad.size} images are NaN or infinite, the first {bad[0]}")
    return _runs(features, len(first), total, settings)


def _runs(
    features: Floats, num_query: int, total: float, settings: Rerank
) -> Iterator[tuple[int, Floats]]:
    """Runs of `rerank`, of joined features: the queries' first."""
    count = len(features)
    rows = max(1, CHUNK_BYTES // (4 * count))
    neighbours, largest = _neighbours(features, total, max(settings.k1 + 1, settings.k2))
    if largest.min() <= np.square(SAME * total):  # one image is at all others, so all are at all
        for start in range(0, num_query, rows):
            stop = min(start + rows, num_query)
            yield start, np.zeros((stop - start, count - num_query), np.float32)
        return
    encoding = _encode(features, total, neighbours, largest, settings.k1)
    if settings.k2 > 1:
        near = neighbours[:, : settings.k2]
        averages = _sparse(near, np.full(near.shape, 1 / near.shape[1], np.float32))
        encoding = averages @ encoding
    columns = encoding.T.tocsr()
    for start in range(0, num_query, rows):
        stop = min(start + rows, num_query)
        original = _squared(features[start:stop], features, total)[:, num_query:]
        original /= largest[start:stop, None]
        run = np.empty((stop - start, count - num_query), np.float32)
        for row in range(start, stop):
            shared = _shared(encoding, columns, row)[num_query:]
            run[row - start] = 1 - shared / (2 - shared)
        weight = np.float32(settings.lambda_value)
        yield start, run * (1 - weight) + original * weight


def _squared(some: Floats, features: Floats, total: float) -> Floats:
    distances: Floats = some @ features.T
    np.subtract(np.float32(total), distances, out=distances)
    np.maximum(distances, 0, out=distances)  # below 0 by rounding; its square would be above
    return np.square(distances, out=distances)


def _neighbours(features: Floats, total: float, k: int) -> tuple[NDArray[np.int64], Floats]:
    """The k nearest images of each, itself first, and its largest squared distance."""
    count = len(features)
    k = min(k, count)
    neighbours, largest = np.empty((count, k), np.int64), np.empty(count, np.float32)
    rows = max(1, CHUNK_BYTES // (4 * count))
    for start in range(0, count, rows):
        squared = _squared(features[start : start + rows], features, total)
        span = slice(start, start + len(squared))
        largest[span] = squared.max(axis=1)
        own = np.arange(len(squared))
        squared[own, start + own] = -1  # itself first, also among copies
        near = np.sort(np.argpartition(squared, k - 1, axis=1)[:, :k], axis=1)
        order = np.argsort(np.take_along_axis(squared, near, axis=1), axis=1, kind="stable")
        neighbours[span] = np.take_along_axis(near, order, axis=1)
    return neighbours, largest


def _sparse(columns: NDArray[np.int64], values: Floats) -> Any:
    """A sparse (N, N) matrix with the same number of entries in each row: both (N, k)."""
    from scipy.sparse import csr_array

    count, k = columns.shape
    starts = np.arange(0, count * k + 1, k)
    # copies: a sparse matrix changes its arrays when it drops its zeros
    return csr_array((values.ravel(), columns.ravel(), starts), shape=(count, count), copy=True)


def _reciprocal(neighbours: NDArray[np.int64], k: int) -> Any:
    """Sparse (N, N): 1 where two images are among the k + 1 nearest of each other."""
    near = neighbours[:, : k + 1]
    mutual = np.empty(near.shape, np.float32)
    rows = max(1, CHUNK_BYTES // (8 * near.shape[1] ** 2))
    for start in range(0, len(near), rows):
        some = near[start : start + rows]
        own = np.arange(start, start + len(some))[:, None, None]
        mutual[start : start + rows] = (near[some] == own).any(axis=2)
    matrix = _sparse(near, mutual)
    matrix.eliminate_zeros()
    return matrix


def _encode(
    features: Floats, total: float, neighbours: NDArray[np.int64], largest: Floats, k1: int
) -> Any:
    """Each image by its k-reciprocal neighbours, sparse (N, N); rows add up to 1.

    A neighbour's own reciprocal neighbours, among half as many, join where more than two thirds of
    them are neighbours already.
    """
    full, half = _reciprocal(neighbours, k1), _reciprocal(neighbours, int(np.around(k1 / 2)))
    overlap = (full @ half.T).multiply(full).tocsr()
    sizes = np.asarray(half.sum(axis=1)).ravel()
    overlap.data = (overlap.data > 2 / 3 * sizes[overlap.indices]).astype(np.float32)
    overlap.eliminate_zeros()
    encoding = (full + overlap @ half).tocsr()
    row = np.repeat(np.arange(len(features)), np.diff(encoding.indptr))
    step = max(1, CHUNK_BYTES // (8 * features.shape[1]))
    for start in range(0, len(row), step):
        span = slice(start, start + step)
        product = np.einsum("ij,ij->i", features[row[span]], features[encoding.indices[span]])
        encoding.data[span] = np.exp(
            -np.square(np.maximum(total - product, 0)) / largest[row[span]]
        )
    encoding.data /= np.bincount(row, encoding.data, len(features))[row]
    return encoding


def _shared(encoding: Any, columns: Any, row: int) -> NDArray[np.float64]:
    """What a row of the encoding has in common with each row: sum of minima, (N,)."""
    span = slice(encoding.indptr[row], encoding.indptr[row + 1])
    starts = columns.indptr[encoding.indices[span]]
    counts = columns.indptr[encoding.indices[span] + 1] - starts
    flat = np.arange(counts.sum()) + np.repeat(starts - np.cumsum(counts) + counts, counts)
    least = np.minimum(columns.data[flat], np.repeat(encoding.data[span], counts))
    return np.bincount(columns.indices[flat], least, columns.shape[0]).astype(np.float64)
