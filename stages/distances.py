"""Features and cosine distances of one branch (argument: ori, h1, h2 or h3)."""

import _threads  # noqa: F401
from _stage import crops_of, run

# isort: split

import sys
from pathlib import Path

import numpy as np

from pyramid_reid import crops
from pyramid_reid.errors import UserError
from pyramid_reid.params import Params
from pyramid_reid.reid import osnet
from pyramid_reid.reid.features import extract
from pyramid_reid.reid.images import resized
from pyramid_reid.retrieval.distance import cosine_distances, normalize
from pyramid_reid.runtime import start_torch

BRANCH = sys.argv[1]
CROPS, MODELS = crops_of(BRANCH), Path("data/models/reid") / BRANCH
OUT = Path("data/distances") / BRANCH
LABELS = ["pid", "camid", "ratio", "height", "width", "source"]


def main(params: Params) -> str:
    """Write `distmat.npy`, `features.npz`, `query.csv` and `gallery.csv` per split."""
    device = start_torch(params.device, params.threads)
    for split in crops.splits(CROPS):
        store = crops.CropStore(CROPS / split)
        model, height, width = osnet.load(MODELS / split / "model.safetensors")
        folder = OUT / split
        folder.mkdir(parents=True, exist_ok=True)
        features = {}
        for role in ("query", "gallery"):
            rows = store.rows(role)
            images = resized(store, rows, height, width)
            try:
                features[role] = normalize(extract(model, images, device))
            except ValueError as error:
                raise UserError(
                    f"{role} crops of {split}: {error}; the network is damaged or diverged, train"
                    f" it again with a lower reid.lr"
                ) from error
            labels = store.index.loc[rows, LABELS]
            labels.to_csv(folder / f"{role}.csv", index=False, lineterminator="\n")
        np.savez(folder / "features.npz", query=features["query"], gallery=features["gallery"])
        distmat = cosine_distances(features["query"], features["gallery"])
        np.save(folder / "distmat.npy", distmat)
    return f"{distmat.shape[0]} queries × {distmat.shape[1]} gallery crops in {OUT}"


if __name__ == "__main__":
    run(main)
