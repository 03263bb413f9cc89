"""Train the OSNet of one branch (argument: ori, h1, h2 or h3)."""

import _stage.threads  # noqa: F401
from _stage import crops_of, run

# isort: split

import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pyramid_reid.core import crops, figures
from pyramid_reid.core.params import Params
from pyramid_reid.core.runtime import derive_seed, is_main, start_torch
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.training import pretrained, starts
from pyramid_reid.reid.training.batches import training_images
from pyramid_reid.reid.training.loop import COLUMNS, train
from pyramid_reid.training import weights_file
from pyramid_reid.training.checkpoints import Checkpoints, digest
from pyramid_reid.training.distributed import join, main_first
from pyramid_reid.training.live import LiveCurves

BRANCH = sys.argv[1]
CROPS, OUT = crops_of(BRANCH), Path("data/models/reid") / BRANCH
PLOTS, LIVE = Path("plots/train_reid") / BRANCH, Path("data/live/reid") / BRANCH
UNFINISHED, FETCHED = Path("data/checkpoints/reid") / BRANCH, Path("data/pretrained")


def main(params: Params) -> str:
    """Write a network per split, and the training curve (mean over splits)."""
    device = join(start_torch(params.device, params.threads))
    reid = params.reid.of_branch(BRANCH)
    height, width = reid.input_size(BRANCH)
    with main_first():
        start = pretrained.find(reid.pretrained, reid.model, reid.pretrained_sha256, FETCHED)
    weights = weights_file.read(start) if start else None
    recorded = None
    if start and weights:
        recorded = starts.record(reid.pretrained, start)
        starts.check(starts.origin(reid.pretrained, recorded["sha256"]), weights, params.data.name)
    settings = params.model_dump(include={"seed", "threads", "device"}) | reid.model_dump()
    points: list[dict[str, float]] = []
    for split in crops.splits(CROPS):
        key = digest(settings, CROPS / split, *[start] if start else [])
        store = crops.CropStore(CROPS / split)
        rows = store.rows("train")
        pids = store.index.pid.to_numpy()[rows]
        seed = derive_seed(params.seed, "reid", BRANCH, split)
        live = LiveCurves(LIVE / split)

        def log(epoch: int, values: Mapping[str, float], live: LiveCurves = live) -> None:
            live.log(epoch, values)
            points.append({"epoch": epoch, **values})
            write_curve(points)

        scratch = UNFINISHED.with_name("pixels") / BRANCH / f"{split}.npy"
        with training_images(store, rows, height, width, reid.memory, scratch) as images:
            checkpoints = Checkpoints(UNFINISHED / split, key)
            model, _ = train(images, pids, reid, seed, device, checkpoints, weights, log)
        if is_main():
            osnet.save(
                OUT / split / "model.safetensors", model, reid.model, height, width, recorded
            )
    mean = write_curve(points)
    if is_main():
        title = f"{reid.model} of branch {BRANCH}"
        figures.training(PLOTS / "loss.png", mean, "epoch", title, figures.COLORS[BRANCH])
    last = mean.iloc[-1]
    return (
        f"{len(crops.splits(CROPS))} network(s) in {OUT}; after {reid.epochs} epochs of"
        f" {len(rows)} crops loss {last.loss:.3f}, accuracy {last.accuracy:.1f} %"
    )


def write_curve(points: list[dict[str, float]]) -> pd.DataFrame:
    """Write and return the curve, mean over the splits so far; `dvc plots show` shows it grow."""
    mean = pd.DataFrame(points)[COLUMNS].groupby("epoch", as_index=False).mean()
    if is_main():
        PLOTS.mkdir(parents=True, exist_ok=True)
        mean.to_csv(PLOTS / "curve.csv", index=False, lineterminator="\n", float_format="%.6f")
    return mean


if __name__ == "__main__":
    run(main)
