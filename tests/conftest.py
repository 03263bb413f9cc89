"""What tests share: a small params tree, small crops, and the environment torch is pinned to."""

import contextlib
import os
import resource
import runpy
import signal
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from pyramid_reid.core.runtime import pin_environment, start_torch

# before NumPy and torch are loaded, as in stages; one thread, as two processes run tests at once
pin_environment(1)

import numpy as np  # noqa: E402
import yaml  # noqa: E402
from hypothesis import settings  # noqa: E402

from pyramid_reid.core import params as params_module  # noqa: E402
from pyramid_reid.core.crops import Crop, CropStore, CropWriter  # noqa: E402

os.environ["PYTHONIOENCODING"] = "utf-8"  # of programs that tests start, and read as that
# which inherit that it is ignored, as it is of what a shell runs in the background
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("shared machine", deadline=None)  # its load is no fault of the code
settings.load_profile("shared machine")

ROOT = Path(__file__).resolve().parent.parent
HANGS_S = 900
"""What has not ended by then hangs, however busy the machine is."""
# last, as a module of the same name elsewhere is meant
sys.path.append(str(ROOT))

LONG = [
    f"test_{name}.py"
    for name in ("pipeline", "making", "pack", "distributed", "faults", "run_cache", "reruns")
]
"""Files that take longest: begun first, so that two processes end at about the same time."""


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


@pytest.fixture(autouse=True, scope="session")
def _deterministic():
    start_torch("cpu", 1)


@pytest.fixture
def two_threads(_deterministic):
    """Torch computes with two threads during a test."""
    import torch

    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


@pytest.fixture
def raw_params():
    """params.yaml as committed, as a plain dict."""
    return yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


@pytest.fixture
def params(raw_params):
    """The committed params with sections small enough to train in a second."""
    raw_params["restoration"] |= {
        "swinir_light": {"depths": [1], "dim": 8, "num_heads": 2},
        "han_light": {"groups": 1, "blocks": 1, "dim": 16},
        "head_dim": 4,
        "iterations": 6,
        "batch_size": 2,
        "patch_height": 4,
        "patch_width": 3,
        "checkpoint_every": 2,
    }
    raw_params["reid"] |= {
        "height": 32,
        "width": 16,
        "epochs": 4,
        "warmup_epochs": 1,
        "batch_size": 8,
        "checkpoint_every": 1,
    }
    return params_module.Params.model_validate(raw_params)


@pytest.fixture
def store(tmp_path):
    """Six crops of different sizes and roles."""
    rng = np.random.default_rng(0)
    rows = [
        (Crop(1, 1, "train", 1, "a.png"), (20, 9)),
        (Crop(1, 2, "train", 2, "b.png"), (7, 5)),
        (Crop(2, 1, "train", 1, "c.png"), (24, 12)),
        (Crop(3, 2, "query", 3, "d.png"), (6, 3)),
        (Crop(3, 1, "gallery", 1, "e.png"), (21, 8)),
        (Crop(4, 1, "gallery", 1, "f, with comma.png"), (1, 1)),
    ]
    with CropWriter(tmp_path / "store") as writer:
        for crop, size in rows:
            writer.add(crop, rng.integers(0, 256, (*size, 3), dtype=np.uint8))
    return CropStore(tmp_path / "store")


@pytest.fixture
def real_data():
    """Folder with the real data sets, where this machine has them."""
    folder = os.environ.get("PYRAMID_REID_DATA")
    if not folder:
        pytest.skip("PYRAMID_REID_DATA does not name a folder with real data sets")
    return Path(folder)


@contextlib.contextmanager
def room(size):
    """Files may have so many bytes; what is beyond does not fit, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def run_stage(project, name, *arguments):
    """What the `main` of a stage returns in the folder of a project, in this process.

    A process of its own would spend seconds on loading torch, which this one has loaded; but this
    one, which runs other code, too, does not go on from a checkpoint of that one.
    """
    import torch

    threads = torch.get_num_threads()
    with contextlib.chdir(project), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [f"stages/{name}.py", *arguments])
        stage = runpy.run_path(str(ROOT / "stages" / f"{name}.py"))
        try:
            return stage["main"](params_module.load(Path("params.yaml")))
        finally:
            torch.set_num_threads(threads)


def labels(store, row):
    """The labels of a row of a store's index, as they were written."""
    return Crop(**{field.name: store.index[field.name].iat[row] for field in fields(Crop)})
