"""A server over a gallery of small crops, by a model whose weights are random."""

import hashlib
import io
from datetime import datetime, timedelta
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from starlette.testclient import TestClient

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.reid.network import osnet
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.search import description as described
from pyramid_reid.search.model import load
from pyramid_reid.search.serve.app import create
from pyramid_reid.search.serve.log import SearchLog
from pyramid_reid.search.serve.security import access

CAMERAS = ["lobby", "o'hara", "yard"]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A model folder of four OSNets with random weights, and bicubic restoration."""
    folder = tmp_path_factory.mktemp("model")
    net = reconstructor.build(reconstructor.Architecture(size=None, head_dim=1, scales=(2, 3, 4)), 0)
    reconstructor.save(folder / "restorer.safetensors", net)

    def weights(name):
        content = (folder / name).read_bytes()
        return {
            "file": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "trained_on": "nothing",
            "licence": "MIT",
        }

    branches = {}
    for seed, branch in enumerate(BRANCHES):
        name = f"{branch}.safetensors"
        osnet.save(folder / name, osnet.build("osnet_x0_25", 2, seed), "osnet_x0_25", 64, 32)
        branches[branch] = weights(name) | {"network": "osnet_x0_25", "height": 64, "width": 32}
    described.write(
        folder,
        described.Description(
            format=1,
            name="test",
            restorer=weights("restorer.safetensors")
            | {"extractor": "bicubic", "scales": (2, 3, 4)},
            branches=branches,
            weights={"ori": 0.4, "h1": 0.2, "h2": 0.2, "h3": 0.2},
            calibration={
                "slope": 8.0,
                "intercept": -3.0,
                "identities": 9,
                "same_pairs": 9,
                "different_pairs": 99,
            },
            why_no_calibration=None,
            trained={},
        ),
    )
    return folder


@pytest.fixture(scope="session")
def model(model_folder):
    return load(model_folder)


def picture(seed, height=40, width=20):
    """The file of a picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(file, "PNG")
    return file.getvalue()


class Stub:
    """Stands for the store."""

    def __init__(self, folder, model, count):
        self.paths = {}
        contents = [picture(seed) for seed in range(count)]
        vectors = model.embed([Image.open(io.BytesIO(each)) for each in contents])
        rows = []
        for number, (content, vector) in enumerate(zip(contents, vectors, strict=True)):
            name = hashlib.sha256(content).hexdigest()
            path = folder / f"{number}.png"
            path.write_bytes(content)
            rows.append({
                "id": name, "path": str(path), "camera": CAMERAS[number % 3],
                "time": datetime(2024, 5, 12, 10) + timedelta(minutes=number),
                "track": str(number // 2), "coat": ["red", "=1+1"][number % 2],
                "vector": vector.ravel().astype(np.float16),
            })  # fmt: skip
        schema = pa.schema([
            *((name, pa.string()) for name in ("id", "path", "camera", "track", "coat")),
            ("time", pa.timestamp("us")), ("vector", pa.list_(pa.float16(), vectors[0].size)),
        ])  # fmt: skip
        self.table = lancedb.connect(folder / "db").create_table("crops", rows, schema=schema)

    def _frame(self, where):
        query = self.table.search()
        return (query.where(where) if where else query).limit(10**6).to_arrow()

    def search(self, vector, weights, k=20, where=None, exact=False):
        rows = self._frame(where)
        known = np.array(rows["vector"].to_pylist(), np.float32).reshape(len(rows), 4, -1)
        shape = (len(rows),)
        cosine = 1 - np.einsum("nbd,bd->nb", known, vector)
        fused = cosine @ np.array([weights[branch] for branch in BRANCHES])
        assert fused.shape == shape
        rows = rows.drop_columns("vector").append_column("distance", pa.array(fused))
        for number, branch in enumerate(BRANCHES):
            rows = rows.append_column(branch, pa.array(cosine[:, number]))
        return rows.take(np.argsort(fused, kind="stable")[:k])

    def rows(self, where=None, offset=0, limit=48):
        return self._frame(where).drop_columns("vector").slice(offset, limit).to_pylist()

    def row(self, asked):
        rows = [row for row in self._frame(None).to_pylist() if row["id"] == asked]
        if not rows:
            raise UserError(f"there is no crop {asked}")
        return rows[0]

    def vector(self, asked):
        return np.array(self.row(asked)["vector"], np.float32).reshape(4, -1)

    def crop(self, asked):
        return Path(self.row(asked)["path"]).read_bytes()

    def columns(self):
        return self.table.schema.names

    def count(self, where=None):
        return self.table.count_rows(where)

    def cameras(self):
        return CAMERAS


@pytest.fixture(scope="session")
def gallery(model, tmp_path_factory):
    """Thirty crops of three cameras."""
    return Stub(tmp_path_factory.mktemp("gallery"), model, 30)


@pytest.fixture
def log(tmp_path):
    return SearchLog(tmp_path / "searches.jsonl")


@pytest.fixture
def client(gallery, model, log):
    """A program on this machine."""
    app = create(gallery, model, access("127.0.0.1", [])[0], log)
    return TestClient(app, "http://localhost:8000", raise_server_exceptions=False)
