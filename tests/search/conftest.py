"""A model folder with small networks, and made-up crops of people."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search import description
from pyramid_reid.search.description import (
    BranchNetwork,
    Calibration,
    Description,
    Restorer,
)


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
