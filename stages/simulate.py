"""Split identities, give query and gallery roles, simulate low resolution, pack the crops."""

from _stage import image_folder, run

# isort: split

import json
from pathlib import Path

import pandas as pd

from pyramid_reid import crops, dataset_card
from pyramid_reid.datasets import DATASETS
from pyramid_reid.datasets.raw import load_pixels
from pyramid_reid.degrade import downsample
from pyramid_reid.params import Params
from pyramid_reid.progress import progress
from pyramid_reid.protocol import assign

RAW, OUT, CARD = Path("data/raw"), Path("data/crops"), Path("metrics/dataset.json")


def main(params: Params) -> str:
    """Write a crop store per split, and the data card."""
    dataset = DATASETS[params.data.name]
    root = image_folder(params.data.root)
    images = pd.read_csv(RAW / "images.csv", dtype={"path": str})
    ratios = () if dataset.natural else params.simulate.ratios
    cameras = dataset.query_camid, dataset.gallery_camid
    cards = []
    for split in range(params.data.splits):
        assigned = assign(images, *cameras, ratios, params.seed, split)
        with crops.CropWriter(OUT / f"split_{split}") as store:
            for crop, sha256 in progress(assigned, f"split {split}", "crops"):
                store.add(crop, downsample(load_pixels(root, crop.source, sha256), crop.ratio))
        cards.append(dataset_card.describe(crops.CropStore(OUT / f"split_{split}")))
    CARD.parent.mkdir(exist_ok=True)
    CARD.write_text(json.dumps(dataset_card.mean(cards), indent=2, sort_keys=True) + "\n")
    return f"{params.data.splits} split(s) of {len(assigned)} crops from {root} in {OUT}"


if __name__ == "__main__":
    run(main)
