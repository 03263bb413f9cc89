"""A model folder with small networks, and made-up crops of people."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

# tests of other folders import these from `conftest`, and mean whichever was loaded last
from tests.conftest import HANGS_S, ROOT, labels, room, run_stage  # noqa: F401

from pyramid_reid import cli
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search import description
from pyramid_reid.search.description import (
    BranchNetwork,
    Calibration,
    Description,
    Restorer,
)


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command in this process: exit code, standard output, standard error."""

    def command(*arguments):
        monkeypatch.setattr(sys, "argv", ["pyramid-reid", *map(str, arguments)])
        code = cli.main()
        said = capsys.readouterr()
        return code, said.out, said.err

    return command


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_model(folder, seed=0, calibration=True):
    """A model folder: four OSNets with random weights, bicubic restoration."""
    from pyramid_reid.reid.network import osnet
    from pyramid_reid.restoration.network import reconstructor
    from pyramid_reid.restoration.network.reconstructor import Architecture

    folder.mkdir(parents=True)
    architecture = Architecture(size=None, head_dim=1, scales=(2, 3, 4))
    reconstructor.save(folder / "restorer.safetensors", reconstructor.build(architecture, 0).eval())
    branches = {}
    for number, branch in enumerate(BRANCHES):
        file = f"{branch}.safetensors"
        network = osnet.build("osnet_x0_25", 4, seed=10 * seed + number)
        osnet.save(folder / file, network, "osnet_x0_25", 64, 32)
        branches[branch] = BranchNetwork(
            file=file,
            sha256=sha256(folder / file),
            trained_on="nothing",
            licence="MIT",
            network="osnet_x0_25",
            height=64,
            width=32,
        )
    fitted = Calibration(slope=10, intercept=-3, identities=5, same_pairs=20, different_pairs=100)
    description.write(
        folder,
        Description(
            format=1,
            name=f"test{seed}",
            restorer=Restorer(
                file="restorer.safetensors",
                sha256=sha256(folder / "restorer.safetensors"),
                trained_on="nothing",
                licence="MIT",
                extractor="bicubic",
                scales=(2, 3, 4),
            ),
            branches=branches,
            weights=dict.fromkeys(BRANCHES, 0.25),
            calibration=fitted if calibration else None,
            why_no_calibration=None if calibration else "no validation identities",
            trained={},
        ),
    )
    return folder


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "model")


@pytest.fixture(scope="session")
def other_model_folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("models") / "other", seed=1, calibration=False)


@pytest.fixture(scope="session")
def model(model_folder):
    import pyramid_reid

    return pyramid_reid.load(model_folder)


def paint(path: Path, person: int, shot: int = 0, size=(24, 12)):
    """A crop: two colours per person, and some noise per shot."""
    rng = np.random.default_rng(person)
    top, bottom = rng.integers(40, 215, (2, 3))
    height, width = size
    pixels = np.empty((height, width, 3))
    pixels[: height // 2], pixels[height // 2 :] = top, bottom
    pixels += np.random.default_rng([person, shot]).normal(0, 6, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return path


@pytest.fixture(scope="session")
def gallery(tmp_path_factory):
    """Twelve crops of four people from two cameras, `c1_0003_7.png`: camera, person, shot."""
    folder = tmp_path_factory.mktemp("gallery")
    for person in range(4):
        for shot in range(3):
            paint(folder / f"c{shot % 2 + 1}_{person:04d}_{shot}.png", person, shot)
    return folder


class FakeModel:
    """Features without networks: products of a crop's colours with fixed random numbers.

    Attributes:
        seen: crops that were embedded.
    """

    dim = 16

    def __init__(self):
        self.seen = 0
        self._maps = np.random.default_rng(0).normal(size=(4, 8 * 4 * 3, self.dim))

    def embed(self, images):
        rows = []
        for pixels in images:
            image = Image.fromarray(pixels).resize((4, 8), Image.Resampling.BILINEAR)
            flat = np.asarray(image, np.float64).ravel() / 255 - 0.5
            features = flat @ self._maps
            rows.append(features / np.linalg.norm(features, axis=1, keepdims=True))
        self.seen += len(rows)
        return np.asarray(rows, np.float32).reshape(-1, 4, self.dim)


@pytest.fixture
def fake_model():
    return FakeModel()


def describe(seed=0, calibration=True):
    """A description whose weights' files nobody asks for."""
    network = {"trained_on": "nothing", "licence": "MIT", "file": "x.safetensors"}
    branch = {**network, "network": "osnet_x0_25", "height": 64, "width": 32}
    fitted = {"slope": 10, "intercept": -3, "identities": 5, "same_pairs": 9, "different_pairs": 9}
    return Description.model_validate(
        {
            "format": 1,
            "name": f"made-up {seed}",
            "restorer": {
                **network,
                "sha256": "0" * 64,
                "extractor": "bicubic",
                "scales": (2, 3, 4),
            },
            "branches": {name: {**branch, "sha256": f"{seed:064x}"} for name in BRANCHES},
            "weights": dict.fromkeys(BRANCHES, 0.25),
            "calibration": fitted if calibration else None,
            "why_no_calibration": None if calibration else "no validation identities",
            "trained": {},
        },
        strict=False,
    )


def features_of(people, shots, seed=0, dim=16, noise=0.6):
    """Features (people x shots, 4, dim): shots of a person are near each other."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(people, 1, 4, dim))
    features = centres + noise * rng.normal(size=(people, shots, 4, dim))
    features /= np.linalg.norm(features, axis=-1, keepdims=True)
    return features.reshape(-1, 4, dim).astype(np.float32)


def table_of(features, **columns):
    """Rows of a store with made-up ids and paths."""
    import pyarrow as pa

    from pyramid_reid.search.store.rows import schema

    count = len(features)
    ids = [
        hashlib.sha256(f"{columns.get('salt', '')}{n}".encode()).hexdigest() for n in range(count)
    ]
    columns.pop("salt", None)
    rows = {
        "id": ids,
        "path": [f"/gallery/{name[:16]}.jpg" for name in ids],
        "box": [None] * count,
        "camera": [f"c{n % 3}" for n in range(count)],
        "time": [f"2024-05-12T10:{n % 60:02d}:00" for n in range(count)],
        "track": [None] * count,
        "stamp": ["1:1"] * count,
        "vector": pa.FixedSizeListArray.from_arrays(
            pa.array(features.astype(np.float16).ravel()), features[0].size
        ),
    }
    fixed = schema(features.shape[2])
    table = pa.table(rows, schema=fixed)
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values))
    return table


@pytest.fixture
def filled(tmp_path):
    """A store of 60 crops of 20 people, their features, and their ids."""
    from pyramid_reid.search.store import Store

    features = features_of(20, 3)
    rows = table_of(features, pid=[str(n // 3) for n in range(60)])
    store = Store.create(tmp_path / "store", describe())
    with store.writing():
        store.add(rows)
    return store, features, rows["id"].to_pylist()
