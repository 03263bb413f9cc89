"""Features less the mean of their camera, in searches and in what a store is judged by."""

import json

import numpy as np
import pyarrow as pa
import pytest

from pyramid_reid.core.errors import UserError
from pyramid_reid.search import answers, judge
from pyramid_reid.search.store import Store
from search.conftest import describe, features_of, table_of


def shifted(features, cameras, seed=1):
    """Features to which each camera adds a direction of its own."""
    added = 1.5 * np.random.default_rng(seed).normal(size=(max(cameras) + 1, *features.shape[1:]))
    moved = features + added[cameras] / np.linalg.norm(added, axis=-1, keepdims=True)[cameras]
    return (moved / np.linalg.norm(moved, axis=-1, keepdims=True)).astype(np.float32)


@pytest.fixture
def cameras(tmp_path):
    """A store of forty people, six crops each, from cameras c0 to c2; its features and ids."""
    features = shifted(features_of(40, 6, noise=0.8), np.arange(240) % 3)
    rows = table_of(features, pid=[str(n // 6) for n in range(240)])
    store = Store.create(tmp_path / "store", describe())
    with store.writing():
        store.add(rows)
    return store, features, rows["id"].to_pylist()


def test_centred_hits_are_ordered_by_features_less_the_mean_of_their_camera(cameras):
    store, features, ids = cameras
    own = answers.Query([ids[0]], [None], [ids[0]], features[0])  # person 0 from camera c0
    weights = {"ori": 2.0, "h1": 1.0, "h2": 1.0, "h3": 0.0}
    hits = answers.answer(store, own, weights=weights, centred="c0", top=300).hits
    assert len(hits) == 239
    less = features - np.stack([features[n % 3 :: 3].mean(0) for n in range(240)])
    less /= np.linalg.norm(less, axis=-1, keepdims=True)
    cosines = np.einsum("bd,nbd->nb", less[0], less)
    truth = 1 - cosines @ [0.5, 0.25, 0.25, 0]
    found = hits.set_index("id")["centred"][ids[1:]].to_numpy()
    np.testing.assert_allclose(found, truth[1:], atol=2e-3)  # stored as float16
    assert hits["centred"].is_monotonic_increasing
    assert hits["rank"].tolist() == list(range(1, 240))


def test_several_query_crops_lose_the_mean_of_their_camera_before_they_are_scaled(cameras):
    store, features, ids = cameras
    mean = features[[0, 3]].mean(0)  # two crops of person 0 from camera c0
    query = answers.Query([ids[0], ids[3]], [None, None], [ids[0], ids[3]], mean)
    hits = answers.answer(store, query, centred="c0", top=300).hits
    means = np.stack([features[number::3].mean(0) for number in range(3)])
    asked, less = mean - means[0], features - means[np.arange(240) % 3]
    scaled = mean / np.linalg.norm(mean, axis=-1, keepdims=True) - means[0]
    asked, less, scaled = (
        of / np.linalg.norm(of, axis=-1, keepdims=True) for of in (asked, less, scaled)
    )
    rest = [n for n in range(240) if n not in (0, 3)]
    truth, wrong = (1 - np.einsum("bd,nbd->nb", of, less[rest]).mean(1) for of in (asked, scaled))
    found = hits.set_index("id")["centred"][[ids[n] for n in rest]].to_numpy()
    np.testing.assert_allclose(found, truth, atol=2e-3)
    assert np.abs(wrong - truth).max() > 0.01


def test_only_the_nearest_are_ordered_by_centred_features(cameras, monkeypatch):
    store, features, ids = cameras
    monkeypatch.setattr(answers, "RERANKED", 50)
    query = answers.Query([ids[0]], [None], [ids[0]], features[0])
    nearest = set(answers.answer(store, query, top=50).hits["id"])
    every = answers.answer(store, query, centred="c0", top=300).hits["id"]
    found = answers.answer(store, query, centred="c0", top=20).hits["id"].tolist()
    assert found == [name for name in every if name in nearest][:20]
    assert found != every[:20].tolist()


def test_the_camera_of_a_stored_query_is_its_own(cameras):
    store, features, ids = cameras
    query = answers.Query([ids[1]], [None], [ids[1]], features[1])
    with pytest.raises(UserError, match=f"--centred c0: crop {ids[1][:10]} is from camera c1"):
        answers.answer(store, query, centred="c0")


def test_centring_brings_people_from_other_cameras_forward(cameras):
    store, features, ids = cameras

    def place(row, **ordered):
        """Mean rank of the crops of the query's person from other cameras."""
        query = answers.Query([ids[row]], [None], [ids[row]], features[row])
        hits = answers.answer(store, query, top=239, where="camera != 'c0'", **ordered).hits
        return hits["rank"][hits["pid"] == str(row // 6)].mean()

    rows = range(0, 240, 6)
    centred, plain = (
        np.mean([place(row, **ordered) for row in rows]) for ordered in ({"centred": "c0"}, {})
    )
    assert centred < 0.7 * plain


@pytest.mark.parametrize(
    ("camera", "others", "said"),
    [
        (
            "c9",
            {},
            r"c9: the store has 0 crops of the query's camera.* as the column `camera` does",
        ),
        (
            "c0",
            {"camera": ["c0"] * 239 + [None]},
            "without a camera .* --where 'camera is not null'",
        ),
        ("c0", {"camera": ["c0"] * 221 + ["c1"] * 19}, "are 19 crops of camera 'c1'"),
    ],
)
def test_what_cannot_be_centred_is_told(tmp_path, camera, others, said):
    features = features_of(40, 6)
    rows = table_of(features, pid=[str(n // 6) for n in range(240)])
    for name, values in others.items():
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, rows.schema.field(name), pa.array(values, pa.string()))
    store = Store.create(tmp_path / "store", describe())
    with store.writing():
        store.add(rows)
    query = answers.Query(["x"], [None], [], features[0])
    with pytest.raises(UserError, match=f"--centred.*{said}"):
        answers.answer(store, query, centred=camera, top=300)
    if others:
        with pytest.raises(UserError, match=r"--centred: .*(camera 'c1'|1 crops have no camera)"):
            judge.evaluate(store, centred=True)


def test_a_camera_whose_crops_are_all_alike_is_told(tmp_path):
    features = features_of(40, 6)
    features[2::3] = features[2]  # of camera c2, as black pictures are
    store = Store.create(tmp_path / "store", describe())
    with store.writing():
        store.add(table_of(features, pid=[str(n // 6) for n in range(240)]))
    said = "--centred: .* have no direction, .*: a camera's crops are all alike"
    with pytest.raises(UserError, match=said):
        answers.answer(store, answers.Query(["x"], [None], [], features[0]), centred="c0", top=300)
    with pytest.raises(UserError, match=said):
        judge.evaluate(store, centred=True)


def test_evaluate_centred_is_to_evaluate_centred_features(cameras, tmp_path):
    store, features, _ = cameras
    less = features - np.stack([features[n % 3 :: 3].mean(0) for n in range(240)])
    less /= np.linalg.norm(less, axis=-1, keepdims=True)
    other = Store.create(tmp_path / "other", describe())
    with other.writing():
        other.add(table_of(less.astype(np.float32), pid=[str(n // 6) for n in range(240)]))
    wanted, found = judge.evaluate(other), judge.evaluate(store, centred=True)
    for name, figures in wanted.figures.items():
        # features are kept in float16
        assert found.figures[name] == pytest.approx(figures, abs=0.5)
    plain = judge.evaluate(store)
    assert found.figures["fused"]["rank1"] > plain.figures["fused"]["rank1"] + 10


def test_the_nearest_are_ordered_in_one_way(run, cameras):
    store, _, ids = cameras
    command = ("search", ids[0], "--store", store.folder, "--centred", "c0")
    code, out, err = run(*command, "--rerank")
    assert (code, out) == (2, "")
    assert "--rerank and --centred order the nearest crops in two ways: give one" in err
    code, out, _ = run(*command, "--group", "pid", "--top", 3)
    assert code == 0
    assert out.splitlines()[0].split()[:5] == [
        "rank",
        "distance",
        "probability",
        "centred",
        "crops",
    ]
    assert len(out.splitlines()) == 4
    hits = json.loads(run(*command, "--json", "--where", "camera = 'c7'")[1])["hits"]
    assert hits == []
    judged = json.loads(run("evaluate", "--store", store.folder, "--centred", "--json")[1])
    assert judged["figures"] == judge.evaluate(store, centred=True).figures


def test_a_branch_of_weight_0_takes_no_part(tmp_path):
    features = features_of(40, 6)
    features[:, 3] = features[0, 3]  # h3 tells nothing of anybody
    rows = table_of(features)
    store = Store.create(tmp_path / "store", describe())
    with store.writing():
        store.add(rows)
    query = answers.Query(["x"], [None], [], features[0])
    weights = {"ori": 1.0, "h1": 1.0, "h2": 1.0, "h3": 0.0}
    hits = answers.answer(store, query, weights=weights, centred="c0", top=300).hits
    assert hits["id"].iloc[0] == rows["id"][0].as_py()
    with pytest.raises(UserError, match="--centred"):
        answers.answer(store, query, centred="c0", top=300)
