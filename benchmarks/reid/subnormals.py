"""What subnormal weights cost: OSNet-x0.25 from MSMT17, with and without them.

Torchreid's weights of MSMT17 and Market-1501 hold hundreds that decayed to subnormal numbers. This
trains from them and gives features, on two threads: with torch as it is, and with subnormal numbers
flushed to 0 as in stages, in turns in two processes, on random images of 256×128 pixels. Prints one
line per figure: NAME VALUE UNIT. PYRAMID_REID_WEIGHTS names the folder of the weights, or they are
downloaded.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.side_by_side import OtherProcess, serve

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core.runtime import pin_environment, start_torch  # noqa: E402

THREADS = 2
pin_environment(THREADS)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from pyramid_reid.core import params, printing  # noqa: E402
from pyramid_reid.core.crops import Pixels  # noqa: E402
from pyramid_reid.reid.features import Extractor  # noqa: E402
from pyramid_reid.reid.network import osnet  # noqa: E402
from pyramid_reid.reid.training import pretrained  # noqa: E402
from pyramid_reid.reid.training.loop import train  # noqa: E402
from pyramid_reid.training import weights_file  # noqa: E402
from pyramid_reid.training.checkpoints import Checkpoints  # noqa: E402
from pyramid_reid.training.weights_file import Checkpoint  # noqa: E402

NETWORK, HEIGHT, WIDTH, PEOPLE = "osnet_x0_25", 256, 128, 8
WAYS = ("plain", "flushed")


def training(images: Pixels, start: Checkpoint) -> float:
    """Images per second of the second of two epochs."""
    changes = {"model": NETWORK, "height": HEIGHT, "width": WIDTH, "epochs": 2, "batch_size": 32}
    committed = params.load(ROOT / "params.yaml").reid
    reid = committed.model_copy(update=changes | {"warmup_epochs": 1})
    speeds = list[float]()
    pids = np.arange(len(images)) % PEOPLE
    with tempfile.TemporaryDirectory() as folder:
        train(
            *(images, pids, reid, 1, torch.device("cpu"), Checkpoints(Path(folder), "key"), start),
            log=lambda _, figures: speeds.append(figures["images_per_s"]),
        )
    return speeds[-1]


def features(images: Pixels, start: Checkpoint) -> Callable[[], float]:
    """Images per second of one pass over the images."""
    network = osnet.build(NETWORK, PEOPLE, seed=1)
    pretrained.apply(network, start)
    extractor = Extractor(network.eval(), torch.device("cpu"), HEIGHT, WIDTH)
    extractor(images)  # the first batch is slow

    def measure() -> float:
        begun = time.perf_counter()
        extractor(images)
        return len(images) / (time.perf_counter() - begun)

    return measure


def run_child(what: str, way: str, crops: int) -> None:
    """Answer by measurements of training or features, with subnormal numbers or without."""
    start_torch("cpu", THREADS)
    torch.set_flush_denormal(way == "flushed")
    shape = crops, HEIGHT, WIDTH, 3
    images = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        start = weights_file.read(pretrained.find("msmt17", NETWORK, None, Path(folder)))
        measure = features(images, start) if what == "features" else None

    def figure() -> float:
        with contextlib.redirect_stdout(sys.stderr):
            return measure() if measure else training(images, start)

    serve(figure)


def main() -> None:
    """Measure both ways in turns."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few images")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        run_child(*told.child[:2], int(told.child[2]))
        return
    print(f"# {os.cpu_count()} cores, {THREADS} threads", flush=True)
    crops, rounds = (64, 1) if told.quick else (256, 5)
    for what in ("training", "features"):
        with contextlib.ExitStack() as stack:
            ways = [stack.enter_context(OtherProcess(what, way, crops)) for way in WAYS]
            measured = [[way() for way in ways] for _ in range(rounds + 1)][1:]
        plain, flushed = map(statistics.median, zip(*measured, strict=True))
        print(f"reid_subnormals.{what}_plain {plain:.4g} 1/s")
        print(f"reid_subnormals.{what}_flushed {flushed:.4g} 1/s")
        print(f"reid_subnormals.{what}_speedup {flushed / plain:.3g} x", flush=True)


if __name__ == "__main__":
    printing.survive()
    main()
