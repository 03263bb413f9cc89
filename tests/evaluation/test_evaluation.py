import numpy as np
import pandas as pd
import pytest

from pyramid_reid.core.errors import UserError
from pyramid_reid.evaluation.rankings import Judging, cmc_curves, evaluate_splits, report
from pyramid_reid.retrieval.distance import cosine_distances, normalize
from pyramid_reid.retrieval.rerank import Rerank


def table(pids, camid, height=40):
    return pd.DataFrame(
        {
            "pid": pids,
            "camid": camid,
            "ratio": 1,
            "height": height,
            "width": 20,
            "source": [f"{pid}.png" for pid in pids],
        }
    )


LABELS = {"query": table([1, 2], 2), "gallery": table([1, 2, 3], 1)}
MARKET = Judging()


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
    metrics = report(evaluate_splits(folders, {"ori": 1.0, "h1": 0.0}, MARKET))
    assert list(metrics) == ["fused", "ori", "h1"]
    assert metrics["ori"]["rank1"] == 75
    assert metrics["ori"]["rank1_std"] == pytest.approx(35.36)
    assert metrics["ori"]["mAP"] == pytest.approx((100 + 75) / 2)
    assert metrics["h1"]["rank1"] == 25
    assert metrics["fused"] == metrics["ori"]


def test_weights_move_the_fused_figures_only(folders):
    ori, h1 = (
        report(evaluate_splits(folders, {"ori": w, "h1": 1 - w}, MARKET)) for w in (1.0, 0.0)
    )
    assert ori["fused"] != h1["fused"]
    assert h1["fused"] == h1["h1"] == ori["h1"]


def test_one_split_has_no_deviation(folders, tmp_path):
    write(tmp_path / "one" / "split_0", GOOD)
    metrics = report(evaluate_splits({"ori": tmp_path / "one"}, {"ori": 1.0}, MARKET))
    assert set(metrics["ori"]) == {"rank1", "rank5", "rank10", "rank20", "mAP", "mINP"}


def test_cmc_curves_are_means_over_splits(folders):
    curves = cmc_curves(evaluate_splits(folders, {"ori": 1.0, "h1": 0.0}, MARKET))
    assert list(curves.columns) == ["rank", "fused", "ori", "h1"]
    np.testing.assert_allclose(curves["h1"][:4], [25, 50, 100, 100])


def test_branches_with_other_crops_are_refused(folders):
    other = LABELS | {"query": table([2, 1], 2)}
    write(folders["h1"] / "split_2", GOOD, other)
    write(folders["ori"] / "split_2", GOOD)
    with pytest.raises(UserError, match="ranks other query crops"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, MARKET)


def test_branches_with_other_splits_are_refused(folders):
    write(folders["h1"] / "split_2", GOOD)
    with pytest.raises(UserError, match="different splits"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, MARKET)


def test_a_nan_is_named_with_branch_split_and_query(folders):
    write(folders["ori"] / "split_2", [[0, 1, 2], [0, np.nan, 1]])
    write(folders["h1"] / "split_2", GOOD)
    with pytest.raises(UserError, match=r"ori, split_2: query 1 \(pid 2, camid 2\)"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, MARKET)


def test_sizes_may_differ_between_branches(folders):
    other = LABELS | {"query": table([1, 2], 2, height=80)}
    write(folders["h1"] / "split_2", GOOD, other)
    write(folders["ori"] / "split_2", GOOD)
    done = evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, MARKET)
    assert done[2].query.height.tolist() == [40, 40]  # those of ori


def test_single_shot_draws_are_the_same_for_all_rankings(tmp_path):
    rng = np.random.default_rng(0)
    pids = [1, 2, 3, 4]
    many = {"query": table(pids, 2), "gallery": table(pids * 5, 1)}
    same = rng.random((4, 20))
    for branch in ("ori", "h1"):
        write(tmp_path / branch / "split_0", same, many)
    folders = {branch: tmp_path / branch for branch in ("ori", "h1")}
    judging = Judging("single_shot", draws=30, seed=5)
    metrics = report(evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, judging))
    assert metrics["fused"] == metrics["ori"] == metrics["h1"]
    assert metrics["fused"]["rank1_std"] > 0
    assert metrics["fused"]["rank5"] == 100  # four people, one crop each


def test_files_that_do_not_fit_are_refused(folders):
    write(folders["ori"] / "split_2", GOOD)
    write(folders["h1"] / "split_2", [row[:2] for row in GOOD])
    with pytest.raises(UserError, match=r"distmat.npy is \(2, 2\) for 2 queries and 3 gallery"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, MARKET)
    (folders["h1"] / "split_2" / "distmat.npy").write_bytes(b"")
    with pytest.raises(UserError, match="is no distance matrix"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, MARKET)


def test_no_query_with_a_true_match_is_an_error(tmp_path):
    write(tmp_path / "ori" / "split_0", GOOD, LABELS | {"gallery": table([3, 4, 5], 1)})
    with pytest.raises(UserError, match=r"split_0: query 0 \(pid 1, camid 2\), query 1"):
        evaluate_splits({"ori": tmp_path / "ori"}, {"ori": 1.0}, MARKET)


def test_re_ranking_with_all_weight_on_the_distance_is_the_fusion(tmp_path):
    rng = np.random.default_rng(0)
    pids = list(range(6))
    many = {"query": table(pids, 2), "gallery": table(pids * 4, 1)}
    for branch in ("ori", "h1"):
        features = {
            role: normalize(rng.normal(size=(len(labels), 4)).astype(np.float32))
            for role, labels in many.items()
        }
        distmat = cosine_distances(features["query"], features["gallery"])
        write(tmp_path / branch / "split_0", distmat, many)
        np.savez(tmp_path / branch / "split_0" / "features.npz", **features)
    folders = {branch: tmp_path / branch for branch in ("ori", "h1")}
    weights = {"ori": 0.7, "h1": 0.3}
    done = evaluate_splits(folders, weights, MARKET, Rerank(k1=4, k2=2, lambda_value=1.0))
    metrics = report(done)
    assert metrics["reranked"] == metrics["fused"]
    changed = report(evaluate_splits(folders, weights, MARKET, Rerank(k1=4, k2=2)))
    assert changed["reranked"] != changed["fused"]
    (tmp_path / "h1" / "split_0" / "features.npz").unlink()
    with pytest.raises(UserError, match=r"features\.npz"):
        evaluate_splits(folders, weights, MARKET, Rerank())


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"pid,camid\n1,a\n", b"pid,camid\n1,1\n"])
def test_a_damaged_table_of_crops_is_named(folders, content):
    (folders["h1"] / "split_1" / "query.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"h1/split_1/query\.csv (is no table|lacks the column)"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, MARKET)
