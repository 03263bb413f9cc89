import numpy as np
import pandas as pd
import pytest

from pyramid_reid.errors import UserError
from pyramid_reid.evaluation import cmc_curves, evaluate_splits, report

LABELS = {
    "query": pd.DataFrame({"pid": [1, 2], "camid": [2, 2]}),
    "gallery": pd.DataFrame({"pid": [1, 2, 3], "camid": [1, 1, 1]}),
}


def write(folder, distmat, labels=LABELS):
    folder.mkdir(parents=True)
    np.save(folder / "distmat.npy", np.asarray(distmat, np.float32))
    for role, table in labels.items():
        table.to_csv(folder / f"{role}.csv", index=False)


GOOD = [[0.1, 0.8, 0.9], [0.9, 0.1, 0.8]]  # both queries right
HALF = [[0.1, 0.8, 0.9], [0.1, 0.2, 0.8]]  # the second one at rank 2
BAD = [[0.9, 0.1, 0.2], [0.1, 0.9, 0.2]]  # both at rank 3


@pytest.fixture
def folders(tmp_path):
    for split, distmats in enumerate([(GOOD, HALF), (HALF, BAD)]):
        for branch, distmat in zip(("ori", "h1"), distmats, strict=True):
            write(tmp_path / branch / f"split_{split}", distmat)
    return {branch: tmp_path / branch for branch in ("ori", "h1")}


def test_mean_and_sample_deviation_over_splits(folders):
    metrics = report(evaluate_splits(folders, {"ori": 1.0, "h1": 0.0}))
    assert list(metrics) == ["fused", "ori", "h1"]
    assert metrics["ori"]["rank1"] == 75
    assert metrics["ori"]["rank1_std"] == pytest.approx(35.36)
    assert metrics["ori"]["mAP"] == pytest.approx((100 + 75) / 2)
    assert metrics["h1"]["rank1"] == 25
    assert metrics["fused"] == metrics["ori"]


def test_weights_move_the_fused_figures_only(folders):
    ori, h1 = (report(evaluate_splits(folders, {"ori": w, "h1": 1 - w})) for w in (1.0, 0.0))
    assert ori["fused"] != h1["fused"]
    assert h1["fused"] == h1["h1"] == ori["h1"]


def test_one_split_has_no_deviation(folders, tmp_path):
    write(tmp_path / "one" / "split_0", GOOD)
    metrics = report(evaluate_splits({"ori": tmp_path / "one"}, {"ori": 1.0}))
    assert set(metrics["ori"]) == {"rank1", "rank5", "rank10", "rank20", "mAP", "mINP"}


def test_cmc_curves_are_means_over_splits(folders):
    curves = cmc_curves(evaluate_splits(folders, {"ori": 1.0, "h1": 0.0}))
    assert list(curves.columns) == ["rank", "fused", "ori", "h1"]
    np.testing.assert_allclose(curves["h1"][:4], [25, 50, 100, 100])


def test_branches_with_other_crops_are_refused(folders):
    other = LABELS | {"query": pd.DataFrame({"pid": [2, 1], "camid": [2, 2]})}
    write(folders["h1"] / "split_2", GOOD, other)
    write(folders["ori"] / "split_2", GOOD)
    with pytest.raises(UserError, match="ranks other query crops"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0})


def test_branches_with_other_splits_are_refused(folders):
    write(folders["h1"] / "split_2", GOOD)
    with pytest.raises(UserError, match="different splits"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0})


def test_a_nan_is_named_with_branch_split_and_query(folders):
    write(folders["ori"] / "split_2", [[0, 1, 2], [0, np.nan, 1]])
    write(folders["h1"] / "split_2", GOOD)
    with pytest.raises(UserError, match=r"ori, split_2: query 1 \(pid 2, camid 2\)"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0})
