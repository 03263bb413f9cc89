"""Features and cosine distances of one branch (argument: ori, h1, h2 or h3)."""

import _stage.threads  # noqa: F401
from _stage import crops_of, run

# isort: split

import sys
from pathlib import Path

import numpy as np

from pyramid_reid.core import crops
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params
from pyramid_reid.core.progress import progress
from pyramid_reid.core.runtime import start_torch
from pyramid_reid.reid.features import Extractor
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.network.preprocessing import resized_in_parts
from pyramid_reid.retrieval.distance import normalize, write_cosine_distances

BRANCH = sys.argv[1]
CROPS, MODELS = crops_of(BRANCH), Path("data/models/reid") / BRANCH
OUT = Path("data/distances") / BRANCH
LABELS = ["pid", "camid", "ratio", "height", "width", "source"]
ROLES = {"": ("query", "gallery"), "validation": ("val_query", "val_gallery")}
"""Roles of queries and gallery crops, by subfolder of a split."""


def main(params: Params) -> str:
    """Write `distmat.npy`, `features.npz`, `query.csv` and `gallery.csv` per split."""
    device = start_torch(params.device, params.threads)
    said = []
    for split in crops.splits(CROPS):
        store = crops.CropStore(CROPS / split)
        model, height, width = osnet.load(MODELS / split / "model.safetensors")
        extractor = Extractor(model, device, height, width, mirrored=params.distances.mirrored)
        for subfolder, roles in ROLES.items():
            if not store.rows(roles[0]):
                continue  # no identities are held out for validation
            folder = OUT / split / subfolder
            folder.mkdir(parents=True, exist_ok=True)
            features = {}
            for name, role in zip(("query", "gallery"), roles, strict=True):
                rows = store.rows(role)
                size = extractor.batch * params.threads  # as many as it works on at once
                parts = resized_in_parts(store, rows, height, width, size)
                bar = progress(parts, f"{split}, {role}", "parts", total=-(-len(rows) // size))
                try:
                    features[name] = normalize(np.concatenate([extractor(part) for part in bar]))
                except ValueError as error:
                    raise UserError(
                        f"{role} crops of {split}: {error}; the network is damaged or diverged,"
                        " train it again with a lower reid.lr"
                    ) from error
                labels = store.index.loc[rows, LABELS]
                labels.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
            np.savez(folder / "features.npz", query=features["query"], gallery=features["gallery"])
            write_cosine_distances(folder / "distmat.npy", **features)
            said.append(" × ".join(f"{len(of)} {name} crops" for name, of in features.items()))
    return f"{said[0]} in {OUT}, {len(crops.splits(CROPS))} split(s)"


if __name__ == "__main__":
    run(main)
