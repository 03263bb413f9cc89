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
from numpy.typing import NDArray

from pyramid_reid.core import crops
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params
from pyramid_reid.core.progress import progress
from pyramid_reid.core.runtime import start_torch
from pyramid_reid.reid.features import Extractor
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.network.preprocessing import resized_in_parts
from pyramid_reid.retrieval.camera_mean import FEWEST, camera_means, centred
from pyramid_reid.retrieval.distance import Floats, normalize, write_cosine_distances
from pyramid_reid.retrieval.whitening import within_people

BRANCH = sys.argv[1]
CROPS, MODELS = crops_of(BRANCH), Path("data/models/reid") / BRANCH
OUT = Path("data/distances") / BRANCH
LABELS = ["pid", "camid", "ratio", "height", "width", "source"]
ROLES = {"": ("query", "gallery"), "validation": ("val_query", "val_gallery")}
"""Roles of queries and gallery crops, by subfolder of a split."""


def main(params: Params) -> str:
    """Write `distmat.npy`, `features.npz`, `query.csv` and `gallery.csv` per split.

    With `distances.centred` or `distances.whitened`, `features.npz` also holds the mean features
    (`means`) of the training crops of each camera (`cameras`); with the latter the matrix
    `whitening` that whitens features less these means, too.
    """
    device = start_torch(params.device, params.threads)
    stores = {split: crops.CropStore(CROPS / split) for split in crops.splits(CROPS)}
    by_training = params.distances.centred or params.distances.whitened
    if by_training:
        for split, store in stores.items():
            check_training(store, split, whitened=params.distances.whitened)
    said = []
    for split, store in stores.items():
        model, height, width = osnet.load(MODELS / split / "model.safetensors")
        extractor = Extractor(model, device, height, width, mirrored=params.distances.mirrored)
        embed = partial(embedded, store, extractor, (height, width), params.threads, split)
        learnt: dict[str, Any] = {}
        if by_training:
            rows = store.rows("train")
            pids, camids = (store.index[name].to_numpy()[rows] for name in ("pid", "camid"))
            try:
                learnt = of_training(
                    embed("train"), pids, camids, whitened=params.distances.whitened
                )
            except ValueError as error:
                raise UserError(
                    f"train crops of {split}: {error}; crops or features are all alike: look at the"
                    " crops, or set distances.centred and distances.whitened to false"
                ) from error
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
            np.savez(folder / "features.npz", **features, **learnt)
            write_cosine_distances(folder / "distmat.npy", **features)
            said.append(" × ".join(f"{len(of)} {name} crops" for name, of in features.items()))
    return f"{said[0]} in {OUT}, {len(stores)} split(s)"


def of_training(
    features: Annotated[Floats, "N D"],
    pids: Annotated[NDArray[np.int64], "N"],
    camids: Annotated[NDArray[np.int64], "N"],
    *,
    whitened: bool,
) -> dict[str, NDArray[Any]]:
    """What training crops teach about features: `cameras`, `means` and perhaps `whitening`.

    Crops of a camera with fewer than `FEWEST` have no part in whitening: less a mean of so few,
    little is left of them but noise.

    Raises:
        ValueError: a crop is the mean of its camera, or there is nothing to whiten.
    """
    means = camera_means(features, camids)
    learnt = {"cameras": np.array([*means]), "means": np.stack([*means.values()])}
    if whitened:
        many = np.isin(camids, frequent(camids))
        learnt["whitening"] = within_people(
            centred(features[many], camids[many], means), pids[many]
        )
    return learnt


def frequent(camids: Annotated[NDArray[np.int64], "N"]) -> list[int]:
    """Cameras with crops enough for a mean."""
    return [camid for camid, count in Counter(camids.tolist()).items() if count >= FEWEST]


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


def check_training(store: crops.CropStore, split: str, *, whitened: bool) -> None:
    """Check that each camera of the crops that are ranked has training crops enough for a mean.

    Raises:
        UserError: one has too few; or features are to be whitened, and no person has two crops.
    """
    rows = store.rows("train")
    camids, pids = (store.index[name].to_numpy() for name in ("camid", "pid"))
    trained = Counter(camids[rows].tolist())
    for role in (role for roles in ROLES.values() for role in roles):
        for camid in np.unique(camids[store.rows(role)]).tolist():
            if trained[camid] < FEWEST:
                raise UserError(
                    f"{role} crops of {split}: camera {camid} has {trained[camid]} training crops,"
                    f" and a mean takes {FEWEST} at least; set distances.centred and"
                    " distances.whitened to false"
                )
    of_frequent = pids[rows][np.isin(camids[rows], frequent(camids[rows]))]
    if whitened and len(np.unique(of_frequent)) == len(of_frequent):
        raise UserError(
            f"train crops of {split}: whitening takes two crops of one person, and there are none;"
            " set distances.whitened to false"
        )


if __name__ == "__main__":
    run(main)
