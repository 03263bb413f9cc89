"""Features and cosine distances of one branch (argument: ori, h1, h2 or h3)."""

import _stage.threads  # noqa: F401
from _stage import crops_of, run

# isort: split

import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from pyramid_reid.core import crops
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params
from pyramid_reid.core.progress import progress
from pyramid_reid.core.runtime import start_torch
from pyramid_reid.reid.features import Extractor
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.network.preprocessing import resized_in_parts
from pyramid_reid.retrieval.camera_mean import FEWEST, camera_means
from pyramid_reid.retrieval.distance import Floats, normalize, write_cosine_distances

BRANCH = sys.argv[1]
CROPS, MODELS = crops_of(BRANCH), Path("data/models/reid") / BRANCH
OUT = Path("data/distances") / BRANCH
LABELS = ["pid", "camid", "ratio", "height", "width", "source"]
ROLES = {"": ("query", "gallery"), "validation": ("val_query", "val_gallery")}
"""Roles of queries and gallery crops, by subfolder of a split."""


def main(params: Params) -> str:
    """Write `distmat.npy`, `features.npz`, `query.csv` and `gallery.csv` per split.

    With `distances.centred`, `features.npz` also holds the mean features (`means`) of the training
    crops of each camera (`cameras`).
    """
    device = start_torch(params.device, params.threads)
    stores = {split: crops.CropStore(CROPS / split) for split in crops.splits(CROPS)}
    if params.distances.centred:
        for split, store in stores.items():
            check_cameras(store, split)
    said = []
    for split, store in stores.items():
        model, height, width = osnet.load(MODELS / split / "model.safetensors")
        extractor = Extractor(model, device, height, width, mirrored=params.distances.mirrored)
        embed = partial(embedded, store, extractor, (height, width), params.threads, split)
        means: dict[str, Any] = {}
        if params.distances.centred:
            camids = store.index.camid.to_numpy()[store.rows("train")]
            of_cameras = camera_means(embed("train"), camids)
            means = {"cameras": np.array([*of_cameras]), "means": np.stack([*of_cameras.values()])}
        for subfolder, roles in ROLES.items():
            if not store.rows(roles[0]):
                continue  # no identities are held out for validation
            folder = OUT / split / subfolder
            folder.mkdir(parents=True, exist_ok=True)
            features: dict[str, Any] = {}
            for name, role in zip(("query", "gallery"), roles, strict=True):
                features[name] = embed(role)
                labels = store.index.loc[store.rows(role), LABELS]
                labels.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")
            np.savez(folder / "features.npz", **features, **means)
            write_cosine_distances(folder / "distmat.npy", **features)
            said.append(" × ".join(f"{len(of)} {name} crops" for name, of in features.items()))
    return f"{said[0]} in {OUT}, {len(stores)} split(s)"


def embedded(
    store: crops.CropStore,
    extractor: Extractor,
    size: tuple[int, int],
    threads: int,
    split: str,
    role: str,
) -> Annotated[Floats, "N D"]:
    """Features of the crops that have a role, of length 1.

    Args:
        size: height and width of the network's input.

    Raises:
        UserError: a feature has no direction.
    """
    rows = store.rows(role)
    at_once = extractor.batch * threads  # as many as it works on at once
    parts = resized_in_parts(store, rows, *size, at_once)
    bar = progress(parts, f"{split}, {role}", "parts", total=-(-len(rows) // at_once))
    try:
        return normalize(np.concatenate([extractor(part) for part in bar]))
    except ValueError as error:
        raise UserError(
            f"{role} crops of {split}: {error}; the network is damaged or diverged,"
            " train it again with a lower reid.lr"
        ) from error


def check_cameras(store: crops.CropStore, split: str) -> None:
    """Check that each camera of the crops that are ranked has training crops enough for a mean.

    Raises:
        UserError: one has too few.
    """
    camids = store.index.camid.to_numpy()
    trained = Counter(camids[store.rows("train")].tolist())
    for role in (role for roles in ROLES.values() for role in roles):
        for camid in np.unique(camids[store.rows(role)]).tolist():
            if trained[camid] < FEWEST:
                raise UserError(
                    f"{role} crops of {split}: camera {camid} has {trained[camid]} training crops,"
                    f" and a mean takes {FEWEST} at least; set distances.centred to false"
                )


if __name__ == "__main__":
    run(main)
