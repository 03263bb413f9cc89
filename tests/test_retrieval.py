import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyramid_reid.retrieval.distance import cosine_distances, normalize
from pyramid_reid.retrieval.fusion import fuse
from pyramid_reid.retrieval.metrics import cmc, evaluate, match_ranks, summary

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchreid.reid.metrics.rank import eval_market1501


def arrays(*lists):
    return [np.array(values) for values in lists]


def test_by_hand():
    # query 0 (person 1): nearest first 2 x, 1 hit, 3 x, 1 hit   -> ranks 2 and 4
    # query 1 (person 2): 2 hit at once                          -> rank 1
    distmat = np.array([[0.2, 0.1, 0.3, 0.4], [0.9, 0.1, 0.8, 0.7]])
    results = evaluate(distmat, *arrays([1, 2], [2, 2], [1, 2, 3, 1], [1, 1, 1, 1]))
    np.testing.assert_array_equal(results.first_rank, [2, 1])
    np.testing.assert_allclose(results.average_precision, [(1 / 2 + 2 / 4) / 2, 1])
    np.testing.assert_allclose(results.inverse_negative_penalty, [2 / 4, 1])
    figures = summary(results)
    assert figures["rank1"] == 50
    assert figures["rank5"] == 100
    assert figures["mAP"] == pytest.approx(75)
    assert figures["mINP"] == pytest.approx(75)
    np.testing.assert_array_equal(cmc(results.first_rank, 3), [0.5, 1, 1])


def test_the_query_s_own_camera_does_not_count():
    # the nearest crop shows the person, but from the query's own camera
    distmat = np.array([[0.0, 0.5, 0.6]])
    results = evaluate(distmat, *arrays([1], [1], [1, 2, 1], [1, 2, 2]))
    assert results.first_rank[0] == 2
    # another person from the query's camera does count
    results = evaluate(distmat, *arrays([1], [1], [2, 3, 1], [1, 1, 2]))
    assert results.first_rank[0] == 3


def test_at_a_tie_the_other_person_comes_first():
    np.testing.assert_array_equal(match_ranks(np.array([0.5]), np.array([0.5, 0.5, 0.9])), [3])
    results = evaluate(np.zeros((1, 3)), *arrays([1], [1], [1, 2, 3], [2, 2, 2]))
    assert results.first_rank[0] == 3


@st.composite
def problems(draw, ties=False):
    """A distance matrix and labels where every query has a true match."""
    num_query, people = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    num_gallery = draw(st.integers(people, 14))
    gallery_pids = np.array([n % people for n in range(num_gallery)])
    gallery_camids = np.array(
        draw(st.lists(st.integers(1, 3), min_size=num_gallery, max_size=num_gallery))
    )
    rows = [draw(st.integers(0, num_gallery - 1)) for _ in range(num_query)]
    query_pids = gallery_pids[rows]
    query_camids = gallery_camids[rows] % 3 + 1  # another camera than that of one true match
    if ties:
        elements = st.sampled_from([0.0, 0.25, 0.5])
        distmat = draw(hnp.arrays(np.float32, (num_query, num_gallery), elements=elements))
    else:
        rng = np.random.default_rng(draw(st.integers(0, 2**32)))
        order = rng.permutation(num_query * num_gallery).reshape(num_query, num_gallery)
        distmat = (order / order.size).astype(np.float32)
    return distmat, query_pids, query_camids, gallery_pids, gallery_camids


@given(problems())
@settings(max_examples=200)
def test_without_ties_it_agrees_with_torchreid(problem):
    distmat, query_pids, query_camids, gallery_pids, gallery_camids = problem
    theirs, their_map = eval_market1501(
        distmat, query_pids, gallery_pids, query_camids, gallery_camids, 1
    )
    ours = evaluate(*problem)
    assert summary(ours)["rank1"] == pytest.approx(100 * theirs[0])
    assert summary(ours)["mAP"] == pytest.approx(100 * their_map)


@given(problems(ties=True), st.randoms(use_true_random=False))
def test_the_order_of_the_gallery_changes_nothing(problem, random):
    distmat, query_pids, query_camids, gallery_pids, gallery_camids = problem
    order = list(range(len(gallery_pids)))
    random.shuffle(order)
    shuffled = evaluate(
        distmat[:, order], query_pids, query_camids, gallery_pids[order], gallery_camids[order]
    )
    for ours, theirs in zip(
        *[
            (r.first_rank, r.average_precision, r.inverse_negative_penalty)
            for r in (evaluate(*problem), shuffled)
        ],
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


@given(problems(ties=True))
def test_figures_stay_in_their_ranges(problem):
    results = evaluate(*problem)
    assert results.first_rank.min() >= 1
    for shares in (results.average_precision, results.inverse_negative_penalty):
        assert 0 < shares.min() <= shares.max() <= 1
    curve = cmc(results.first_rank, 20)
    assert np.all(np.diff(curve) >= 0)


def test_queries_without_a_true_match_are_named():
    with pytest.raises(ValueError, match=r"query 1 \(pid 7, camid 2\)") as caught:
        evaluate(np.zeros((3, 2)), *arrays([1, 7, 2], [2, 2, 1], [1, 2], [1, 1]))
    assert "query 2 (pid 2, camid 1)" in str(caught.value)
    assert "query 0" not in str(caught.value)


def test_nan_is_named():
    with pytest.raises(ValueError, match=r"query 0 \(pid 1, camid 2\) has a distance that is NaN"):
        evaluate(np.array([[np.nan, 1]]), *arrays([1], [2], [1, 2], [1, 1]))


@pytest.mark.parametrize("shape", [(0, 2), (1, 3), (2, 2)])
def test_sizes_must_fit(shape):
    labels = arrays([1] * (1 if shape[0] else 0), [2] * (1 if shape[0] else 0), [1, 2], [1, 1])
    with pytest.raises(ValueError, match="distmat is"):
        evaluate(np.zeros(shape), *labels)


def test_cosine_distances_by_hand():
    query = normalize(np.array([[3, 4], [0, 2]], np.float32))
    np.testing.assert_allclose(query, [[0.6, 0.8], [0, 1]], rtol=1e-6)
    gallery = normalize(np.array([[1, 0], [-6, -8]], np.float32))
    np.testing.assert_allclose(
        cosine_distances(query, gallery), [[0.4, 2.0], [1.0, 1.8]], rtol=1e-6
    )


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf])
def test_features_without_direction_are_refused(bad):
    features = np.ones((3, 2), np.float32)
    features[1] = bad
    with pytest.raises(ValueError, match="row 1"):
        normalize(features)


def test_fusion_by_hand():
    distmats = {"ori": np.float32([[1, 2]]), "h1": np.float32([[3, 5]])}
    np.testing.assert_array_equal(fuse(distmats, {"ori": 2.0, "h1": 0.5}), [[3.5, 6.5]])


def test_fusion_needs_a_weight_for_each_branch_and_equal_shapes():
    distmats = {"ori": np.zeros((1, 2), np.float32), "h1": np.zeros((2, 1), np.float32)}
    with pytest.raises(ValueError, match="weights of"):
        fuse(distmats, {"ori": 1.0})
    with pytest.raises(ValueError, match="shapes differ"):
        fuse(distmats, {"ori": 1.0, "h1": 1.0})
