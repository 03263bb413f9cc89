"""Several servers over one store: processes of their own, while another one writes."""

import hashlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta

import httpx
import numpy as np
import pyarrow as pa
import pytest
from tests.conftest import HANGS_S, ROOT
from tests.search.conftest import paint
from tests.search.serve.conftest import fill

from pyramid_reid.search.store import Store
from pyramid_reid.search.store.rows import schema

TOKEN = "the-token-of-all-of-them"  # noqa: S105
TOGETHER = 7
"""Crops that are added at once."""
TIMES = 25


@contextmanager
def serving(store, model_folder):
    """A `pyramid-reid serve`, as a client that asks it with the token."""
    options = {"store": store.folder, "model": model_folder, "port": 0, "token": TOKEN}
    given = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    process = subprocess.Popen(
        [sys.executable, "-m", "pyramid_reid", "serve", *given],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    try:
        told = process.stderr.readline()
        port = re.search(r"http://127\.0\.0\.1:(\d+)/", told)[1]
        headers = {"authorization": f"Bearer {TOKEN}"}
        with httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=HANGS_S, trust_env=False
        ) as client:
            yield client
    finally:
        process.terminate()
        process.wait(HANGS_S)
        process.stderr.close()


@pytest.fixture(scope="module")
def several(model, model_folder, crops, tmp_path_factory):
    """A store, and two servers over it."""
    store = fill(tmp_path_factory.mktemp("several") / "store", model, crops)
    with serving(store, model_folder) as one, serving(store, model_folder) as other:
        yield store, one, other


def search(client, files=None, **options):
    given = {"json": options} if files is None else {"files": files, "data": options}
    answer = client.post("/api/search", **given)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_they_answer_alike(several, crops, model, tmp_path):
    _, one, other = several
    new = [("images", ("new.png", paint(tmp_path / "new.png", 3, 8, size=(48, 24)).read_bytes()))]
    identifier = hashlib.sha256(crops[4].read_bytes()).hexdigest()
    vectors = model.embed(crops[:1]).tolist()
    for options in (
        {"ids": [identifier]},
        {"ids": [identifier], "cameras": ["lobby"], "weights": {"ori": 0.7, "h1": 0.3}},
        {"vectors": vectors, "k": 100, "exact": True},
        {"files": new},
    ):
        assert search(one, **options) == search(other, **options)
    assert one.get("/api/crops").json() == other.get("/api/crops").json()
    assert one.get("/api/status").json() == other.get("/api/status").json()


def test_a_picture_that_only_the_other_one_saw_is_asked_for(several, tmp_path):
    _, one, other = several
    picture = paint(tmp_path / "new.png", 5, 8, size=(48, 24)).read_bytes()
    answer = search(one, [("images", ("new.png", picture))])
    asked = {"ids": [answer["queries"][0]["id"]]}
    assert search(one, **asked)["hits"] == answer["hits"]
    refused = other.post("/api/search", json=asked)
    assert refused.status_code == 404
    assert "send it again" in refused.json()["error"]
    assert search(other, [("images", ("new.png", picture))]) == answer


def test_each_answer_is_of_one_version_while_another_process_writes(several, model):
    """Crops come and go some at a time; whatever an answer says belongs together."""
    store, one, other = several
    before = store.count()
    rng = np.random.default_rng(0)
    features = rng.normal(size=(TOGETHER, 4, model.dim)).astype(np.float32)
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    answered, stop = [], threading.Event()

    def ask(client):
        while not stop.is_set():
            answer = search(client, vectors=features[:1].tolist(), k=500, exact=True)
            answered.append((answer["searched"], len(answer["hits"])))
            listed = client.get("/api/crops", params={"limit": 200}).json()
            answered.append((listed["total"], len(listed["crops"])))

    asking = [threading.Thread(target=ask, args=(client,)) for client in (one, other)]
    for thread in asking:
        thread.start()
    writer = Store.open(store.folder)
    deadline = time.monotonic() + HANGS_S
    for time_ in range(TIMES):
        told = len(answered)
        with writer.writing():
            writer.add(rows(features, time_))
            while len(answered) < told + 4 and time.monotonic() < deadline:
                time.sleep(0.01)
            writer.optimize(keep=timedelta(0))
        if time_ == TIMES // 2:
            with writer.writing():
                writer.forget("camera = 'new'")
    stop.set()
    for thread in asking:
        thread.join()
    assert len(answered) >= 4 * TIMES
    assert {searched - hits for searched, hits in answered} == {0}
    assert {(searched - before) % TOGETHER for searched, _ in answered} == {0}
    assert len({searched for searched, _ in answered}) > TIMES // 2  # new crops were seen at once
    assert store.count() == before + (TIMES - 1 - TIMES // 2) * TOGETHER


def rows(features, time_):
    """New crops of a camera of their own."""
    return pa.Table.from_pylist(
        [
            {
                "id": hashlib.sha256(json.dumps([time_, number]).encode()).hexdigest(),
                "path": f"/new/{time_}_{number}.png",
                "camera": "new",
                "vector": vector.ravel().astype(np.float16),
            }
            for number, vector in enumerate(features)
        ],
        schema(features.shape[2]),
    )
