import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pyramid_reid.core.errors import UserError
from pyramid_reid.evaluation import queries
from pyramid_reid.evaluation.rankings import Split
from pyramid_reid.retrieval.metrics import evaluate
from pyramid_reid.retrieval.uncertainty import bootstrap, cluster, sign_flip


def rng():
    return np.random.default_rng(1)


def test_figures_are_means_over_splits_of_means_over_queries():
    values = np.array([[1.0], [3.0], [5.0], [10.0]])
    clusters = cluster(values, np.array([7, 7, 2, 7]), np.array([0, 0, 0, 1]))
    # split 0: (1 + 3 + 5) / 3 = 3, of which person 7 gives 4 / 3; split 1: 10
    np.testing.assert_allclose(clusters.figures(), [6.5])
    np.testing.assert_allclose(clusters.contributions()[:, 0], [5 / 6, (4 / 3 + 10) / 2])


def test_splits_may_have_any_numbers():
    """Splits 3 and 7 alone, as a machine that runs its share of them has."""
    values = [[1.0], [3.0], [5.0], [10.0]]
    gaps = cluster(values, [7, 7, 2, 7], [3, 3, 3, 7])
    np.testing.assert_allclose(gaps.figures(), [6.5])
    assert np.isfinite(bootstrap(gaps, 50, rng())).all()
    named = cluster(values, ["a", "a", "b", "a"], [3, 3, 3, 7])
    np.testing.assert_array_equal(named.sums, gaps.sums[::-1])


@pytest.mark.parametrize(
    ("values", "pids", "message"),
    [
        ([[1.0], [np.nan]], [1, 2], "query 1 has a value of NaN"),
        ([[1.0]], [1, 2], "1 values, 2 pids, 2 splits"),
        ([["a"], ["b"]], [1, 2], "values must hold real numbers"),
        ([[1.0], [2.0]], [1, None], "pids must hold whole numbers or text"),
    ],
)
def test_values_that_cannot_be_added_up_are_refused(values, pids, message):
    with pytest.raises(ValueError, match=message):
        cluster(values, pids, [0, 0])


def test_p_of_nothing_is_refused():
    for differences in (np.zeros((0, 1)), [[1.0], [np.nan]]):
        with pytest.raises(ValueError, match="differences of"):
            sign_flip(differences, 100, rng())


def test_intervals_are_those_of_scipy_where_each_person_has_one_query():
    values = rng().normal(50, 10, size=40)
    clusters = cluster(values[:, None], np.arange(40), np.zeros(40, int))
    ours = np.percentile(bootstrap(clusters, 20_000, rng()), [2.5, 97.5])
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=rng()
    ).confidence_interval
    np.testing.assert_allclose(ours, theirs, atol=0.15)


def test_queries_of_one_person_count_as_one_observation():
    """Each query ten times over: no more is known than before."""
    values, pids = rng().normal(50, 10, size=(30, 1)), np.arange(30)
    widths = []
    for times in (1, 10):
        clusters = cluster(
            np.repeat(values, times, 0), np.repeat(pids, times), np.zeros(30 * times, int)
        )
        widths.append(np.ptp(np.percentile(bootstrap(clusters, 4000, rng()), [2.5, 97.5])))
    assert widths[0] == pytest.approx(widths[1])


def test_p_is_exact_for_few_people():
    # of the eight patterns of signs of 1, 2, 3 only +++ and --- reach 6
    np.testing.assert_allclose(sign_flip(np.array([[1.0], [2.0], [3.0]]), 100, rng()), [0.25])
    np.testing.assert_allclose(sign_flip(np.zeros((3, 1)), 100, rng()), [1])


def test_p_is_that_of_scipy():
    differences = rng().normal(0.4, 1, size=(30, 1))
    ours = sign_flip(differences, 20_000, rng())
    theirs = stats.permutation_test(
        (differences[:, 0],), np.mean, permutation_type="samples", n_resamples=20_000, rng=rng()
    ).pvalue
    assert ours[0] == pytest.approx(theirs, abs=0.01)
    assert 0 < ours[0] < 1


def test_noise_is_called_noise():
    """Among many comparisons of equal rankings, about a twentieth has p at most 0.05."""
    differences = rng().normal(size=(25, 400))
    assert 0.02 < np.mean(sign_flip(differences, 2000, rng()) <= 0.05) < 0.09


def split(number, noise):
    """Six people with two queries each of heights 20 to 130, ranked well and badly."""
    generator = np.random.default_rng(number)
    pids = np.repeat(np.arange(6), 2)
    query = pd.DataFrame(
        {
            "pid": pids,
            "camid": 2,
            "ratio": 1,
            "height": 20 + 10 * np.arange(12),
            "width": 10,
            "source": [f"{number}/{n}.png" for n in range(12)],
        }
    )
    gallery = query.assign(camid=1)
    right = (pids[:, None] != pids[None]).astype(float)
    results = {
        name: evaluate(
            right + amount * generator.normal(size=right.shape),
            pids,
            query.camid.to_numpy(),
            pids,
            gallery.camid.to_numpy(),
        )
        for name, amount in (("fused", noise), ("ori", 3.0))
    }
    return Split(f"split_{number}", query, gallery, results)


@pytest.fixture
def good():
    return queries.table([split(0, 0.1), split(1, 0.1)])


def test_the_table_holds_a_row_per_query_and_its_means_are_the_metrics(good):
    assert len(good) == 24
    assert queries.names(good) == ["fused", "ori"]
    assert good["fused.rank1"].mean() == 100
    assert good["split"].tolist() == [0] * 12 + [1] * 12
    assert good["ori.mAP"].between(0, 100).all()


def test_the_size_of_each_ranking_is_told(good):
    # twelve gallery crops, none of them from the queries' camera
    assert good.gallery_size.tolist() == [12] * 24
    said = queries.said_of_galleries([split(0, 0.1), split(1, 0.1)], good)
    assert said == "all 12 gallery crops in each ranking"
    uneven = good.assign(gallery_size=[9] + [12] * 23)
    assert queries.said_of_galleries([split(0, 0.1)], uneven) == (
        "11.875 of 12 gallery crops in each ranking (at least 9)"
    )
    drawn = good.assign(gallery_size=6)
    assert (
        queries.said_of_galleries([split(0, 0.1)], drawn) == "6 of 12 gallery crops in each ranking"
    )


def test_splits_keep_their_numbers_and_tables_of_several_machines_go_together():
    parts = [queries.table([split(number, 0.1)]) for number in (3, 12)]
    assert [set(part["split"]) for part in parts] == [{3}, {12}]
    joined = pd.concat(parts, ignore_index=True)
    from_0 = joined.assign(split=joined["split"].map({3: 0, 12: 1}))
    assert queries.uncertainty(joined, 500, 0) == queries.uncertainty(from_0, 500, 0)
    with pytest.raises(UserError, match="different queries"):
        queries.compare(parts[0], parts[1], "fused", "fused", 500, 0)


def test_what_is_told_of_uncertainty(good):
    told = queries.uncertainty(good, 500, 0)
    assert told["identities"] == 6
    assert told["intervals"]["fused"]["rank1"] == (100, 100)
    low, high = told["intervals"]["ori"]["mAP"]
    assert low < good["ori.mAP"].mean() < high
    against = told["fused_minus"]["ori"]["mAP"]
    assert against["low"] < against["difference"] < against["high"]
    assert against["p"] == round(2 / 64, 4)  # all six people agree, of 64 patterns of signs
    assert told == queries.uncertainty(good, 500, 0)


def test_another_experiment_is_compared_on_the_same_queries(good, tmp_path, capsys, monkeypatch):
    other = queries.table([split(0, 3.0), split(1, 3.0)])
    row = queries.compare(good, other, "fused", "fused", 500, 0)["rank1"]
    assert row["difference"] == pytest.approx(100 - other["fused.rank1"].mean(), abs=0.01)
    with pytest.raises(UserError, match="different queries"):
        queries.compare(good, other[::-1].reset_index(drop=True), "fused", "fused", 500, 0)

    from pyramid_reid.cli import main

    for name, table in (("a.csv", good), ("b.csv", other)):
        table.to_csv(tmp_path / name, index=False)
    monkeypatch.chdir(tmp_path)
    command = ["pyramid-reid", "compare-queries"]
    monkeypatch.setattr("sys.argv", [*command, "a.csv", "b.csv", "--resamples", "500"])
    assert main() == 0
    out = capsys.readouterr().out
    assert "a.csv minus b.csv" in out
    assert f"fused rank1 {row['difference']:g}".split() == out.splitlines()[2].split()[:3]
    monkeypatch.setattr("sys.argv", [*command, "a.csv", "a.csv"])
    assert main() == 0
    assert "no ranking differs" in capsys.readouterr().out
    assert "note: their galleries" not in out
    other.assign(gallery_size=1000).to_csv(tmp_path / "b.csv", index=False)
    monkeypatch.setattr("sys.argv", [*command, "a.csv", "b.csv", "--resamples", "500"])
    assert main() == 0
    assert "note: their galleries differ in size" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*command, "a.csv", "c.csv"])
    assert main() == 2
    assert "pyramid-reid compare-queries: c.csv cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"ori.mINP": None}, "not a table of queries: column ori.mINP is missing"),
        ({"ori.mAP": np.nan}, "column ori.mAP holds a value that is not a percentage"),
        ({"fused.rank1": "high"}, "column fused.rank1 holds a value that is not a percentage"),
        ({"fused.rank1": 101}, "column fused.rank1 holds a value that is not a percentage"),
    ],
)
def test_a_table_without_figures_is_named(good, tmp_path, damage, message):
    ((column, value),) = damage.items()
    table = good.drop(columns=column) if value is None else good.assign(**damage)
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(UserError, match=message):
        queries.read(tmp_path / "a.csv")


def test_by_resolution_groups_by_height(good):
    tables = queries.by_resolution(good)
    assert set(tables) == {"rank1", "mAP"}
    table = tables["mAP"]
    assert table["queries"].sum() == 24
    assert len(table) == queries.BINS
    assert (table["from"].iloc[1:].to_numpy() > table["to"].iloc[:-1].to_numpy()).all()
    lowest = good[good.height <= table["to"][0]]
    assert table["ori"][0] == pytest.approx(lowest["ori.mAP"].mean())


def test_by_resolution_of_a_single_height(good):
    table = queries.by_resolution(good.assign(height=64))["rank1"]
    assert table[["height", "from", "to", "queries"]].to_numpy().tolist() == [[64, 64, 64, 24]]
