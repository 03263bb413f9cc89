import warnings

import numpy as np
import pandas as pd
import pytest

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.evaluation.pictures import look
from pyramid_reid.evaluation.rankings import (
    Judging,
    Split,
    cmc_curves,
    evaluate_splits,
    report,
    rounded,
)
from pyramid_reid.retrieval.distance import cosine_distances, normalize
from pyramid_reid.retrieval.metrics import QueryResults
from pyramid_reid.retrieval.rerank import Rerank

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torchreid.reid.utils.rerank import re_ranking


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


def drawn(*ranks):
    """A split in which two queries have these ranks, a row per draw."""
    ranks = np.array(ranks)
    results = QueryResults(np.arange(2), np.full(2, 3), ranks, 1 / ranks, 1 / ranks)
    return Split("split_0", LABELS["query"], LABELS["gallery"], {"fused": results})


def test_draws_are_averaged_before_the_deviation_over_splits():
    # Rank-1 of the draws: 100 and 50 in one split, 0 and 0 in the other
    fused = report([drawn([1, 1], [1, 2]), drawn([2, 2], [2, 3])])["fused"]
    assert fused["rank1"] == 37.5
    assert fused["rank1_std"] == 53.03  # of 75 and 0; all four pooled would give 47.87
    assert fused["rank1_draws_std"] == 17.68  # the mean of 35.36 and 0
    assert fused["mAP"] == rounded((87.5 + (50 + 125 / 3) / 2) / 2)
    # precision 100, 75 | 50, 41.67: means 87.5 and 45.83
    assert fused["mAP_std"] == 29.46
    assert fused["mAP_draws_std"] == 11.79


def test_draws_of_one_split_are_no_deviation_over_splits():
    fused = report([drawn([1, 1], [1, 2])])["fused"]
    figures = {"rank1", "rank5", "rank10", "rank20", "mAP", "mINP"}
    assert set(fused) == figures | {f"{figure}_draws_std" for figure in figures}
    assert fused["rank1_draws_std"] == 35.36
    one_draw = report([drawn([1, 1]), drawn([1, 2])])["fused"]
    assert set(one_draw) == figures | {f"{figure}_std" for figure in figures}


def test_a_figure_is_rounded_alike_whatever_order_it_was_added_up_in():
    assert rounded(71.125 - 1e-13) == rounded(71.125) == rounded(71.125 + 1e-13)
    # a mean of hits such as 1.115 went up in NumPy's way, which fuse took, and down in Python's
    assert rounded(np.mean([1.1, 1.13])) == rounded(1.115)


def test_cmc_curves_are_means_over_splits(folders):
    curves = cmc_curves(evaluate_splits(folders, {"ori": 1.0, "h1": 0.0}, MARKET))
    assert list(curves.columns) == ["rank", "fused", "ori", "h1"]
    np.testing.assert_allclose(curves["h1"][:4], [25, 50, 100, 100])


def test_branches_with_other_crops_are_refused(folders):
    other = LABELS | {"query": table([2, 1], 2)}
    write(folders["h1"] / "split_2", GOOD, other)
    write(folders["ori"] / "split_2", GOOD)
    with pytest.raises(UserError, match="ranks different query crops"):
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
    assert metrics["fused"]["rank1_draws_std"] > 0
    assert metrics["fused"]["rank5"] == 100  # four people, one crop each


def test_files_that_do_not_fit_are_refused(folders):
    write(folders["ori"] / "split_2", GOOD)
    write(folders["h1"] / "split_2", [row[:2] for row in GOOD])
    with pytest.raises(UserError, match=r"distmat.npy is \(2, 2\) for 2 queries and 3 gallery"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, MARKET)
    (folders["h1"] / "split_2" / "distmat.npy").write_bytes(b"")
    with pytest.raises(UserError, match="is not a distance matrix"):
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


def test_centred_rankings_are_of_features_less_the_mean_of_their_camera(tmp_path):
    """Both cameras show people 1 to 3; what camera 2 adds looks like person 3."""
    people, added = np.eye(3), {1: np.zeros(3), 2: np.array([0, 0, 2.0])}
    labels = {"query": table([1, 2, 3], 2), "gallery": table([1, 2, 3], 1)}
    folders = {branch: tmp_path / branch for branch in ("ori", "h1")}
    for folder in folders.values():
        write(folder / "split_0", np.ones((3, 3)), labels)
        features = {role: normalize(people + added[of.camid[0]]) for role, of in labels.items()}
        distances = cosine_distances(features["query"], features["gallery"])
        np.save(folder / "split_0" / "distmat.npy", distances)
        means = np.stack([features["gallery"].mean(0), features["query"].mean(0)])
        cameras = np.array([1, 2])
        np.savez(folder / "split_0" / "features.npz", **features, cameras=cameras, means=means)
    metrics = report(evaluate_splits(folders, HALVES, MARKET, centred=True))
    assert metrics["fused"]["rank1"] == pytest.approx(33.33)  # person 3 is nearest to all
    assert metrics["centred"]["rank1"] == 100
    assert "centred" not in report(evaluate_splits(folders, HALVES, MARKET))
    alike = {
        role: np.tile(np.eye(3)[:1], (3, 1)) for role in features
    }  # of h1, which has no weight
    np.savez(
        tmp_path / "h1" / "split_0" / "features.npz",
        **alike,
        cameras=cameras,
        means=0 * means + np.eye(3)[0],
    )
    alone = report(evaluate_splits(folders, {"ori": 1.0, "h1": 0.0}, MARKET, centred=True))
    assert alone["centred"]["rank1"] == 100
    np.savez(tmp_path / "h1" / "split_0" / "features.npz", **features)  # of a run without means
    with pytest.raises(UserError, match=r"h1/split_0/features\.npz: .*run `dvc repro`"):
        evaluate_splits(folders, HALVES, MARKET, centred=True)


def test_whitened_rankings_are_of_centred_features_times_the_matrix(tmp_path):
    """Where both crops of a person differ in the last number; people in the first three."""
    rng = np.random.default_rng(2)
    labels = {"query": table([1, 2, 3], 2), "gallery": table([1, 2, 3], 1)}
    folder = tmp_path / "ori" / "split_0"
    seen = {"query": np.c_[0.3 * np.eye(3), [1, 1, 1]], "gallery": np.c_[np.eye(3), [-1, 1, 1]]}
    features = {role: normalize(of) for role, of in seen.items()}
    write(folder, cosine_distances(features["query"], features["gallery"]), labels)
    means = {"cameras": np.array([1, 2]), "means": rng.normal(size=(2, 4)) / 100}
    file = folder / "features.npz"
    folders, alone = {"ori": tmp_path / "ori"}, {"ori": 1.0}
    matrix = np.diag([1, 1, 1, 0.01])
    np.savez(file, **features, **means, whitening=matrix)
    metrics = report(evaluate_splits(folders, alone, MARKET, centred=True, whitened=True))
    assert metrics["whitened"]["rank1"] == 100 > metrics["centred"]["rank1"]
    np.savez(file, **features, **means, whitening=np.eye(4))
    metrics = report(evaluate_splits(folders, alone, MARKET, centred=True, whitened=True))
    assert metrics["whitened"] == metrics["centred"]
    np.savez(file, **features, **means)  # of a run without it
    assert "whitened" not in report(evaluate_splits(folders, alone, MARKET, centred=True))
    with pytest.raises(UserError, match=r"split_0/features\.npz: .*run `dvc repro`"):
        evaluate_splits(folders, alone, MARKET, whitened=True)


def write_features(folders, split, labels, features):
    """Distances and features of a split; features: per branch and role."""
    for branch, folder in folders.items():
        of = features[branch]
        write(folder / split, cosine_distances(of["query"], of["gallery"]), labels)
        np.savez(folder / split / "features.npz", **of)


def shots(seed, per_person=3):
    """Six people: a query each from camera 2, crops from cameras 1 and 2 in the gallery."""
    rng = np.random.default_rng(seed)
    pids = np.repeat(np.arange(6), per_person)
    labels = {"query": table(range(6), 2), "gallery": table(pids, 1 + np.arange(len(pids)) % 2)}
    centres = {branch: rng.normal(size=(6, 8)) for branch in ("ori", "h1")}
    features = {
        branch: {
            role: normalize(of[labels[role].pid] + rng.normal(size=(len(labels[role]), 8)))
            for role in labels
        }
        for branch, of in centres.items()
    }
    return labels, features


SINGLE = Judging("single_shot", draws=5, seed=3)
HALVES = {"ori": 0.5, "h1": 0.5}
SMALL = Rerank(k1=4, k2=2)


def test_re_ranked_single_shot_galleries_are_those_that_are_judged(tmp_path):
    """Against a plain implementation: cut the gallery out, re-rank it with torchreid, count."""
    labels, features = shots(0)
    folders = {branch: tmp_path / branch for branch in ("ori", "h1")}
    write_features(folders, "split_0", labels, features)
    (split,) = evaluate_splits(folders, HALVES, SINGLE, SMALL)
    ranks = split.results["reranked"].first_rank
    judge = SINGLE.judge("split_0", labels["query"], labels["gallery"])
    query = [of["query"] for of in features.values()]
    swapped = 0
    for draw in range(5):
        gallery = judge.gallery(draw)
        swapped += len(gallery) > 6
        crops = [of["gallery"][gallery] for of in features.values()]
        distances = re_ranking(
            halves(query, crops),
            halves(query, query),
            halves(crops, crops),
            SMALL.k1,
            SMALL.k2,
            SMALL.lambda_value,
        )
        for row in range(6):
            own, others = judged(labels["gallery"], gallery, draw, row)
            assert ranks[draw, row] == 1 + sum(distances[row, others] <= distances[row, own])
    assert swapped  # some crop from a query's own camera gave way to another one


def halves(some, others):
    """Fused distances of equal weights, added up in double precision."""
    return sum(0.5 * (1 - a.astype(float) @ b.T) for a, b in zip(some, others, strict=True))


def test_moved_features_are_re_ranked_too(tmp_path):
    """Against features that are moved by hand, and left as those of the branches."""
    labels, features = shots(4)
    rng = np.random.default_rng(5)
    means = {branch: rng.normal(size=(2, 8)) / 4 for branch in features}
    matrices = {branch: rng.normal(size=(8, 8)) for branch in features}
    folders = {branch: tmp_path / "given" / branch for branch in features}
    write_features(folders, "split_0", labels, features)
    for branch, folder in folders.items():
        told = {"cameras": np.array([1, 2]), "means": means[branch]}
        file = folder / "split_0" / "features.npz"
        np.savez(file, **features[branch], **told, whitening=matrices[branch])
    given = folders, HALVES, SINGLE, SMALL
    metrics = report(evaluate_splits(*given, centred=True, whitened=True))
    assert len({tuple(look(name).values()) for name in metrics}) == len(metrics) == 8
    moved = {"centred": {}, "whitened": {}}
    for branch, of in features.items():
        less = {
            role: normalize(of[role] - means[branch][labels[role].camid - 1]) for role in labels
        }
        moved["centred"][branch] = less
        moved["whitened"][branch] = {
            role: normalize(rows @ matrices[branch]) for role, rows in less.items()
        }
    for way, by_hand in moved.items():
        others = {branch: tmp_path / way / branch for branch in features}
        write_features(others, "split_0", labels, by_hand)
        expected = report(evaluate_splits(others, HALVES, SINGLE, SMALL))
        assert metrics[way] == expected["fused"]
        assert metrics[f"{way}_reranked"] == expected["reranked"] != metrics["reranked"]
    alone = {"ori": 1.0, "h1": 0.0}, SINGLE, SMALL
    expected = report(evaluate_splits(folders, *alone, whitened=True))
    (folders["h1"] / "split_0" / "features.npz").unlink()  # of weight 0: it takes no part
    assert report(evaluate_splits(folders, *alone, whitened=True)) == expected
    with pytest.raises(UserError, match=r"h1/split_0/features\.npz"):
        evaluate_splits(*given)
    np.savez(folders["ori"] / "split_0" / "features.npz", **features["ori"])  # without means
    with pytest.raises(UserError, match=r"ori/split_0/features\.npz: .*run `dvc repro`"):
        evaluate_splits(*given, centred=True)


def test_what_is_not_asked_for_is_not_judged(tmp_path):
    labels, features = shots(4)
    folders = {branch: tmp_path / branch for branch in features}
    write_features(folders, "split_0", labels, features)
    moves = {"cameras": np.array([1, 2]), "means": np.ones((2, 8)), "whitening": np.eye(8)}
    for branch, folder in folders.items():
        np.savez(folder / "split_0" / "features.npz", **features[branch], **moves)
    given = folders, HALVES, SINGLE, SMALL
    fused = {"fused", "ori", "h1"}
    assert set(report(evaluate_splits(*given[:3], whitened=True))) == {*fused, "whitened"}
    both = {"whitened", "reranked", "whitened_reranked"}
    assert set(report(evaluate_splits(*given, whitened=True))) == fused | both


def judged(crops, gallery, draw, query):
    """Places in a drawn gallery of the query's true match and of the other people's crops."""
    order = np.random.default_rng(derive_seed(SINGLE.seed, "gallery", "split_0"))
    places = [order.permutation(len(crops)) for _ in range(draw + 1)][-1]

    def first(pid, cameras):
        """The first drawn crop of a person from these cameras."""
        rows = [n for n in places if crops.pid[n] == pid and crops.camid[n] in cameras]
        return list(gallery).index(rows[0])

    return first(query, {1}), [first(pid, {1, 2}) for pid in range(6) if pid != query]


def test_crops_that_were_not_drawn_change_no_re_ranked_figure(tmp_path):
    labels, features = shots(1)
    judge = SINGLE.judge("split_0", labels["query"], labels["gallery"])
    judging = Judging("single_shot", draws=1, seed=3)
    of_draw = judging.judge("split_0", labels["query"], labels["gallery"]).gallery(0)
    assert np.array_equal(of_draw, judge.gallery(0))
    undrawn = np.setdiff1d(np.arange(18), of_draw)
    assert len(undrawn) > 5
    reached = []
    for number in range(2):
        folders = {branch: tmp_path / f"{number}" / branch for branch in ("ori", "h1")}
        write_features(folders, "split_0", labels, features)
        reached.append(report(evaluate_splits(folders, HALVES, judging, SMALL)))
        for of in features.values():  # the undrawn crops look like the queries of other people
            of["gallery"][undrawn] = np.roll(of["query"], 1, axis=0)[np.arange(len(undrawn)) % 6]
    assert reached[0] == reached[1]
    whole = [
        report(evaluate_splits({b: tmp_path / n / b for b in HALVES}, HALVES, MARKET, SMALL))
        for n in ("0", "1")
    ]
    assert whole[0]["reranked"] != whole[1]["reranked"]  # where all are judged, they count


@pytest.mark.parametrize("judging", [MARKET, SINGLE])
def test_a_network_that_gives_one_feature_scores_nothing_re_ranked_either(tmp_path, judging):
    labels, features = shots(2)
    for of in features.values():
        for role in of:
            of[role][:] = of["query"][0]
    folders = {branch: tmp_path / branch for branch in ("ori", "h1")}
    write_features(folders, "split_0", labels, features)
    metrics = report(evaluate_splits(folders, HALVES, judging, SMALL))
    assert metrics["reranked"] == metrics["fused"]
    assert metrics["reranked"]["rank5"] == 0


@pytest.mark.parametrize("damage", ["nan", "rows", "length", "width"])
def test_features_that_cannot_be_re_ranked_are_named(tmp_path, damage):
    labels, features = shots(3)
    folders = {branch: tmp_path / branch for branch in ("ori", "h1")}
    write_features(folders, "split_0", labels, features)
    of = features["h1"]
    of["query"] = {
        "nan": np.where(np.arange(8) == 3, np.nan, of["query"]),
        "rows": of["query"][:4],
        "length": of["query"] * 3,
        "width": normalize(of["query"][:, :5]),
    }[damage]
    np.savez(tmp_path / "h1" / "split_0" / "features.npz", **of)
    message = {
        "nan": "h1/split_0/features.npz: query features must have rows of length 1; row 0 has nan",
        "rows": "h1/split_0/features.npz: 4 query features for 6 crops",
        "length": "h1/split_0/features.npz: query features must have rows of length 1; row 0 has 3",
        "width": r"reranked, split_0: query features are \(6, 13\), gallery features \(18, 16\)",
    }[damage]
    with pytest.raises(UserError, match=message):
        evaluate_splits(folders, HALVES, MARKET, SMALL)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"", b"pid,camid\n1,a\n", b"pid,camid\n1,1\n"])
def test_a_damaged_table_of_crops_is_named(folders, content):
    (folders["h1"] / "split_1" / "query.csv").write_bytes(content)
    with pytest.raises(UserError, match=r"h1/split_1/query\.csv (is not a table|lacks the column)"):
        evaluate_splits(folders, {"ori": 1.0, "h1": 1.0}, MARKET)
