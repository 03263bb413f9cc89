"""Crops per second of `index`, beside the sum of its parts and beside other programs.

Prints one figure per line, `NAME VALUE UNIT`:

    python -m benchmarks.search.indexing                # 5,000 crops, a quarter of an hour
    python -m benchmarks.search.indexing --crops 600

Crops are made-up JPEG files of the sizes of people in a street; networks are OSNet-x0.25 with
random weights, restoration is bicubic. All ways take turns on as many crops, in rounds, and what
is printed is the median of the rounds' ratios, of time on the clock and of CPU time, which other
programs on the machine disturb less:

- parts: restoring, and four forward passes of inputs that are ready, alone. Neither files are read
  nor images resized nor rows written.
- torchreid: its `FeatureExtractor`, four times per crop, crop by crop, from paths.
- reid: Roboflow's `extract_embeddings_from_paths`, four times, with the same weights. Where it is
  not installed the row is left out. Lay it and what it needs beside the project's packages:

    uv pip install --target rivals --no-deps --prerelease allow reid==0.1.0rc1 av==18.1.0
    uv pip install --target rivals --no-deps defusedxml==0.7.1 opencv-python-headless==5.0.0.93
    uv pip install --target rivals --no-deps pydeprecate==0.14.0 supervision==0.31.2
    PYTHONPATH=rivals python -m benchmarks.search.indexing

Neither of the other two restores anything.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import numpy as np  # noqa: E402
import torch  # noqa: E402
from benchmarks.peak_memory import peak_memory  # noqa: E402
from benchmarks.search.made_up import write_crops, write_model  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402

import pyramid_reid  # noqa: E402
from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.params import BRANCHES  # noqa: E402
from pyramid_reid.core.resize import resize  # noqa: E402
from pyramid_reid.restoration.inference import restore  # noqa: E402
from pyramid_reid.search.gallery import Patterns  # noqa: E402
from pyramid_reid.search.images import as_pixels  # noqa: E402
from pyramid_reid.search.indexing import here, index  # noqa: E402
from pyramid_reid.search.model import FEW, Model  # noqa: E402
from pyramid_reid.search.store import Store  # noqa: E402

Seconds = NDArray[np.float64]
"""On the clock, and of all cores together."""


BATCH = 100
"""Crops that each part is given at a time."""


def timed(work: Callable[[], object]) -> Seconds:
    """What it takes."""
    start = _now()
    work()
    return _now() - start


def _now() -> Seconds:
    return np.array([time.perf_counter(), time.process_time()])


def parts(model: Model, paths: list[Path]) -> Seconds:
    """Seconds of restoration and forward passes alone."""
    restorer, networks = model._restorer, model._networks  # noqa: SLF001
    seconds = np.zeros(2)
    for start in range(0, len(paths), BATCH):
        crops = [as_pixels(path) for path in paths[start : start + BATCH]]
        seconds += timed(lambda crops=crops: restore(restorer, crops))  # as many at once as cores
        for branch in BRANCHES:
            _, height, width = networks[branch]
            extractor = model._extractors[branch]  # noqa: SLF001
            inputs = np.stack([resize(c, height, width, Image.Resampling.BILINEAR) for c in crops])
            seconds += timed(lambda e=extractor, i=inputs: e(i))
    return seconds


def write_weights(folder: Path) -> Path:
    """The network of `ori` as a checkpoint that other programs load."""
    from pyramid_reid.reid.network import osnet

    weights = folder / "ori.pth"
    torch.save(osnet.load(folder / "ori.safetensors")[0].state_dict(), weights)
    return weights


def torchreid_way(weights: Path, paths: list[Path]) -> Callable[[], object]:
    """As its users call torchreid."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchreid.reid.utils import FeatureExtractor

        extractor = FeatureExtractor("osnet_x0_25", str(weights), device="cpu", verbose=False)
    return lambda: [extractor(str(path)) for path in paths for _ in BRANCHES]


def reid_way(weights: Path, paths: list[Path]) -> Callable[[], object] | None:
    """As its users call reid; None where it is not installed."""
    try:
        from reid import ReIDModel
    except ImportError:
        return None
    model = ReIDModel.from_pretrained(str(weights), architecture="osnet_x0_25", device="cpu")
    names = [str(path) for path in paths]
    return lambda: [model.extract_embeddings_from_paths(names) for _ in BRANCHES]


def main() -> None:
    """Measure and print."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    crops = given.crops
    print(f"# {platform.machine()}, {os.cpu_count()} cores, {crops:,} made-up crops")
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_model(Path(temporary) / "model")
        paths = write_crops(Path(temporary) / "gallery", crops)
        model = pyramid_reid.load(folder)
        model.embed(paths[:1]), model.embed(paths[: FEW + 1])  # loads and compiles everything once

        def run(number: int) -> None:
            store = Store.create(Path(temporary) / f"store{number}", model.description)
            index(store, here(lambda: model), [paths[0].parent], Patterns())

        weights = write_weights(folder)
        others = {"torchreid": torchreid_way(weights, paths), "reid": reid_way(weights, paths)}
        seconds: dict[str, list[Seconds]] = {}
        for number in range(given.rounds):
            seconds.setdefault("index", []).append(timed(lambda n=number: run(n)))
            seconds.setdefault("parts", []).append(parts(model, paths))
            for name, other in others.items():
                if other is not None:
                    seconds.setdefault(name, []).append(timed(other))
    for name, taken in seconds.items():
        print(f"{name}.speed {crops / np.median(taken, axis=0)[0]:.1f} crops/s")
    own = np.array(seconds.pop("index"))
    for name, taken in seconds.items():
        wall, cpu = np.median(np.array(taken) / own, axis=0)
        print(f"index.speed_vs_{name} {wall:.2f} x")
        print(f"index.cpu_time_vs_{name} {1 / cpu:.2f} x")
    if others["reid"] is None:
        print("# reid is not installed: not compared")
    print(f"all.peak_memory {peak_memory():.2f} GiB")


if __name__ == "__main__":
    main()
