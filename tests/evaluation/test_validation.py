"""What is tried on held-out people, without training."""

import numpy as np
import pandas as pd
import pytest
import torch
from benchmarks.results import fusions, recipes, strengths
from benchmarks.results.validation import People, between

from pyramid_reid.evaluation.rankings import Judging
from pyramid_reid.retrieval.distance import normalize
from pyramid_reid.retrieval.rerank import Rerank, rerank
from pyramid_reid.retrieval.whitening import whitened, within_people


def table(pids, camids):
    return pd.DataFrame({"pid": pids, "camid": camids})


@pytest.fixture
def of_split():
    """Two people train, three are held out; camera 2 adds to the third number."""
    tables = {
        "train": table([1, 1, 2, 2], [1, 2, 1, 2]),
        "val_query": table([3, 4, 5], [2, 2, 2]),
        "val_gallery": table([3, 4, 5], [1, 1, 1]),
    }
    images = {role: np.zeros((len(of), 2, 2, 3), np.uint8) for role, of in tables.items()}
    return People("split_0", images, tables, Judging())


@pytest.fixture
def features():
    people = {"train": np.eye(6)[[0, 0, 1, 1]], "val": np.eye(6)[3:]}
    shift = 2 * np.eye(6)[2]
    differ = np.random.default_rng(0).normal(size=(4, 6)) / 20
    return {
        "train": normalize(people["train"] + np.outer([0, 1, 0, 1], shift) + differ),
        "val_query": normalize(people["val"] + shift),
        "val_gallery": normalize(people["val"]),
    }


def test_cameras_means_and_whitening_come_from_the_people_that_train(of_split, features):
    less = of_split.centred(features)
    trained = features["train"]
    means = {1: trained[[0, 2]].mean(0), 2: trained[[1, 3]].mean(0)}
    for role, camera in (("val_query", 2), ("val_gallery", 1)):
        np.testing.assert_allclose(less[role], normalize(features[role] - means[camera]), atol=1e-6)
    assert of_split.figures(between(less)) == {"rank1": 100, "mAP": 100}
    matrix = within_people(less["train"], np.array([1, 1, 2, 2]), 0.1)
    white = of_split.whitened(less, 0.1)
    np.testing.assert_allclose(white["val_query"], whitened(less["val_query"], matrix), atol=1e-6)
    assert set(of_split.distances(features)) == {"as they are", "centred", "whitened"}


def test_fusions_are_means_of_their_networks_distances(of_split, features, monkeypatch, tmp_path):
    """Of MSMT17 the first seed is right, the second wrong in two of three; the others are right."""
    wrong = {**features, "val_query": features["val_query"][[1, 0, 2]]}
    told = {("MSMT17", 1): features, ("MSMT17", 2): wrong}
    told |= {("pooled crops", seed): features for seed in (1, 2)}
    monkeypatch.setattr(fusions, "people", lambda *_: of_split)
    monkeypatch.setattr(fusions, "features", lambda _data, _split, *network: told[network[:2]])
    joined, whitened_twice = [], fusions.joined([of_split.moved(features)["whitened"]] * 2)
    judge_again = People.reranked

    def noted(people, of):
        joined.append(of)
        return judge_again(people, of)

    monkeypatch.setattr(People, "reranked", noted)
    rows = fusions.judged("caviar4reid", 0, tmp_path, tmp_path, tmp_path)
    alike = [name for name, members in fusions.FUSIONS.items() for _ in members]
    (of_two,) = (of for name, of in zip(alike, joined, strict=True) if "two from pooled" in name)
    for role, of in whitened_twice.items():
        np.testing.assert_array_equal(of_two[role], of)
    found = pd.DataFrame(rows).set_index(["fused", "features"]).rank1.groupby(level=[0, 1]).mean()
    assert found["one from MSMT17", "centred"] == pytest.approx((100 + 100 / 3) / 2)
    assert found["one from pooled crops", "centred"] == 100
    assert found["two from each", "centred"] == 100  # three of four are right
    assert len(rows) == 4 * sum(map(len, fusions.FUSIONS.values()))


def test_held_out_queries_are_re_ranked_all_at_once():
    """With one gallery crop of each person, average precision is 1 over its rank."""
    rng, pids = np.random.default_rng(1), np.repeat(np.arange(6), 4)
    tables = {
        "val_query": table(pids, np.full(24, 2)),
        "val_gallery": table(np.arange(30), np.full(30, 1)),
    }
    people = rng.normal(size=(30, 16))
    query = normalize(people[pids] + 1.5 * rng.normal(size=(24, 16)))
    gallery = normalize(people + 0.5 * rng.normal(size=(30, 16)))
    features = {"val_query": query, "val_gallery": gallery}
    of_split = People("split_0", {}, tables, Judging())
    distances = np.concatenate([run for _, run in rerank(query, gallery, 1.0, Rerank())])
    own = distances[np.arange(24), pids]
    expected = 100 * np.mean(1 / (distances <= own[:, None]).sum(axis=1))
    assert of_split.reranked(features)["mAP"] == pytest.approx(expected)
    assert of_split.figures(between(features))["mAP"] != pytest.approx(expected)


def test_joined_features_of_networks_give_their_mean_similarity(features):
    other = {role: of[:, ::-1] for role, of in features.items()}
    both = fusions.joined([features, other])
    mean = (between(features) + between(other)) / 2
    np.testing.assert_allclose(1 - both["val_query"] @ both["val_gallery"].T, mean, atol=1e-6)


def test_features_are_kept_by_what_they_come_from(of_split, features, monkeypatch, tmp_path):
    trained = []

    def train(trial):
        trained.append(trial.recipe)
        monkeypatch.setattr(People, "features", lambda *_, **__: features)
        return recipes.Trained(torch.nn.Identity(), None, of_split, 100.0)

    monkeypatch.setattr(recipes, "trained", train)
    monkeypatch.setattr(fusions.pretrained, "blend", lambda *_: None)
    start = tmp_path / "start.safetensors"

    def asked(start_name, seed):
        told = "prid2011", 0, start_name, seed, tmp_path, start, tmp_path / "kept"
        return fusions.features(*told)

    start.write_bytes(b"one")
    for _ in range(2):
        found = asked("pooled crops", 1)
        assert all(np.array_equal(found[role], of) for role, of in features.items())
    asked("MSMT17", 1)
    assert trained == ["pooled", "chosen"]
    start.write_bytes(b"another")
    asked("pooled crops", 1)
    asked("MSMT17", 1)  # which does not start from it
    assert trained == ["pooled", "chosen", "pooled"]


def test_the_start_from_pooled_crops_has_a_name_in_the_table(tmp_path):
    file = tmp_path / "start.safetensors"
    file.write_bytes(b"")
    assert [strengths._named(each) for each in ("msmt17", str(file))] == ["msmt17", "pooled crops"]
