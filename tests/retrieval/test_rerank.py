import warnings

import numpy as np
import pytest

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


def test_joined_features_give_the_fused_distance():
    weights = {"ori": 0.7, "h1": 0.1}
    parts = people(4, 6, 0)
    query, gallery = (join(features, weights) for features in parts)
    fused = sum(weights[b] * (1 - parts[0][b] @ parts[1][b].T) for b in weights)
    np.testing.assert_allclose(0.8 - query @ gallery.T, fused, atol=1e-6)
