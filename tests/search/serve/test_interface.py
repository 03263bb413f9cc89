"""Searches as JSON: what they answer, what they refuse, and what they log."""

import base64
import hashlib
import io
import json

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient
from tests.search.conftest import paint
from tests.search.serve.conftest import CAMERAS, CROPS

import pyramid_reid
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search.serve import queries
from pyramid_reid.search.serve.app import create
from pyramid_reid.search.serve.log import SearchLog
from pyramid_reid.search.serve.security import Access

WEIGHTS = {"ori": 0.7, "h1": 0.1, "h2": 0.1, "h3": 0.1}


def identifier(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def images(*paths):
    return [("images", (path.name, path.read_bytes())) for path in paths]


def search(client, files=None, **options):
    if files is None:
        answer = client.post("/api/search", json=options)
    else:
        answer = client.post("/api/search", files=files, data={"options": json.dumps(options)})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_hits_are_ranked_as_the_models_own_distances_do(client, model, crops, weights):
    answer = search(client, images(crops[4]), weights=weights, k=CROPS)
    others = [path for path in crops if path != crops[4]]
    distmat = pyramid_reid.distances(model.embed([crops[4]]), model.embed(others), weights)[0]
    expected = {identifier(path): distance for path, distance in zip(others, distmat, strict=True)}
    hits = answer["hits"]
    assert {hit["id"] for hit in hits} == set(expected)  # the query is no hit of its own
    assert [hit["rank"] for hit in hits] == list(range(1, CROPS))
    assert sorted(hit["distance"] for hit in hits) == [hit["distance"] for hit in hits]
    for hit in hits:  # the store's features are float16
        assert hit["distance"] == pytest.approx(expected[hit["id"]], abs=2e-3)
        fused = sum(answer["weights"][branch] * hit["distances"][branch] for branch in BRANCHES)
        assert hit["distance"] == pytest.approx(fused, abs=1e-5)


def test_a_hit_has_its_row(client, crops):
    hits = search(client, images(crops[4]), k=CROPS)["hits"]
    (hit,) = [hit for hit in hits if hit["id"] == identifier(crops[5])]
    assert hit["camera"] == CAMERAS[2]
    assert hit["time"] == "2024-05-12T10:05:00"
    assert hit["track"] == "1"
    assert hit["path"] == str(crops[5])
    assert hit["columns"] == {"coat": "=1+1"}


def test_a_picture_once_sent_is_searched_again_by_its_id(client, model, tmp_path, monkeypatch):
    new = [paint(tmp_path / f"{shot}.png", 3, shot, size=(48, 24)) for shot in (8, 9)]
    first = search(client, images(*new))
    ids = [asked["id"] for asked in first["queries"]]
    assert ids == [identifier(path) for path in new]
    assert len(first["hits"]) == 20
    monkeypatch.setattr(type(model), "embed", None)
    assert search(client, ids=ids)["hits"] == first["hits"]


def test_several_crops_are_averaged(client, model, crops, tmp_path):
    new = [paint(tmp_path / f"{shot}.png", shot, 9, size=(48, 24)) for shot in (3, 5)]
    distmat = pyramid_reid.distances(model.embed(new), model.embed(crops)).mean(axis=0)
    expected = {identifier(path): distance for path, distance in zip(crops, distmat, strict=True)}
    by_pictures = search(client, images(*new), k=CROPS)
    by_vectors = search(client, vectors=model.embed(new).tolist(), k=CROPS)
    for answer in (by_pictures, by_vectors):
        assert len(answer["hits"]) == CROPS
        for hit in answer["hits"]:
            assert hit["distance"] == pytest.approx(expected[hit["id"]], abs=2e-3)


def test_more_like_a_crop_of_the_gallery(client, crops):
    answer = search(client, ids=[identifier(crops[9])], k=3)
    assert answer["queries"] == [{"kind": "crop", "id": identifier(crops[9])}]
    assert len(answer["hits"]) == 3
    assert answer["hits"][0]["id"] in {identifier(path) for path in crops[10:12]}  # the same person


@pytest.mark.parametrize(
    ("filters", "numbers"),
    [
        ({"cameras": ["o'hara"]}, range(1, CROPS, 3)),
        ({"cameras": ['yard "β"', "lobby"]}, [n for n in range(CROPS) if n % 3 != 1]),
        ({"cameras": ["' or 1=1 --"]}, []),
        ({"since": "2024-05-12T10:20:00"}, range(20, CROPS)),
        ({"since": "2024-05-12T10:05", "until": "2024-05-12 10:07:00"}, [5, 6, 7]),
        # 12:28 in Berlin is 10:28 in UTC, in which the store keeps times
        ({"since": "2024-05-12T12:28:00+02:00"}, [28, 29]),
        ({"cameras": ["lobby"], "until": "2024-05-12T10:04:00"}, [0, 3]),
    ],
)
def test_filters(client, model, crops, filters, numbers):
    expected = {identifier(crops[number]) for number in numbers}
    answer = search(client, vectors=model.embed(crops[:1]).tolist(), k=CROPS, **filters)
    assert answer["searched"] == len(expected)
    assert {hit["id"] for hit in answer["hits"]} == expected
    params = {name: value for name, value in filters.items() if name != "cameras"}
    listed = client.get("/api/crops", params=params | {"camera": filters.get("cameras", [])})
    assert listed.json()["total"] == len(expected)
    assert {crop["id"] for crop in listed.json()["crops"]} == expected


def test_probabilities_hold_for_the_models_weights_alone(client, model, crops):
    own = search(client, images(crops[0]))["hits"]
    fit = model.description.calibration
    for hit in own:
        odds = np.exp(-fit.slope * hit["distance"] - fit.intercept)
        assert hit["probability"] == pytest.approx(odds / (1 + odds), abs=1e-5)
    same = search(client, images(crops[0]), weights=dict.fromkeys(BRANCHES, 3))["hits"]
    assert [hit["probability"] for hit in same] == [hit["probability"] for hit in own]
    other = search(client, images(crops[0]), weights=WEIGHTS)
    assert {hit["probability"] for hit in other["hits"]} == {None}
    assert "calibrated for its own weights" in other["why_no_probability"]


def test_weights_and_calibration_are_the_models_and_not_those_that_filled_the_store(
    stored, model, log, crops, monkeypatch
):
    weights = dict(zip(BRANCHES, (0.7, 0.1, 0.1, 0.1), strict=True))
    fitted = model.description.calibration.model_copy(update={"slope": 4.0, "intercept": -1.0})
    told = model.description.model_copy(update={"weights": weights, "calibration": fitted})
    monkeypatch.setattr(model, "description", told)
    monkeypatch.setattr(model, "weights", weights)
    client = TestClient(create(stored, model, Access(True, {}), log), "http://localhost:8000")
    assert client.get("/api/status").json()["weights"] == pytest.approx(weights)
    answer = search(client, images(crops[0]))
    assert answer["weights"] == pytest.approx(weights)
    for hit in answer["hits"]:
        fused = sum(weights[branch] * hit["distances"][branch] for branch in BRANCHES)
        assert hit["distance"] == pytest.approx(fused, abs=1e-5)
        chance = 1 / (1 + np.exp(4 * hit["distance"] - 1))
        assert hit["probability"] == pytest.approx(chance, abs=1e-5)


def test_features_are_the_models(client, model, crops):
    answer = client.post("/api/embed", files=images(*crops[:3])).json()
    assert answer["features"] == model.description.features
    vectors = [crop["vector"] for crop in answer["crops"]]
    np.testing.assert_allclose(vectors, model.embed(crops[:3]), atol=1e-6)


@pytest.mark.parametrize("of_gallery", [True, False])
def test_restored_images_are_the_models(client, model, crops, of_gallery):
    if of_gallery:
        answer = client.post("/api/restore", json={"id": identifier(crops[2])})
    else:
        answer = client.post("/api/restore", files=images(crops[2]))
    for restored, expected in zip(answer.json(), model.restore(crops[2]), strict=True):
        found = np.asarray(Image.open(io.BytesIO(base64.b64decode(restored["png"]))))
        np.testing.assert_array_equal(found, expected)
    assert [(each["branch"], each["scale"]) for each in answer.json()] == [
        ("h1", 2), ("h2", 3), ("h3", 4),
    ]  # fmt: skip


def test_crops_are_the_files(client, crops):
    answer = client.get(f"/api/crops/{identifier(crops[3])}")
    assert answer.content == crops[3].read_bytes()
    assert answer.headers["content-type"] == "image/png"


def test_pages_of_the_gallery(client, crops):
    pages = [
        client.get("/api/crops", params={"offset": at, "limit": 12}).json() for at in (0, 12, 24)
    ]
    ids = [crop["id"] for page in pages for crop in page["crops"]]
    assert sorted(ids) == sorted(map(identifier, crops))
    assert [page["total"] for page in pages] == [CROPS] * 3


@pytest.mark.parametrize(("offset", "status"), [(2**31 - 1, 200), (2**31, 422), (-1, 422)])
def test_pages_beyond_the_last(client, offset, status):
    assert client.get("/api/crops", params={"offset": offset}).status_code == status


def test_status(client, model):
    status = client.get("/api/status").json()
    assert status["crops"] == CROPS
    assert status["cameras"] == sorted(CAMERAS)
    assert status["features"] == model.description.features
    assert status["calibrated"]
    assert status["logged"]


def test_the_interface_is_described_without_another_server(client):
    described = client.get("/api/openapi.json").json()
    assert set(described["paths"]) == {
        "/api/status", "/api/crops", "/api/crops/{id}", "/api/embed", "/api/restore", "/api/search",
    }  # fmt: skip
    body = described["paths"]["/api/search"]["post"]["requestBody"]["content"]
    assert set(body["application/json"]["schema"]["properties"]) == {
        "cameras", "since", "until", "ids", "vectors", "weights", "k", "exact",
    }  # fmt: skip
    for page in ("/", "/docs", "/page/app.js", "/page/docs.js", "/page/style.css"):
        assert "//" not in client.get(page).text.replace("// ", "").replace("http://www.w3.org", "")


BAD = {
    "no query": ({}, "ask by 1 to 16 pictures, ids and vectors of one person, not 0"),
    "unknown key": ({"ids": ["0" * 64], "where": "1=1"}, "where: Extra inputs"),
    "id": ({"ids": ["../../etc/passwd"]}, "ids.0: String should match"),
    "k": ({"k": 0}, "k: Input should be greater"),
    "no weight": ({"ids": ["0" * 64], "weights": {"ori": 0}}, "all weights are 0"),
    "negative": ({"weights": {"ori": -1}}, "weights.ori: Input should be greater"),
    "branch": ({"weights": {"h4": 1}}, "weights.h4"),
    "short vector": ({"vectors": [[[1.0]] * 4]}, "4 branches of 512 numbers"),
    "no direction": ({"vectors": [[[0.0] * 512] * 4]}, "no direction"),
    "time": ({"since": "yesterday"}, "since: Input should be a valid datetime"),
    "end of time": (
        {"ids": ["0" * 64], "until": "9999-12-31T23:59:59-23:00"},
        "outside the calendar",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said(client, name):
    options, said = BAD[name]
    answer = client.post("/api/search", json=options)
    assert answer.status_code == 422
    assert said in answer.json()["error"]


def test_an_unknown_crop_is_said(client):
    assert client.post("/api/search", json={"ids": ["0" * 64]}).status_code == 404
    assert client.get(f"/api/crops/{'0' * 64}").status_code == 404


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "picture 1 is empty"),
        (b"GIF89a", "picture 1 is not a JPEG, PNG or BMP image"),
        (b"<html>", "picture 1 is a web page"),
    ],
)
def test_a_query_that_is_no_image(client, content, said):
    answer = client.post("/api/search", files=[("images", ("a.png", content))])
    assert answer.status_code == 422
    assert said in answer.json()["error"]


@pytest.mark.parametrize("path", ["/api/search", "/api/embed", "/api/restore"])
def test_a_photograph_is_refused_before_it_is_decoded(client, path, monkeypatch):
    file = io.BytesIO()
    Image.new("RGB", (1025, 1024)).save(file, "PNG")
    monkeypatch.setattr(queries, "decode", None)
    answer = client.post(path, files=[("images", ("a.png", file.getvalue()))])
    assert answer.status_code == 422
    assert "cut the person out of it" in answer.json()["error"]


def test_searches_are_logged_before_they_are_answered(client, log, crops):
    search(client, images(crops[0]), k=2, cameras=["lobby"], weights=WEIGHTS)
    client.post("/api/embed", files=images(crops[1]))
    client.get("/api/crops")
    lines = [json.loads(line) for line in log.path.read_text().splitlines()]
    assert [line["kind"] for line in lines] == ["search", "embed"]
    first = lines[0]
    assert first["time"].endswith("+00:00")
    assert first["address"] == "testclient"
    assert first["who"] is None
    assert first["queries"] == [{"kind": "picture", "id": identifier(crops[0])}]
    assert first["filters"] == {"cameras": ["lobby"]}
    assert first["weights"] == pytest.approx(WEIGHTS)
    assert first["k"] == 2
    assert set(first["hits"]) < {identifier(path) for path in crops[3::3]}
    assert len(first["hits"]) == 2
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_logged_is_not_answered(stored, model, crops, tmp_path):
    log = SearchLog(tmp_path / "searches.jsonl")
    client = TestClient(create(stored, model, Access(True, {}), log), "http://localhost")
    log.path = tmp_path / "missing" / "searches.jsonl"
    answer = client.post("/api/search", files=images(crops[0]))
    assert answer.status_code == 503
    assert "missing/searches.jsonl cannot be written" in answer.json()["error"]
    assert "hits" not in answer.text


def test_a_file_that_is_another_by_now_is_not_served(model, crops, tmp_path):
    from tests.search.serve.conftest import fill

    path = tmp_path / "a.png"
    path.write_bytes(crops[0].read_bytes())
    asked = identifier(path)
    store = fill(tmp_path / "store", model, [path])
    client = TestClient(create(store, model, Access(True, {}), SearchLog(None)), "http://localhost")
    path.unlink()
    path.symlink_to("/etc/passwd")
    answer = client.get(f"/api/crops/{asked}")
    assert answer.status_code == 404
    assert b"root:" not in answer.content
