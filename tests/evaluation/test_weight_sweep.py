import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_evaluation import table, write

from pyramid_reid.core.errors import UserError
from pyramid_reid.evaluation.rankings import Judging, evaluate_splits, report
from pyramid_reid.evaluation.weight_sweep import reachable, sweep
from pyramid_reid.retrieval.distance import cosine_distances, normalize
from pyramid_reid.retrieval.fusion import fuse, weighted_sum
from pyramid_reid.retrieval.metrics import Judge, evaluate, summary
from pyramid_reid.retrieval.sweep import Sweep, best, simplex


def test_the_grid_holds_all_weights_once():
    points = simplex(4, 0.05)
    assert points.shape == (1771, 4)
    assert len(np.unique(points, axis=0)) == 1771
    np.testing.assert_allclose(points.sum(axis=1), 1)
    np.testing.assert_array_equal(simplex(2, 0.5), [[0, 1], [0.5, 0.5], [1, 0]])
    np.testing.assert_array_equal(simplex(1, 0.05), [[1]])


@pytest.mark.parametrize("rule", ["market1501", "all_shot", "single_shot"])
def test_every_point_is_judged_as_a_fused_matrix_is(rule, monkeypatch):
    monkeypatch.setattr("pyramid_reid.retrieval.sweep.BLOCK_BYTES", 4 * 30 * 5)
    rng = np.random.default_rng(0)
    # quarters and weights in quarters: no sum is rounded, and there are ties
    distances = rng.integers(0, 4, size=(3, 9, 30)).astype(np.float32) / 4
    labels = (np.arange(9) % 5, np.arange(9) % 2, np.arange(30) % 4, np.arange(30) % 3)
    judge = Judge(*labels, rule, draws=3, seed=1)  # the gallery lacks person 4
    points = simplex(3, 0.25)
    grid = Sweep(judge, points)
    grid.add(0, distances[:, :4])
    grid.add(4, distances[:, 4:])
    figures = grid.figures()
    for number, point in enumerate(points):
        expected = summary(evaluate(np.tensordot(point, distances, 1), *labels, rule, 3, 1))
        assert figures["rank1"][number] == pytest.approx(expected["rank1"])
        assert figures["mAP"][number] == pytest.approx(expected["mAP"])


def near_duplicates(seed, scale):
    """Distances of three branches among crops that differ by little more than rounding."""
    rng = np.random.default_rng(seed)
    distances = {}
    for branch in ("ori", "h1", "h2"):
        seen = rng.normal(size=(2, 16))  # what all crops show, in either of two ways
        query, gallery = (
            normalize(seen[rng.integers(2, size=count)] + scale * rng.normal(size=(count, 16)))
            for count in (6, 20)
        )
        distances[branch] = cosine_distances(query, gallery)
    return distances


NEAR = (np.arange(6) % 4, np.arange(6) % 2, np.arange(20) % 5, np.arange(20) % 3)
RULES = ["market1501", "all_shot", "single_shot"]


@given(st.integers(0, 2**32), st.sampled_from([0, 1e-7, 1e-4, 3e-4, 1e-3]), st.sampled_from(RULES))
@settings(max_examples=100, deadline=None)
def test_near_duplicates_are_judged_as_fuse_judges_them(seed, scale, rule):
    distances = near_duplicates(seed, scale)
    points = simplex(3, 0.2)
    grid = Sweep(Judge(*NEAR, rule, 2, 1), points)
    grid.add(0, np.stack(list(distances.values())))
    figures = grid.figures()
    for number, point in enumerate(points):
        fused = fuse(distances, dict(zip(distances, point, strict=True)))
        expected = summary(evaluate(fused, *NEAR, rule, 2, 1))
        assert figures["rank1"][number] == pytest.approx(expected["rank1"], abs=1e-9)
        assert figures["mAP"][number] == pytest.approx(expected["mAP"], abs=1e-9)


@pytest.mark.parametrize("rule", RULES)
def test_what_the_sweep_and_fuse_report_of_near_duplicates_is_the_same(tmp_path, rule):
    folders = {branch: tmp_path / branch for branch in ("ori", "h1", "h2")}
    labels = {"query": table(*NEAR[:2]), "gallery": table(*NEAR[2:])}
    for split in range(3):
        for branch, distances in near_duplicates(split, 3e-4).items():
            write(folders[branch] / f"split_{split}", distances, labels)
    judging = Judging(rule, 3, 1)
    # a third is not a number of few digits: the weights are told with all of theirs
    _, chosen = sweep(folders, judging, 1 / 3)
    for point in chosen.values():
        weights = {branch: point[f"w_{branch}"] for branch in folders}
        assert sum(weights.values()) == pytest.approx(1, abs=1e-11)
        fused = report(evaluate_splits(folders, weights, judging))["fused"]
        assert (point["rank1"], point["mAP"]) == (fused["rank1"], fused["mAP"])


def test_a_sum_has_the_same_bits_alone_and_among_others():
    rng = np.random.default_rng(0)
    distances = [rng.random((5, 33), np.float32) for _ in range(4)]
    points = rng.random((7, 4), np.float32)
    points[2, 1] = 0
    together = weighted_sum(distances, points)
    for number, point in enumerate(points):
        alone = fuse(dict(enumerate(distances)), dict(enumerate(point.tolist())))
        np.testing.assert_array_equal(together[number], alone)
        columns = weighted_sum([part[3, 8:20] for part in distances], points[number : number + 1])
        np.testing.assert_array_equal(columns[0], alone[3, 8:20])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1e-7])
def test_what_is_no_distance_is_refused(wrong):
    judge = Judge([1, 1], [2, 2], [1, 2], [1, 1])
    distances = np.ones((1, 2, 2), np.float32)
    distances[0, 1, 0] = wrong
    with pytest.raises(
        ValueError, match="query 1 has a distance that is NaN, infinite or negative"
    ):
        Sweep(judge, simplex(1, 1.0)).add(0, distances)


@pytest.mark.parametrize(("shape", "start"), [((1, 2, 3), 0), ((2, 2, 2), 0), ((1, 2, 2), 1)])
def test_sizes_must_fit(shape, start):
    judge = Judge([1, 1], [2, 2], [1, 2], [1, 1])
    with pytest.raises(ValueError, match=r"distances are .* for 1 branches, 2 images and"):
        Sweep(judge, simplex(1, 1.0)).add(start, np.ones(shape))


@pytest.mark.parametrize("step", [0.3, 0, -0.5, 2, float("nan")])
def test_a_step_that_does_not_divide_1_is_refused(step):
    with pytest.raises(ValueError, match="must divide 1"):
        simplex(2, step)


def test_among_equals_the_even_weights_are_best():
    points = simplex(2, 0.25)
    assert best(points, np.array([1.0, 2, 2, 2, 1])) == 2
    assert best(points, np.array([1.0, 2, 2, 2.5, 1])) == 3


PIDS = [1, 2, 3, 4, 5, 6]
LABELS = {"query": table(PIDS, 2), "gallery": table(PIDS * 2, 1)}


def branches(folder, good, seed):
    """Two branches of which one ranks well, the other at random."""
    rng = np.random.default_rng(seed)
    right = np.not_equal.outer(PIDS, PIDS * 2)
    for branch in ("ori", "h1"):
        noise = rng.random(right.shape)
        write(folder[branch], right * (branch == good) * 0.6 + noise, LABELS)


@pytest.fixture
def folders(tmp_path):
    """Two splits where h1 is the good branch in the test set, ori on validation identities."""
    folders = {branch: tmp_path / branch for branch in ("ori", "h1")}
    for split in (0, 1):
        test = {branch: folder / f"split_{split}" for branch, folder in folders.items()}
        branches(test, "h1", split)
        branches({b: folder / "validation" for b, folder in test.items()}, "ori", 9 + split)
    return folders


def test_validation_chooses_without_looking_at_the_test_set(folders):
    surface, chosen = sweep(folders, Judging(), 0.25)
    assert list(surface.columns) == ["w_ori", "w_h1", "rank1", "mAP"]
    assert list(chosen) == ["nearest_equal", "validation", "oracle_test"]
    assert chosen["nearest_equal"]["w_ori"] == 0.5
    assert chosen["validation"]["w_ori"] > 0.5 > chosen["oracle_test"]["w_ori"]
    assert chosen["validation"]["mAP"] < chosen["oracle_test"]["mAP"]
    assert chosen["oracle_test"]["mAP"] == pytest.approx(surface.mAP.max(), abs=0.01)
    for point in (chosen["nearest_equal"], chosen["oracle_test"]):
        weights = {branch: point[f"w_{branch}"] for branch in folders}
        fused = report(evaluate_splits(folders, weights, Judging()))["fused"]
        assert {key: point[key] for key in ("rank1", "mAP")} == {
            key: fused[key] for key in ("rank1", "mAP")
        }


def test_without_validation_identities_nothing_is_chosen(folders):
    (folders["ori"] / "split_1" / "validation").rename(folders["ori"] / "elsewhere")
    assert list(sweep(folders, Judging(), 0.5)[1]) == ["nearest_equal", "oracle_test"]


def test_branches_that_do_not_belong_together_are_refused(folders):
    labels = LABELS | {"query": table(PIDS[::-1], 2)}
    for role, crops in labels.items():
        crops.to_csv(folders["h1"] / "split_0" / f"{role}.csv", index=False)
    with pytest.raises(UserError, match="ranks different query crops"):
        sweep(folders, Judging(), 0.5)


def test_reachable_is_the_best_at_each_weight():
    surface = pd.DataFrame({"w_ori": [0.0, 0.5, 0.5], "w_h1": [0.5, 0.0, 0.5], "mAP": [1, 2, 3]})
    curves = reachable(surface)
    assert curves.to_numpy().tolist() == [[0.0, 1, 2], [0.5, 3, 3]]
    assert list(curves.columns) == ["weight", "ori", "h1"]
