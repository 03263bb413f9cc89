import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyramid_reid.retrieval.distance import (
    DistanceReader,
    cosine_distances,
    normalize,
    write_cosine_distances,
)
from pyramid_reid.retrieval.fusion import fuse
from pyramid_reid.retrieval.metrics import Judge, cmc, evaluate, summaries, summary

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
    np.testing.assert_array_equal(results.query, [0, 1])
    np.testing.assert_array_equal(results.first_rank, [[2, 1]])
    np.testing.assert_allclose(results.average_precision, [[(1 / 2 + 2 / 4) / 2, 1]])
    np.testing.assert_allclose(results.inverse_negative_penalty, [[2 / 4, 1]])
    figures = summary(results)
    assert figures["rank1"] == 50
    assert figures["rank5"] == 100
    assert figures["mAP"] == pytest.approx(75)
    assert figures["mINP"] == pytest.approx(75)
    np.testing.assert_array_equal(cmc(results.first_rank, 3), [0.5, 1, 1])


def test_the_query_s_own_camera_does_not_count():
    # the nearest crop shows the person, but from the query's own camera
    distmat = np.array([[0.0, 0.5, 0.6]])
    labels = arrays([1], [1], [1, 2, 1], [1, 2, 2])
    assert evaluate(distmat, *labels).first_rank[0, 0] == 2
    assert evaluate(distmat, *labels, rule="all_shot").first_rank[0, 0] == 1
    # another person from the query's camera does count
    results = evaluate(distmat, *arrays([1], [1], [2, 3, 1], [1, 1, 2]))
    assert results.first_rank[0, 0] == 3


def test_at_a_tie_the_other_person_comes_first():
    results = evaluate(np.array([[0.5, 0.5, 0.5, 0.9]]), *arrays([1], [1], [1, 2, 3, 4], [2] * 4))
    assert results.first_rank[0, 0] == 3
    results = evaluate(np.zeros((1, 3)), *arrays([1], [1], [1, 2, 3], [2, 2, 2]))
    assert results.first_rank[0, 0] == 3


def test_infinite_distances_rank_as_they_compare():
    labels = arrays([1], [2], [1, 2, 1, 3], [1, 1, 2, 1])  # the third is of the own camera
    for distances, rank in (
        ([np.inf, 0.5, 0.1, np.inf], 3),
        ([-np.inf, 0.5, 0.1, np.inf], 1),
        ([0.5, -np.inf, np.inf, np.inf], 2),
    ):
        assert evaluate(np.array([distances]), *labels).first_rank[0, 0] == rank


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


@given(problems(), st.booleans())
@settings(max_examples=200)
def test_without_ties_it_agrees_with_torchreid(problem, lose_some):
    distmat, query_pids, query_camids, gallery_pids, gallery_camids = problem
    if lose_some:  # other queries of a person whom the gallery does not hold: left out by both
        query_pids = np.concatenate([[99], query_pids, [98]])
        query_camids = np.concatenate([[1], query_camids, [1]])
        distmat = np.pad(distmat, ((1, 1), (0, 0)), mode="edge")
    labels = query_pids, query_camids, gallery_pids, gallery_camids
    junk = (query_pids[:, None] == gallery_pids) & (query_camids[:, None] == gallery_camids)
    shortest = int((~junk).sum(axis=1).min())  # theirs fails beyond the shortest row
    theirs, their_map = eval_market1501(
        distmat, query_pids, gallery_pids, query_camids, gallery_camids, shortest
    )
    ours = evaluate(distmat, *labels)
    # theirs is float32
    np.testing.assert_allclose(cmc(ours.first_rank, len(theirs)), theirs, rtol=1e-6)
    assert summary(ours)["mAP"] == pytest.approx(100 * their_map, rel=1e-12)


def test_all_shot_agrees_with_torchreid_where_cameras_differ():
    rng = np.random.default_rng(0)
    distmat, gallery_pids = rng.random((5, 40), np.float32), np.arange(40) % 5
    cameras = np.ones(5, int), rng.integers(2, 6, 40)
    theirs, their_map = eval_market1501(distmat, np.arange(5), gallery_pids, *cameras, 20)
    ours = evaluate(distmat, np.arange(5), np.ones(5), gallery_pids, np.ones(40), rule="all_shot")
    np.testing.assert_allclose(cmc(ours.first_rank, 20), theirs, rtol=1e-6)
    assert summary(ours)["mAP"] == pytest.approx(100 * their_map, rel=1e-12)


def same(ours, theirs):
    for name in ("query", "first_rank", "average_precision", "inverse_negative_penalty"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), name)


@given(problems(ties=True), st.randoms(use_true_random=False))
def test_the_order_of_the_gallery_changes_nothing(problem, random):
    distmat, query_pids, query_camids, gallery_pids, gallery_camids = problem
    order = list(range(len(gallery_pids)))
    random.shuffle(order)
    shuffled = evaluate(
        distmat[:, order], query_pids, query_camids, gallery_pids[order], gallery_camids[order]
    )
    same(evaluate(*problem), shuffled)


@given(problems(ties=True), st.integers(1, 4))
def test_rows_may_come_in_any_runs(problem, rows):
    distmat, *labels = problem
    for rule in ("market1501", "all_shot", "single_shot"):
        judge = Judge(*labels, rule, draws=2, seed=3)
        for start in range(0, len(distmat), rows):
            judge.judge(start, distmat[start : start + rows].copy())
        same(judge.results, evaluate(*problem, rule, draws=2, seed=3))


@given(problems(ties=True), st.sampled_from(["market1501", "all_shot", "single_shot"]))
def test_figures_stay_in_their_ranges(problem, rule):
    results = evaluate(*problem, rule, draws=3)
    assert results.first_rank.min() >= 1
    assert results.first_rank.max() <= len(problem[3])
    for shares in (results.average_precision, results.inverse_negative_penalty):
        assert 0 < shares.min() <= shares.max() <= 1
    curve = cmc(results.first_rank, 20)  # the gallery is smaller: the last share is repeated
    assert np.all(np.diff(curve) >= 0)
    assert curve[-1] == 1


@given(problems(ties=True))
def test_the_distances_are_left_as_they_are(problem):
    before = problem[0].copy()
    evaluate(*problem)
    np.testing.assert_array_equal(problem[0], before)


@given(problems(), st.integers(0, 99))
def test_single_shot_agrees_with_torchreid_on_each_drawn_gallery(problem, seed):
    """Draw galleries by hand until one gives these ranks: it must hold one image per person."""
    distmat, query_pids, query_camids, gallery_pids, gallery_camids = problem
    results = evaluate(*problem, rule="single_shot", draws=4, seed=seed)
    same(results, evaluate(*problem, rule="single_shot", draws=4, seed=seed))
    people = [gallery_pids == pid for pid in np.unique(query_pids)]
    strangers = np.flatnonzero(~np.isin(gallery_pids, query_pids))
    people += list(np.eye(len(gallery_pids), dtype=bool)[strangers])
    for row, (pid, camid) in enumerate(zip(query_pids, query_camids, strict=True)):
        others = [distmat[row, own] for own in people if own.any() and pid not in gallery_pids[own]]
        own = distmat[row, (gallery_pids == pid) & (gallery_camids != camid)]
        best = 1 + sum(min(own) > max(images) for images in others)
        worst = 1 + sum(max(own) > min(images) for images in others)
        for rank in results.first_rank[:, row]:
            assert best <= rank <= worst
    np.testing.assert_array_equal(results.average_precision, 1 / results.first_rank)


def test_single_shot_by_hand():
    # person 1's two images are at 0.1 and 0.9, person 2's one at 0.5: rank 1 or 2, evenly drawn
    labels = arrays([1], [1], [1, 1, 2], [2, 2, 2])
    results = evaluate(np.array([[0.1, 0.9, 0.5]]), *labels, rule="single_shot", draws=400)
    assert summaries(results)["rank1"].shape == (400,)
    assert set(np.unique(results.first_rank)) == {1, 2}
    assert 40 < summary(results)["rank1"] < 60
    # the own camera's image gives way to the other one
    labels = arrays([1], [1], [1, 1, 2], [1, 2, 2])
    results = evaluate(np.array([[0.1, 0.9, 0.5]]), *labels, rule="single_shot", draws=20)
    assert np.all(results.first_rank == 2)


def test_distractors_of_one_pid_are_all_in_a_single_shot_gallery():
    # query at 0.5 of its match: one of person 0's three crops is nearer, whichever is drawn of 2's
    labels = arrays([1, 2], [1, 1], [0, 1, 0, 2, 2, 0], [2, 2, 1, 2, 2, 2])
    distances = np.array([[0.9, 0.5, 0.1, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.9, 0.9, 0.4]])
    judge = Judge(*labels, "single_shot", draws=20)
    judge.judge(0, distances.copy())
    assert judge.results.gallery_size.tolist() == [
        5,
        5,
    ]  # 3 distractors, person 1, one crop of person 2
    assert set(judge.results.first_rank[:, 0]) == {2}
    assert set(judge.results.first_rank[:, 1]) == {5}


@given(problems(ties=True), st.integers(0, 9))
def test_single_shot_does_not_depend_on_the_numbers_of_distractors(problem, seed):
    distmat, query_pids, query_camids, gallery_pids, gallery_camids = problem
    own = np.where(
        np.isin(gallery_pids, query_pids), gallery_pids, 1000 + np.arange(len(gallery_pids))
    )
    shared = np.where(own >= 1000, 1000, own)
    found = [
        evaluate(distmat, query_pids, query_camids, pids, gallery_camids, "single_shot", 3, seed)
        for pids in (own, shared)
    ]
    ranks = [each.first_rank.mean(axis=0) for each in found]
    assert [each.first_rank.shape for each in found] == [(3, len(found[0].query))] * 2
    np.testing.assert_array_equal(*ranks)


@given(problems(ties=True), st.sampled_from(["market1501", "all_shot", "single_shot"]))
def test_the_size_of_a_ranking_is_that_of_its_columns(problem, rule):
    judge = Judge(*problem[1:], rule, draws=2)
    sizes = [
        {len(match) + len(others) for match, others in judge.columns(int(query))}
        for query in judge.results.query
    ]
    assert sizes == [{size} for size in judge.results.gallery_size]


def test_random_distances_reach_what_chance_gives():
    """Two pairs and 19 distractors of one pid: 1 of 21, not 1 of 3."""
    rng = np.random.default_rng(0)
    labels = arrays([1, 2], [1, 1], [1, 2, *[0] * 19], [2] * 21)
    figures = [summary(evaluate(rng.random((2, 21)), *labels, "single_shot")) for _ in range(4000)]
    mean = {name: np.mean([each[name] for each in figures]) for name in ("rank1", "rank5", "mAP")}
    harmonic = sum(1 / rank for rank in range(1, 22))
    assert mean["rank1"] == pytest.approx(100 / 21, abs=0.75)  # three standard errors
    assert mean["rank5"] == pytest.approx(500 / 21, abs=1.5)
    assert mean["mAP"] == pytest.approx(100 * harmonic / 21, abs=0.9)


def test_single_shot_draws_one_gallery_for_all_queries():
    # both queries see the same two images of person 1: their ranks must agree in every draw
    labels = arrays([1, 1], [1, 1], [1, 1, 2], [2, 2, 2])
    results = evaluate(np.array([[0.1, 0.9, 0.5]] * 2), *labels, rule="single_shot", draws=50)
    np.testing.assert_array_equal(results.first_rank[:, 0], results.first_rank[:, 1])


def test_queries_without_a_true_match_are_left_out_and_an_empty_evaluation_is_refused():
    labels = arrays([1, 7, 2], [2, 2, 1], [1, 2], [1, 1])
    for rule in ("market1501", "single_shot"):
        assert evaluate(np.zeros((3, 2)), *labels, rule).query.tolist() == [0]
    assert evaluate(np.zeros((3, 2)), *labels, "all_shot").query.tolist() == [0, 2]
    lost = [values[1:] if len(values) == 3 else values for values in labels]
    with pytest.raises(ValueError, match=r"query 0 \(pid 7, camid 2\), query 1 \(pid 2, camid 1\)"):
        evaluate(np.zeros((2, 2)), *lost)
    with pytest.raises(ValueError, match="no image of any of these people"):
        evaluate(np.zeros((3, 0)), *labels[:2], *arrays([], []))


@pytest.mark.parametrize("rule", ["market1501", "single_shot"])
@pytest.mark.parametrize("place", range(3))
def test_nan_is_named(rule, place):
    distances = np.array([[0.3, 0.5, 1]])
    distances[0, place] = np.nan
    with pytest.raises(ValueError, match=r"query 0 \(pid 1, camid 2\) has a distance that is NaN"):
        evaluate(distances, *arrays([1], [2], [1, 2, 1], [1, 1, 2]), rule)


# as in `test_by_hand`, in whole numbers
HAND = [[2, 1, 3, 4], [9, 1, 8, 7]]
HAND_LABELS = ([1, 2], [2, 2], [1, 2, 3, 1], [1, 1, 1, 1])


@pytest.mark.parametrize(
    "convert",
    [
        list,
        np.int64,
        np.uint8,
        np.float16,
        np.float32,
        np.longdouble,
        pd.DataFrame,
        torch.tensor,
        lambda values: torch.tensor(values, dtype=torch.bfloat16),
        lambda values: torch.tensor(values, dtype=torch.float64, requires_grad=True),
        lambda values: np.array(values, ">f4"),
        lambda values: [torch.tensor(row) for row in values],
    ],
)
def test_distances_of_any_numbers_are_judged_alike(convert):
    distances = convert(HAND)
    for rule in ("market1501", "single_shot"):
        expected = evaluate(np.array(HAND, float), *arrays(*HAND_LABELS), rule, 3)
        same(evaluate(distances, *HAND_LABELS, rule, 3), expected)
    parts = {"ori": distances, "h1": np.float32(HAND)}
    fused = fuse(parts, {"ori": 0.5, "h1": 0.5})
    assert fused.dtype == np.float32
    np.testing.assert_array_equal(fused, HAND)
    unit = normalize(distances)
    np.testing.assert_array_equal(unit, normalize(np.array(HAND, float)))
    np.testing.assert_allclose(cosine_distances(convert([[1, 0]]), convert([[0, 1]])), [[1]])


@pytest.mark.parametrize(
    "convert",
    [
        np.int8,
        np.uint64,
        np.float32,
        torch.tensor,
        pd.Series,
        lambda values: [f"person {value}" for value in values],
        lambda values: pd.Series([f"p{value}" for value in values]).to_numpy(),
    ],
)
def test_labels_of_any_kind_are_judged_alike(convert):
    expected = evaluate(np.array(HAND, float), *arrays(*HAND_LABELS))
    same(evaluate(HAND, *map(convert, HAND_LABELS)), expected)


def test_long_pids_of_different_types_are_told_apart():
    """As float64, to which NumPy promotes int64 beside uint64, these two would be one person."""
    query, gallery = np.array([2**62 + 1]), np.array([2**62, 2**62 + 1], np.uint64)
    assert evaluate([[0.1, 0.9]], query, [1], gallery, [2, 2]).first_rank[0, 0] == 2


@pytest.mark.parametrize(
    ("distmat", "message"),
    [
        ([[1, None, 3, 4]] * 2, "distmat must hold real numbers, not objects such as 1"),
        ([["a"] * 4] * 2, "distmat must hold real numbers, not <U1"),
        (np.ones((2, 4), complex), "distmat must hold real numbers, not complex128"),
        ([[1, 2, 3, 4], [1, 2]], "distmat cannot be made an array"),
        ([1, 2, 3, 4], r"distmat must have 2 dimension\(s\), not the shape \(4,\)"),
        (np.ones((2, 4, 1)), r"distmat must have 2 dimension\(s\), not the shape \(2, 4, 1\)"),
        (np.ones((4, 2)), r"distmat is \(4, 2\) for 2 queries and 4 gallery images"),
        (np.full((2, 4), 2**53 + 2), "distances has integers beyond 2\\*\\*53"),
        (np.full((2, 4), np.nan, np.float16), r"query 0 \(pid 1, camid 2\) has a distance that is"),
    ],
)
def test_what_is_no_distance_matrix_is_refused_in_a_sentence(distmat, message):
    with pytest.raises(ValueError, match=message):
        evaluate(distmat, *HAND_LABELS)


@pytest.mark.parametrize(
    ("place", "values", "message"),
    [
        (0, [1, 2.5], r"query_pids must hold whole numbers within 64 bits; entry 1 is 2.5"),
        (0, [1, np.nan], "query_pids must hold whole numbers within 64 bits; entry 1 is nan"),
        (0, np.array([1, 2**63], np.uint64), "entry 1 is 9223372036854775808"),
        (0, [1, 1e30], r"entry 1 is 1e\+30"),
        (0, [1, None], "query_pids must hold whole numbers or text, not objects"),
        (0, [[1, 2]], r"query_pids must have 1 dimension, not the shape \(1, 2\)"),
        (0, ["1", "2"], "query_pids and gallery_pids: one are numbers, one are text"),
        # a single camera would have counted for all queries, a longer list of them cut off
        (1, [2], "query_pids has 2 entries, query_camids 1"),
        (3, [1, 1, 1, 1, 2], "gallery_pids has 4 entries, gallery_camids 5"),
    ],
)
def test_what_are_no_labels_is_refused_in_a_sentence(place, values, message):
    labels = [*HAND_LABELS[:place], values, *HAND_LABELS[place + 1 :]]
    with pytest.raises(ValueError, match=message):
        evaluate(HAND, *labels)


def test_an_unknown_rule_is_no_rule():
    """It was taken for market1501, and no draws gave NaN."""
    with pytest.raises(ValueError, match="the rule 'single-shot' is none of market1501, all_shot"):
        evaluate(HAND, *HAND_LABELS, "single-shot")
    with pytest.raises(ValueError, match="0 single-shot galleries cannot be drawn"):
        evaluate(HAND, *HAND_LABELS, "single_shot", 0)


def test_rankings_know_how_many_images_they_hold():
    labels = ([1, 2, 3], [1, 2, 1], [1, 1, 1, 2, 3, 3], [1, 1, 2, 1, 1, 1])
    distances = np.arange(18).reshape(3, 6)
    # two images of person 1 are of the query's camera; person 3 has no other and is not judged
    assert evaluate(distances, *labels).gallery_size.tolist() == [4, 6]
    assert evaluate(distances, *labels, "all_shot").gallery_size.tolist() == [6, 6, 6]
    assert evaluate(distances, *labels, "single_shot").gallery_size.tolist() == [3, 3]


def test_a_draw_may_be_judged_by_its_own_images():
    rng = np.random.default_rng(0)
    labels = np.arange(5), np.ones(5), np.arange(30) % 5, np.arange(30) % 2
    distances = rng.random((5, 30))
    judge = Judge(*labels, "single_shot", draws=4, seed=2)
    assert judge.num_draws == 4
    for draw in range(4):
        gallery = judge.gallery(draw)
        assert len(gallery) < 11
        for start in (0, 3):
            judge.judge(start, distances[start : start + 3, gallery], draw)
    same(judge.results, evaluate(distances, *labels, "single_shot", 4, 2))
    assert distances[:, Judge(*labels).gallery(0)].shape == (5, 30)


def test_distances_that_must_not_be_changed_are_judged():
    distances = np.array(HAND, float)
    distances.flags.writeable = False
    judge = Judge(*HAND_LABELS)
    judge.judge(0, distances)
    same(judge.results, evaluate(HAND, *HAND_LABELS))


@pytest.mark.parametrize("start", [-1, 1])
def test_rows_must_be_of_queries_that_there_are(start):
    with pytest.raises(ValueError, match=r"the queries from -?1 on, of 1"):
        Judge([1], [2], [1, 2], [1, 1]).judge(start, [[0.1, 0.2]])


@pytest.mark.parametrize("ranks", [[], [0, 1], [1.5], ["a"], [np.nan]])
def test_ranks_count_from_1(ranks):
    with pytest.raises(ValueError, match="first_rank must hold whole numbers"):
        cmc(ranks, 5)
    assert cmc([[1, 3]], 3).tolist() == cmc(torch.tensor([1, 3]), 3).tolist() == [0.5, 0.5, 1]


@pytest.mark.parametrize("shape", [(0, 2), (1, 3), (2, 2)])
def test_sizes_must_fit(shape):
    number = 1 if shape[0] else 0
    labels = arrays([1] * number, [2] * number, [1, 2], [1, 1])
    with pytest.raises(ValueError, match=r"distmat is|there is no query"):
        evaluate(np.zeros(shape), *labels)
    with pytest.raises(ValueError, match="distances are"):
        Judge(*arrays([1], [2], [1, 2], [1, 1])).judge(0, np.zeros((1, 3)))


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


def test_distances_of_the_same_features_are_not_below_0():
    rng = np.random.default_rng(0)
    same, opposite = normalize(rng.normal(size=(200, 16))), -normalize(rng.normal(size=(200, 16)))
    assert (same @ same.T).max() > 1  # what rounding does
    distances = cosine_distances(np.concatenate([same, opposite]), same)
    assert distances.min() == 0
    assert cosine_distances(opposite, -opposite).max() == 2


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (np.ones((2, 3)), "query features must have rows of length 1; row 0 has 1.73: normalize"),
        ([[0, 1, np.nan]], "query features must have rows of length 1; row 0 has nan"),
        (np.eye(2), "query features have 2 numbers, gallery features 3"),
        ([1, 0, 0], "query features must have 2 dimension"),
        ([["a"]], "query features must hold real numbers"),
    ],
)
def test_features_without_a_cosine_are_refused(tmp_path, query, message):
    with pytest.raises(ValueError, match=message):
        cosine_distances(query, np.eye(3))
    with pytest.raises(ValueError, match=message):
        write_cosine_distances(tmp_path / "distmat.npy", query, np.eye(3))
    assert not (tmp_path / "distmat.npy").exists()


def test_features_of_half_precision_are_compared():
    features = normalize(np.random.default_rng(0).normal(size=(5, 512)))
    halved = cosine_distances(np.float16(features), torch.tensor(features))
    np.testing.assert_allclose(halved, cosine_distances(features, features), atol=1e-3)


def test_fusion_by_hand():
    distmats = {"ori": np.float32([[1, 2]]), "h1": np.float32([[3, 5]])}
    np.testing.assert_array_equal(fuse(distmats, {"ori": 2.0, "h1": 0.5}), [[3.5, 6.5]])


def test_fusion_needs_a_weight_for_each_branch_and_equal_shapes():
    distmats = {"ori": np.zeros((1, 2), np.float32), "h1": np.zeros((2, 1), np.float32)}
    with pytest.raises(ValueError, match="weights of"):
        fuse(distmats, {"ori": 1.0})
    with pytest.raises(ValueError, match="shapes differ"):
        fuse(distmats, {"ori": 1.0, "h1": 1.0})


@pytest.mark.parametrize("weights", [(0, 0), (-1, 2), (np.nan, 1), (np.inf, 1)])
def test_fusion_needs_weights_from_0_on(weights):
    distmats = {"ori": np.zeros((1, 2)), "h1": np.zeros((1, 2))}
    with pytest.raises(ValueError, match=r"the weight of ori is|no branch has a weight above 0"):
        fuse(distmats, dict(zip(distmats, weights, strict=True)))


def test_a_branch_without_weight_takes_no_part():
    distmats = {"ori": np.float32([[np.inf, np.nan]]), "h1": np.float32([[3, 5]])}
    np.testing.assert_array_equal(fuse(distmats, {"ori": 0.0, "h1": 2.0}), [[6, 10]])


@pytest.mark.parametrize("sizes", [(5, 7), (1, 1), (4, 0)])
def test_distance_files_hold_what_is_computed_at_once(tmp_path, monkeypatch, sizes):
    monkeypatch.setattr("pyramid_reid.retrieval.distance.WRITE_BYTES", 2 * 4 * 7)
    rng = np.random.default_rng(0)
    query, gallery = (normalize(rng.normal(size=(size, 16))) for size in sizes)
    path = tmp_path / "distmat.npy"
    assert write_cosine_distances(path, query, gallery) == sizes
    np.testing.assert_allclose(np.load(path), cosine_distances(query, gallery), atol=1e-5)
    with DistanceReader(path) as reader:
        assert reader.shape == sizes
        runs = [run.copy() for run in reader.runs(3)]
    assert [len(run) for run in runs] == (
        [3, 2] if sizes[0] == 5 else [sizes[0]] if sizes[0] < 4 else [3, 1]
    )
    np.testing.assert_array_equal(np.concatenate(runs), np.load(path))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((2, 2)), "holds float64"),
        (np.zeros(3, np.float32), "not rows of float32"),
        (np.zeros((3, 2), np.float32).T, "not rows of float32"),
    ],
)
def test_other_files_are_no_distances(tmp_path, array, message):
    np.save(tmp_path / "d.npy", array)
    with pytest.raises(ValueError, match=message):
        DistanceReader(tmp_path / "d.npy")


def test_a_file_that_is_cut_short_is_refused(tmp_path):
    path = tmp_path / "d.npy"
    np.save(path, np.zeros((3, 2), np.float32))
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="bytes"):
        DistanceReader(path)
    path.write_text("nothing of the kind")
    with pytest.raises(ValueError, match="magic"):
        DistanceReader(path)
