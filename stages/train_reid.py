"""Train the OSNet of one branch (argument: ori, h1, h2 or h3)."""

import _threads  # noqa: F401
from _stage import crops_of, run

# isort: split

import sys
from pathlib import Path

import pandas as pd

from pyramid_reid import crops, figures
from pyramid_reid.checkpoints import Checkpoints, digest
from pyramid_reid.params import Params
from pyramid_reid.reid import osnet
from pyramid_reid.reid.images import resized
from pyramid_reid.reid.training import train
from pyramid_reid.runtime import derive_seed, start_torch

BRANCH = sys.argv[1]
CROPS, OUT = crops_of(BRANCH), Path("data/models/reid") / BRANCH
PLOTS = Path("plots/train_reid") / BRANCH


def main(params: Params) -> str:
    """Write a network per split, and the training curve (mean over splits)."""
    reid, device = params.reid, start_torch(params.device, params.threads)
    settings = params.model_dump(include={"seed", "threads", "device", "reid"})
    checkpoints, curves = [], []
    for split in crops.splits(CROPS):
        key = digest(settings, CROPS / split)
        checkpoints.append(Checkpoints(Path("data/checkpoints/reid") / BRANCH / split, key))
        store = crops.CropStore(CROPS / split)
        rows = store.rows("train")
        pids = store.index.pid.to_numpy()[rows]
        images = resized(store, rows, reid.height, reid.width)
        seed = derive_seed(params.seed, "reid", BRANCH, split)
        model, curve = train(images, pids, reid, seed, device, checkpoints[-1])
        osnet.save(OUT / split / "model.safetensors", model, reid.model, reid.height, reid.width)
        curves.append(curve)
    mean = pd.concat(curves).groupby("epoch", as_index=False).mean()
    PLOTS.mkdir(parents=True, exist_ok=True)
    mean.to_csv(PLOTS / "curve.csv", index=False, lineterminator="\n", float_format="%.6f")
    title = f"{reid.model} of branch {BRANCH}"
    figures.training(PLOTS / "loss.png", mean, "epoch", title, figures.COLORS[BRANCH])
    for finished in checkpoints:
        finished.remove()
    last = mean.iloc[-1]
    return (
        f"{len(curves)} network(s) in {OUT}; after {reid.epochs} epochs of {len(rows)} crops"
        f" loss {last.loss:.3f}, accuracy {last.accuracy:.1f} %"
    )


if __name__ == "__main__":
    run(main)
