"""ReID training against torchreid's own ImageSoftmaxEngine: speed, memory, accuracy, resuming.

Both train the same network on the same image files with the same batch size, optimiser, schedule
and augmentations, on the same two threads and instruction sets, an epoch each in turn; the first
epoch of each is not counted. torchreid runs in a process of its own, as its users start it, and
gets the faster of 0 and 2 loader workers. Prints one line per figure: NAME VALUE UNIT.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.side_by_side import OtherProcess, serve

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from benchmarks.peak_memory import peak_memory  # noqa: E402

from pyramid_reid.core.runtime import pin_environment, start_torch  # noqa: E402

THREADS = 2
pin_environment(THREADS)

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torchreid  # noqa: E402
from numpy.typing import NDArray  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402

from pyramid_reid.core import params as params_module  # noqa: E402
from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.crops import Pixels  # noqa: E402
from pyramid_reid.core.resize import resize  # noqa: E402
from pyramid_reid.datasets.registry import DATASETS  # noqa: E402
from pyramid_reid.datasets.synthetic import draw  # noqa: E402
from pyramid_reid.protocol.roles import split_identities  # noqa: E402
from pyramid_reid.reid.features import Extractor  # noqa: E402
from pyramid_reid.reid.network import osnet  # noqa: E402
from pyramid_reid.reid.training.loop import train  # noqa: E402
from pyramid_reid.retrieval.distance import cosine_distances, normalize  # noqa: E402
from pyramid_reid.retrieval.metrics import evaluate, summary  # noqa: E402
from pyramid_reid.training.checkpoints import Checkpoints, digest  # noqa: E402

CPU = torch.device("cpu")
GIB = 2**30
NETWORKS = {
    # network: height, width, crops per epoch, counted epochs
    "osnet_x0_25": (128, 64, 512, 5),
    "osnet_x1_0": (256, 128, 128, 2),
}
PAPER_EPOCH = 500
"""Training crops of a split of CAVIAR4REID: 25 people, 20 images each."""
LR = 2e-3
THEIR_BATCH = 100
"""Crops that torchreid's FeatureExtractor gets at once, as in its documentation's example."""
KILLS = 5

Images = list[tuple[Path, int, int]]
"""Path, pid and camid of each."""


def say(name: str, value: float, unit: str) -> None:
    """Print a figure."""
    print(f"reid_training.{name} {value:.4g} {unit}", flush=True)


def read_set(root: Path | None, folder: Path, people: int) -> Images:
    """The crops of CAVIAR4REID in `root`, or of the synthetic set, drawn into `folder`."""
    if root is None:
        draw.write(folder, 1, people, 8)
    name, where = ("synthetic", folder) if root is None else ("caviar4reid", root)
    return [(where / raw.path, raw.pid, raw.camid) for raw in DATASETS[name].read(where)]


def settings(model: str, height: int, width: int, epochs: int) -> params_module.Reid:
    """The committed params with this network, and with torchreid's schedule: no warm-up."""
    reid = params_module.load(ROOT / "params.yaml").reid
    changes = {"model": model, "height": height, "width": width, "epochs": epochs}
    return reid.model_copy(update=changes | {"warmup_epochs": 0, "lr": LR, "checkpoint_every": 10})


def pixels_of(images: Images, height: int, width: int) -> tuple[Pixels, NDArray[np.int64]]:
    """What `train` takes: all crops resized, and their pids."""
    read = [np.asarray(Image.open(path).convert("RGB")) for path, *_ in images]
    resized = [resize(image, height, width, Image.Resampling.BILINEAR) for image in read]
    return np.stack(resized), np.array([pid for _, pid, _ in images])


class TorchreidTraining:
    """torchreid's engine on a list of images, an epoch at a time."""

    def __init__(self, images: Images, reid: params_module.Reid, seed: int, workers: int) -> None:
        torch.manual_seed(seed)
        random.seed(seed)
        labels = {pid: label for label, pid in enumerate(sorted({pid for _, pid, _ in images}))}
        rows = [(str(path), labels[pid], camid) for path, pid, camid in images]

        class Files(torchreid.reid.data.ImageDataset):  # type: ignore[misc]
            def __init__(self, root: str = "", **kwargs: Any) -> None:  # noqa: ARG002 - its interface
                # its manager wants queries and a gallery, too; they are not used
                test = [(rows[0][0], 0, 0)], [(rows[0][0], 0, 1)]
                super().__init__(rows, *test, **kwargs)

        name = f"files_{id(self)}"
        torchreid.reid.data.register_image_dataset(name, Files)
        height, width = reid.input_size("ori")
        with quiet():
            manager = torchreid.reid.data.ImageDataManager(
                sources=name,
                height=height,
                width=width,
                transforms=["random_flip", "random_crop", "color_jitter", "random_erase"],
                use_gpu=False,
                batch_size_train=reid.batch_size,
                workers=workers,
            )
            self.model: nn.Module = torchreid.reid.models.build_model(
                reid.model, len(labels), loss="softmax", pretrained=False, use_gpu=False
            )
            optimizer = torchreid.reid.optim.build_optimizer(
                self.model, "amsgrad", lr=reid.lr, weight_decay=reid.weight_decay
            )
            scheduler = torchreid.reid.optim.build_lr_scheduler(
                optimizer, "cosine", max_epoch=reid.epochs
            )
            self._engine = torchreid.reid.engine.ImageSoftmaxEngine(
                manager, self.model, optimizer, scheduler, use_gpu=False
            )
        self._engine.max_epoch, self._engine.epoch = reid.epochs, 0
        self._count = len(images) // reid.batch_size * reid.batch_size

    def epoch(self) -> float:
        """Train one epoch; returns its images per second."""
        start = time.perf_counter()
        with quiet():
            self._engine.train(print_freq=10**9)
        self._engine.epoch += 1
        return self._count / (time.perf_counter() - start)


@contextlib.contextmanager
def quiet() -> Any:
    """Keep torchreid from printing."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):  # noqa: PTH123
        yield


def fastest_torchreid(images: Images, reid: params_module.Reid) -> TorchreidTraining:
    """Torchreid's training with the faster of 0 and 2 loader workers."""
    candidates = [TorchreidTraining(images, reid, 1, workers) for workers in (0, 2)]
    # the first epoch of a process is slow: none of the two is judged by it
    candidates[0].epoch()
    return max(candidates, key=TorchreidTraining.epoch)


def speed(
    images: Images, model: str, size: tuple[int, int], epochs: int, theirs: OtherProcess
) -> tuple[float, float]:
    """Median images per second of ours and of torchreid's, alternating epochs."""
    reid = settings(model, *size, epochs + 1)
    ours_speed: list[float] = []
    theirs_speed: list[float] = []

    def log(_: int, figures: Mapping[str, float]) -> None:
        ours_speed.append(figures["images_per_s"])
        theirs_speed.append(theirs())

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), "key")
        train(*pixels_of(images, *size), reid, 1, CPU, checkpoints, log=log)
    return statistics.median(ours_speed[1:]), statistics.median(theirs_speed[1:])


def native(images: Images) -> list[Pixels]:
    """The images as they are."""
    return [np.asarray(Image.open(path).convert("RGB")) for path, *_ in images]


def timed(extract: Callable[[list[Pixels]], object], images: list[Pixels], batch: int) -> float:
    """Images per second of a pass over the images."""
    start = time.perf_counter()
    for first in range(0, len(images), batch):
        extract(images[first : first + batch])
    return len(images) / (time.perf_counter() - start)


def torchreid_features(images: Images, model: str, size: tuple[int, int]) -> Callable[[], float]:
    """A pass of torchreid's FeatureExtractor over the images in memory; it resizes them, too."""
    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "m.pth"
        torch.save(osnet.build(model, 2, 0).state_dict(), path)
        extractor = torchreid.reid.utils.FeatureExtractor(
            model, str(path), image_size=size, device="cpu", verbose=False
        )
    pixels = native(images)
    return lambda: timed(extractor, pixels, THEIR_BATCH)


def features(
    images: Images, model: str, size: tuple[int, int], rounds: int, theirs: OtherProcess
) -> tuple[float, float]:
    """Median images per second of ours and of torchreid's FeatureExtractor, in turn.

    From images in memory at their native size: both resize.
    """
    extractor, pixels = Extractor(osnet.build(model, 2, 0).eval(), CPU, *size), native(images)

    def ours(batch: list[Pixels]) -> None:
        bilinear = Image.Resampling.BILINEAR
        extractor(np.stack([resize(image, *size, bilinear) for image in batch]))

    results = [(timed(ours, pixels, extractor.batch), theirs()) for _ in range(rounds + 1)][1:]
    return statistics.median(a for a, _ in results), statistics.median(b for _, b in results)


def child(*arguments: object) -> subprocess.Popen[bytes]:
    """This program again, with the arguments of `run_child`."""
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks.reid.training", "--child", *map(str, arguments)],
        stderr=subprocess.DEVNULL,
    )


def memory(images: Images, model: str, size: tuple[int, int], engine: str) -> None:
    """Print the peak memory of this process after an epoch, less the crops' bytes."""
    reid = settings(model, *size, 1)
    crops_bytes = 0
    if engine == "torchreid":
        TorchreidTraining(images, reid, 1, workers=0).epoch()
    else:
        pixels, pids = pixels_of(images, *size)
        crops_bytes = pixels.nbytes
        with tempfile.TemporaryDirectory() as folder:
            train(pixels, pids, reid, 1, CPU, Checkpoints(Path(folder), "key"))
    name = "peak_memory_torchreid" if engine == "torchreid" else "peak_memory_beyond_crops"
    say(f"{model}.{name}", peak_memory() - crops_bytes / GIB, "GiB")


def resumable(images: Images, folder: Path) -> None:
    """Train a small network with a checkpoint per epoch, and write it to `folder`."""
    reid = settings("osnet_x0_25", 64, 32, 6).model_copy(update={"checkpoint_every": 1})
    pixels, pids = pixels_of(images, 64, 32)
    model, _ = train(pixels, pids, reid, 1, CPU, Checkpoints(folder / "checkpoints", "key"))
    osnet.save(folder / "model.safetensors", model, reid.model, 64, 32)


def kill(folder: Path, seed: int) -> None:
    """Kill a training `KILLS` times at random moments; is its result that of an undisturbed one?"""
    start = time.monotonic()
    if child("resumable", folder / "whole").wait():
        sys.exit("the undisturbed training failed")
    whole = time.monotonic() - start
    moments = random.Random(seed)  # noqa: S311
    killed = 0
    while True:
        process = child("resumable", folder / "killed")
        with contextlib.suppress(subprocess.TimeoutExpired):
            # the last one may run to its end
            process.wait(moments.uniform(0, whole) if killed < KILLS else None)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    hashes = {
        hashlib.sha256((folder / name / "model.safetensors").read_bytes()).hexdigest()
        for name in ("whole", "killed")
    }
    say("kill.times", killed, "kills")
    say("kill.same_hash", len(hashes) == 1, "bool")


def accuracy(images: Images, engine: str, seed: int, epochs: int) -> dict[str, float]:
    """Rank-1 and mAP in percent of one training, the shop front's crops asking the corridor's."""
    both = [pid for pid in {pid for _, pid, _ in images} if len(cameras(images, pid)) == 2]
    training, test = split_identities(both, 1, 0)
    reid = settings("osnet_x0_25", 128, 64, epochs)
    seen = [image for image in images if image[1] in training]
    if engine == "torchreid":
        theirs = TorchreidTraining(seen, reid, seed, workers=2)
        for _ in range(epochs):
            theirs.epoch()
        model = theirs.model.eval()
    else:
        with tempfile.TemporaryDirectory() as folder:
            checkpoints = Checkpoints(Path(folder), "key")
            model, _ = train(*pixels_of(seen, 128, 64), reid, seed, CPU, checkpoints)
    extractor = Extractor(model, CPU, 128, 64)
    unseen = [[image for image in images if image[1] in test and image[2] == c] for c in (2, 1)]
    found = [normalize(extractor(pixels_of(side, 128, 64)[0])) for side in unseen]
    labels = [np.array([image[column] for image in side]) for side in unseen for column in (1, 2)]
    figures = summary(evaluate(cosine_distances(*found), *labels))
    return {name: float(figures[name]) for name in ("rank1", "mAP")}


def cameras(images: Images, person: int) -> set[int]:
    """The cameras that saw a person."""
    return {camid for _, pid, camid in images if pid == person}


def trained_with(images: Images, engine: str, seed: int, epochs: int) -> str:
    """A name of all that a training depends on: another crop, line or version is another one."""
    told = {"engine": engine, "seed": seed, "epochs": epochs, "labels": [row[1:] for row in images]}
    key = digest(told, *(path for path, *_ in images), rooms=["reid"])
    return f"{engine}.seed_{seed}.{key}"


def compare_accuracy(images: Images, seeds: int, epochs: int, results: Path | None) -> None:
    """Train both engines from several seeds; with `results`, trainings in it are not done again."""
    done: dict[str, dict[str, float]] = {}
    if results and results.exists():
        done = json.loads(results.read_text())
    for engine in ("ours", "torchreid"):
        reached = []
        for seed in range(1, seeds + 1):
            key = trained_with(images, engine, seed, epochs)
            if key not in done:
                done[key] = accuracy(images, engine, seed, epochs)
                if results:
                    results.write_text(json.dumps(done, indent=2, sort_keys=True) + "\n")
            reached.append(done[key])
            for name, value in done[key].items():
                say(f"accuracy.{engine}.seed_{seed}.{name}", value, "%")
        for name in ("rank1", "mAP"):
            values = [figures[name] for figures in reached]
            say(f"accuracy.{engine}.{name}.mean", statistics.mean(values), "%")
            if seeds > 1:
                say(f"accuracy.{engine}.{name}.std", statistics.stdev(values), "%")


def run_child(what: str, folder: str, people: str = "12", model: str = "", root: str = "") -> None:
    """What this program does when it calls itself.

    Args:
        folder: of temporary files.
        people: of the synthetic set.
        root: of CAVIAR4REID, instead of the synthetic set.
    """
    images = read_set(Path(root) if root else None, Path(folder) / what, int(people))
    if what == "resumable":
        start_torch("cpu", THREADS)
        resumable(images, Path(folder))
        return
    height, width, count, _ = NETWORKS[model]
    if what.startswith("memory"):
        start_torch("cpu", THREADS)
        memory((images * count)[:count], model, (height, width), what.removeprefix("memory_"))
        return
    torch.set_num_threads(THREADS)
    if what == "train":
        reid = settings(model, height, width, NETWORKS[model][3] + 1)
        serve(fastest_torchreid(images[:count], reid).epoch)
    else:
        serve(torchreid_features(images[:count], model, (height, width)))


def main() -> None:
    """Measure what is asked for; by default speed and memory."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few crops and epochs, small network")
    parser.add_argument(
        "--data-root", type=Path, help="folder of CAVIAR4REID; else synthetic crops"
    )
    parser.add_argument("--network", choices=NETWORKS, help="only this one")
    parser.add_argument("--kill", action="store_true", help="kill and resume instead")
    parser.add_argument("--accuracy", action="store_true", help="compare accuracy instead")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=40, help="of each training of --accuracy")
    parser.add_argument("--results", type=Path, help="JSON that keeps finished ones of --accuracy")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_child(*arguments.child)
        return
    start_torch("cpu", THREADS)
    with tempfile.TemporaryDirectory() as folder:
        if arguments.kill:
            kill(Path(folder), seed=1)
            return
        people = 4 if arguments.quick else 32
        images = read_set(arguments.data_root, Path(folder) / "set", people)
        origin = "CAVIAR4REID" if arguments.data_root else "the synthetic set"
        print(f"# {len(images)} crops of {origin}, {os.cpu_count()} cores", flush=True)
        if arguments.accuracy:
            seeds, epochs = (1, 2) if arguments.quick else (arguments.seeds, arguments.epochs)
            compare_accuracy(images, seeds, epochs, arguments.results)
            return
        for model, (height, width, count, counted) in NETWORKS.items():
            if arguments.network not in {None, model} or (
                arguments.quick and model == "osnet_x1_0"
            ):
                continue
            epochs = 1 if arguments.quick else counted
            size = height, width
            root = [arguments.data_root] if arguments.data_root else []
            with OtherProcess("train", folder, people, model, *root) as process:
                ours, theirs = speed(images[:count], model, size, epochs, process)
            say(f"{model}.images_per_s", ours, "1/s")
            say(f"{model}.images_per_s_torchreid", theirs, "1/s")
            say(f"{model}.speedup_vs_torchreid", ours / theirs, "x")
            say(f"{model}.seconds_per_epoch_of_{PAPER_EPOCH}", PAPER_EPOCH / ours, "s")
            with OtherProcess("features", folder, people, model, *root) as process:
                ours, theirs = features(images[:count], model, size, epochs, process)
            say(f"{model}.features_per_s", ours, "1/s")
            say(f"{model}.features_per_s_torchreid", theirs, "1/s")
            say(f"{model}.features_speedup_vs_torchreid", ours / theirs, "x")
            for engine in ("ours", "torchreid"):
                if child(f"memory_{engine}", folder, 4, model, *root).wait():
                    sys.exit("the training whose memory is measured failed")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
