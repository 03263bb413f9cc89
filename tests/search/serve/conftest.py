"""A server over a gallery of small crops, by a model whose weights are random."""

import hashlib
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient
from tests.search.conftest import paint

from pyramid_reid.search.serve.app import create
from pyramid_reid.search.serve.log import SearchLog
from pyramid_reid.search.serve.security import access
from pyramid_reid.search.store import Store
from pyramid_reid.search.store.rows import schema

CAMERAS = ["lobby", "o'hara", 'yard "β"']
CROPS = 30
BEGIN = datetime(2024, 5, 12, 10, tzinfo=UTC)


def fill(folder, model, paths):
    """A store of crops: a camera, a minute and a track for each."""
    store = Store.create(folder, model.description)
    vectors = model.embed(paths)
    rows = [
        {
            "id": hashlib.sha256(path.read_bytes()).hexdigest(),
            "path": str(path),
            "camera": CAMERAS[number % 3],
            "time": f"{BEGIN + timedelta(minutes=number):%Y-%m-%dT%H:%M:%S}",
            "track": str(number // 3),
            "vector": vector.ravel().astype(np.float16),
            "coat": ["red, white", "=1+1"][number % 2],
        }
        for number, (path, vector) in enumerate(zip(paths, vectors, strict=True))
    ]
    columns = schema(model.dim).append(pa.field("coat", pa.string()))
    with store.writing():
        store.add(pa.Table.from_pylist(rows, columns))
    return store


@pytest.fixture(scope="session")
def crops(tmp_path_factory):
    """Files of thirty crops of ten people."""
    folder = tmp_path_factory.mktemp("crops")
    return [
        paint(folder / f"{number}.png", number // 3, number % 3, size=(48, 24))
        for number in range(CROPS)
    ]


@pytest.fixture(scope="session")
def stored(model, crops, tmp_path_factory):
    """A store of them, of three cameras."""
    return fill(tmp_path_factory.mktemp("serve") / "store", model, crops)


@pytest.fixture
def log(tmp_path):
    return SearchLog(tmp_path / "searches.jsonl")


@pytest.fixture
def client(stored, model, log):
    """A program on this machine."""
    app = create(stored, model, access("127.0.0.1", [])[0], log)
    return TestClient(app, "http://localhost:8000", raise_server_exceptions=False)
