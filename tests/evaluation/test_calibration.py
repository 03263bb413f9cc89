"""Probability of the same person: the fit, and what fuse makes of distance files."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from pyramid_reid.core.errors import UserError
from pyramid_reid.evaluation import calibration, validation

BRANCHES = ("ori", "h1", "h2", "h3")


def drawn(seed, same=200, different=3000):
    rng = np.random.default_rng(seed)
    return rng.normal(0.5, 0.15, same).clip(0, 2), rng.normal(0.9, 0.15, different).clip(0, 2)


def test_the_fit_is_the_minimum_that_scipy_finds():
    same, different = drawn(0)
    fitted = calibration.fit(same, different, 20)

    def loss(point):
        total = 0
        for distances, target in (
            (same, (len(same) + 1) / (len(same) + 2)),
            (different, 1 / (len(different) + 2)),
        ):
            exponent = point[0] * distances + point[1]
            cross = target * np.logaddexp(0, exponent) + (1 - target) * np.logaddexp(0, -exponent)
            total += cross.mean() / 2
        return total

    best = minimize(loss, (10, -7), method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    assert np.allclose((fitted.slope, fitted.intercept), best.x, rtol=1e-4)
    assert (fitted.same_pairs, fitted.different_pairs, fitted.identities) == (200, 3000, 20)


@given(st.integers(0, 10**6), st.integers(2, 9))
def test_probability_falls_with_distance_and_ignores_the_gallery_s_size(seed, times):
    same, different = drawn(seed, 50, 1000)
    fitted = calibration.fit(same, different, 10)
    probability = fitted.probability(np.linspace(0, 2, 50))
    assert (np.diff(probability) <= 0).all()
    assert ((probability >= 0) & (probability <= 1)).all()
    # only Platt's targets depend on the counts: with 1,000 pairs by some thousandths
    larger = calibration.fit(same, np.tile(different, times), 10)
    assert np.allclose(larger.probability([0.6, 0.8]), fitted.probability([0.6, 0.8]), atol=0.01)


def test_kinds_that_do_not_overlap_give_a_finite_fit():
    fitted = calibration.fit([0.1, 0.2], [0.8, 0.9, 1.0], 2)
    assert np.isfinite((fitted.slope, fitted.intercept)).all()
    near, far = fitted.probability([0.1, 0.9])
    assert near > 0.6
    assert far < 0.4


def test_what_cannot_be_calibrated_says_why():
    with pytest.raises(UserError, match="too few to calibrate on"):
        calibration.fit([0.1], [0.5], 1)
    with pytest.raises(UserError, match="0 pairs of the same person"):
        calibration.fit([], [0.5], 4)
    with pytest.raises(UserError, match="learned nothing"):
        calibration.fit([0.5, 0.6], [0.5, 0.4], 4)


def test_errors_at_a_threshold_are_counted_by_hand():
    fitted = calibration.Fit(10.0, -5.0, 2, 4, 4)  # one half at a distance of 0.5
    table = calibration.errors_at([0.5], fitted, [0.1, 0.4, 0.5, 0.7], [0.45, 0.6, 0.9, 1.0])
    assert table.iloc[0].tolist() == [0.5, 0.5, 25.0, 25.0]


def test_reliability_weighs_both_kinds_alike():
    fitted = calibration.Fit(10.0, -5.0, 2, 1, 4)
    table = calibration.reliability(fitted, [0.5], [0.5, 0.5, 0.5, 0.5])
    assert len(table) == 1
    assert table.iloc[0].tolist() == pytest.approx([0.5, 0.5, 1.0])


def write_split(folder, split, seed, people=6, cut=1.0):
    """Distances of each branch with two cameras; own people nearer by `cut`."""
    rng = np.random.default_rng(seed)
    query = pd.DataFrame({"pid": np.repeat(np.arange(people), 2), "camid": 2, "ratio": 2})
    gallery = pd.DataFrame({"pid": np.repeat(np.arange(people), 3), "camid": 1, "ratio": 1})
    gallery.loc[0, "camid"] = 2  # of the query's own camera: no pair
    distmats = {}
    for branch in BRANCHES:
        inside = folder / branch / split
        inside.mkdir(parents=True)
        distmat = rng.uniform(0.8, 1.2, (len(query), len(gallery))).astype(np.float32)
        distmat[query.pid.to_numpy()[:, None] == gallery.pid.to_numpy()] -= np.float32(0.4 * cut)
        np.save(inside / "distmat.npy", distmat)
        for name, table in (("query", query), ("gallery", gallery)):
            table.assign(height=10, width=5, source="a").to_csv(inside / f"{name}.csv", index=False)
        distmats[branch] = distmat
    return query, gallery, distmats


@pytest.fixture
def folders(tmp_path):
    return {branch: tmp_path / branch for branch in BRANCHES}


def test_pairs_are_those_of_validation_people_in_all_splits(folders, tmp_path):
    weights = {"ori": 2.0, "h1": 1.0, "h2": 1.0, "h3": 0.0}
    same, different = [], []
    for number in range(2):
        write_split(tmp_path, f"split_{number}", 10 + number, cut=-1)  # test people: never read
        query, gallery, distmats = write_split(tmp_path, f"split_{number}/validation", number)
        fused = 0.5 * distmats["ori"] + 0.25 * distmats["h1"] + 0.25 * distmats["h2"]
        for i, asked in query.iterrows():
            for j, answer in gallery.iterrows():
                if asked.pid != answer.pid:
                    different.append(fused[i, j])
                elif asked.camid != answer.camid:
                    same.append(fused[i, j])
    found = validation.calibrate(folders, weights, "market1501")
    expected = calibration.fit(same, different, 6)
    assert found.fitted.same_pairs == expected.same_pairs == len(same) == 2 * (12 * 3 - 2)
    assert found.fitted.different_pairs == len(different)
    assert found.fitted.slope == pytest.approx(expected.slope, abs=1e-3)
    assert found.fitted.intercept == pytest.approx(expected.intercept, abs=1e-3)
    assert found.why_none is None
    assert list(found.errors.probability) == list(validation.THRESHOLDS)
    assert found.errors.false_accepts.is_monotonic_decreasing
    assert found.errors.false_rejects.is_monotonic_increasing


def test_pairs_from_one_camera_count_where_the_rule_counts_them():
    query = pd.DataFrame({"pid": [1, 2], "camid": [7, 7]})
    gallery = pd.DataFrame({"pid": [1, 1, 2], "camid": [7, 8, 7]})
    distmat = np.arange(6, dtype=np.float32).reshape(2, 3)
    same, different = calibration.pairs(distmat, query, gallery, "market1501")
    assert (same.tolist(), different.tolist()) == ([1], [2, 3, 4])
    same, different = calibration.pairs(distmat, query, gallery, "all_shot")
    assert (same.tolist(), different.tolist()) == ([0, 1, 5], [2, 3, 4])


def test_many_different_pairs_are_thinned_evenly_whatever_the_runs(folders, tmp_path, monkeypatch):
    write_split(tmp_path, "split_0/validation", 0)
    whole = validation.calibrate(folders, dict.fromkeys(BRANCHES, 1.0), "market1501").fitted
    monkeypatch.setattr(validation, "AT_MOST", 60)
    few = validation.calibrate(folders, dict.fromkeys(BRANCHES, 1.0), "market1501").fitted
    monkeypatch.setattr("pyramid_reid.evaluation.rankings.rows_at_a_time", lambda _: 1)
    by_row = validation.calibrate(folders, dict.fromkeys(BRANCHES, 1.0), "market1501").fitted
    assert few == by_row
    assert few.same_pairs == whole.same_pairs
    assert few.different_pairs == -(-whole.different_pairs // 4)  # 12 * 18 pairs, 60 at most
    assert few.probability(0.8) == pytest.approx(whole.probability(0.8), abs=0.1)


@pytest.mark.parametrize(
    ("held_out", "cut", "why"),
    [(False, 1, "reid.validation_identities is 0"), (True, -1, "learned nothing")],
)
def test_where_nothing_is_fitted_the_file_says_why(folders, tmp_path, held_out, cut, why):
    write_split(tmp_path, "split_0", 1)
    if held_out:
        write_split(tmp_path, "split_0/validation", 0, cut=cut)
    found = validation.calibrate(folders, dict.fromkeys(BRANCHES, 0.25), "market1501")
    told = found.to_json()
    assert told["calibration"] is None
    assert told["thresholds"] == []
    assert why in told["why_none"]
    validation.draw(tmp_path / "a.png", found)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_the_picture_has_the_same_bytes_each_time(folders, tmp_path):
    write_split(tmp_path, "split_0/validation", 0)
    for name in ("a.png", "b.png"):
        validation.draw(
            tmp_path / name, validation.calibrate(folders, dict.fromkeys(BRANCHES, 1), "market1501")
        )
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
