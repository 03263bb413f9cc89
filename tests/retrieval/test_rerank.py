import warnings

import numpy as np
import pytest
import torch

from pyramid_reid.retrieval.distance import normalize
from pyramid_reid.retrieval.rerank import Rerank, join, rerank

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchreid.reid.utils.rerank import re_ranking


def people(num_query, num_gallery, seed, noise=0.9):
    """Features of two branches: (num, 16) each, ten people."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(10, 16))
    return [
        {
            branch: normalize(
                (centres[np.arange(count) % 10] + noise * rng.normal(size=(count, 16))).astype(
                    np.float32
                )
            )
            for branch in ("ori", "h1")
        }
        for count in (num_query, num_gallery)
    ]


@pytest.mark.parametrize(
    ("settings", "sizes", "seed"),
    [
        (Rerank(), (20, 70), 0),
        (Rerank(k1=5, k2=1, lambda_value=0.0), (7, 40), 1),
        (Rerank(k1=7, k2=3, lambda_value=0.5), (30, 31), 2),
        (Rerank(k1=20, k2=6), (3, 9), 3),  # fewer images than neighbours
        (Rerank(k1=4, k2=12, lambda_value=1.0), (12, 50), 4),
    ],
)
def test_it_agrees_with_torchreid(settings, sizes, seed, monkeypatch):
    monkeypatch.setattr("pyramid_reid.retrieval.rerank.CHUNK_BYTES", 4 * sum(sizes) * 3)
    weights = {"ori": 0.4, "h1": 0.35}
    query, gallery = (join(features, weights) for features in people(*sizes, seed))
    total = sum(weights.values())
    theirs = re_ranking(
        total - query @ gallery.T,
        total - query @ query.T,
        total - gallery @ gallery.T,
        settings.k1,
        settings.k2,
        settings.lambda_value,
    )
    runs = list(rerank(query, gallery, total, settings))
    assert [start for start, _ in runs] == list(range(0, sizes[0], 3))
    np.testing.assert_allclose(np.concatenate([run for _, run in runs]), theirs, atol=2e-5)


def images(*cosines):
    """Query (1, 0), and gallery features at these cosines to it, of two numbers each."""
    gallery = [[cosine, np.sqrt(1 - cosine**2)] for cosine in cosines]
    return np.float32([[1, 0]]), np.float32(gallery)


def reranked(*arguments):
    return np.concatenate([run for _, run in rerank(*arguments)])


def test_a_twin_a_little_longer_is_nearest():
    """Its distance is below 0, whose square would put it behind the others."""
    query, gallery = images(0.9995, 1.0, 0.0)
    gallery[1] *= 1.001
    distances = reranked(query, gallery, 1.0, Rerank(2, 1, 1.0))
    assert distances.argmin() == 1
    assert distances[0, 1] == 0


@pytest.mark.parametrize("dim", [16, 512])
def test_images_that_are_all_the_same_are_at_distance_0(dim, monkeypatch):
    monkeypatch.setattr("pyramid_reid.retrieval.rerank.CHUNK_BYTES", 4 * 60 * 3)
    (feature,) = normalize(np.random.default_rng(0).normal(size=(1, dim)))
    runs = list(rerank(np.tile(feature, (10, 1)), np.tile(feature, (50, 1)), 1.0, Rerank()))
    assert [start for start, _ in runs] == [0, 3, 6, 9]
    np.testing.assert_array_equal(np.concatenate([run for _, run in runs]), np.zeros((10, 50)))


@pytest.mark.parametrize("copies", [2, 40])
def test_copies_give_no_nan(copies):
    """Of each of three images more copies than neighbours are looked for: each is its own."""
    query, gallery = images(1.0, 0.5, 0.0)
    gallery = np.repeat(gallery, copies, axis=0)
    distances = reranked(query, gallery, 1.0, Rerank(k1=5, k2=3))
    assert np.isfinite(distances).all()
    assert (distances[0, :copies] < distances[0, copies:].min()).all()


def test_a_branch_without_weight_takes_no_part():
    features = {"ori": np.eye(3), "h1": np.full((3, 2), np.nan)}
    joined = join(features, {"ori": 0.25, "h1": 0.0})
    np.testing.assert_array_equal(joined, 0.5 * np.eye(3))


@pytest.mark.parametrize(
    ("features", "weights", "message"),
    [
        ({"ori": np.eye(3)}, {"h1": 1.0}, "features of .* weights of"),
        ({"ori": np.eye(3)}, {"ori": 0.0}, "no branch has a weight above 0"),
        ({"ori": np.eye(3), "h1": np.eye(2)}, {"ori": 1, "h1": 1}, "numbers of images differ"),
        ({"ori": [[np.nan, 1]]}, {"ori": 1}, "features of ori must have rows of length 1; row 0"),
        ({"ori": [["a"]]}, {"ori": 1}, "features of ori must hold real numbers"),
    ],
)
def test_features_that_cannot_be_joined_are_refused(features, weights, message):
    with pytest.raises(ValueError, match=message):
        join(features, weights)


@pytest.mark.parametrize(
    ("query", "gallery", "message"),
    [
        ([[1, 0]], np.zeros((0, 2)), "there must be one of each"),
        (np.zeros((0, 2)), [[1, 0]], "there must be one of each"),
        ([[1, 0]], [[1, 0, 0]], "as many numbers"),
        ([[1, 0]], [[1, np.nan]], "features of 1 images are NaN or infinite, the first 1"),
        ([[1, None]], [[1, 0]], "query features must hold real numbers"),
    ],
)
def test_features_that_cannot_be_re_ranked_are_refused_at_once(query, gallery, message):
    with pytest.raises(ValueError, match=message):
        rerank(query, gallery, 1.0, Rerank())


def test_lists_and_tensors_are_re_ranked_alike():
    query, gallery = images(1.0, 0.5, 0.0, 0.7)
    expected = reranked(query, gallery, 1.0, Rerank(2, 2))
    for convert in (list, torch.tensor, np.float64):
        given = reranked(convert(query), convert(gallery), 1.0, Rerank(2, 2))
        np.testing.assert_array_equal(given, expected)


def test_joined_features_give_the_fused_distance():
    weights = {"ori": 0.7, "h1": 0.1}
    parts = people(4, 6, 0)
    query, gallery = (join(features, weights) for features in parts)
    fused = sum(weights[b] * (1 - parts[0][b] @ parts[1][b].T) for b in weights)
    np.testing.assert_allclose(0.8 - query @ gallery.T, fused, atol=1e-6)
