"""Restore every crop at its own size, at each scale."""

import _stage.threads  # noqa: F401
from _stage import crops_of, run

# isort: split

import shutil
from pathlib import Path

import torch

from pyramid_reid.core import crops, figures
from pyramid_reid.core.params import BRANCHES, Params
from pyramid_reid.core.runtime import is_main, start_torch
from pyramid_reid.restoration.generation import generate
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.restoration.network.bicubic import bicubic
from pyramid_reid.training.checkpoints import digest
from pyramid_reid.training.distributed import join

MODELS, SHEET = Path("data/models/reconstructor"), Path("plots/pyramid.png")
STATES = Path("data/checkpoints/pyramid")
PEOPLE_SHOWN = 3


def restore_split(split: str, out: Path, params: Params, device: torch.device) -> None:
    """Write the crop stores of one split to `out`, as far as they are not there and whole."""
    model = reconstructor.load(MODELS / split / "model.safetensors").to(device)
    store = crops.CropStore(crops_of("ori") / split)
    folders = [out / branch for branch in BRANCHES[1:]]
    generate(model, store, folders, params.generation.batch_pixels, params.threads, split)


def contact_sheet(split: str, scales: tuple[int, ...]) -> None:
    """Picture some queries, their restorations, and a gallery crop of the same person."""
    stores = {branch: crops.CropStore(crops_of(branch) / split) for branch in BRANCHES}
    index, largest = stores["ori"].index, max(scales)
    first = {role: rows.groupby("pid").head(1) for role, rows in index.groupby("role")}
    queries = first["query"].index[:: max(1, len(first["query"]) // PEOPLE_SHOWN)][:PEOPLE_SHOWN]
    rows = []
    for query in queries:
        same = first["gallery"].index[first["gallery"].pid == index.pid[query]][0]
        images = [store[query] for store in stores.values()]
        rows.append([images[0], bicubic(images[0], largest), *images[1:], stores["ori"][same]])
    restored = [f"{branch} (×{scale})" for branch, scale in zip(BRANCHES[1:], scales, strict=True)]
    figures.contact_sheet(SHEET, ["query", f"bicubic ×{largest}", *restored, "gallery"], rows)


def main(params: Params) -> str:
    """Write a crop store per branch and split, and the contact sheet."""
    device = join(start_torch(params.device, params.threads))
    settings = params.model_dump(include={"device", "generation"})
    finished = {}
    for split in crops.splits(crops_of("ori")):
        key = digest(settings, crops_of("ori") / split, MODELS / split, rooms=["restoration"])
        finished[split] = STATES / split / key
        restore_split(split, finished[split], params, device)
    if not is_main():
        return ""
    for split, folder in finished.items():
        for branch in BRANCHES[1:]:
            crops_of(branch).mkdir(parents=True, exist_ok=True)
            (folder / branch).rename(crops_of(branch) / split)
    shutil.rmtree(STATES)
    first = next(iter(finished))
    scales = reconstructor.load(MODELS / first / "model.safetensors").architecture.scales
    contact_sheet(first, scales)
    count = len(crops.CropStore(crops_of("ori") / first))
    times = ", ".join(f"×{scale}" for scale in scales)
    return f"{count} crops at {times} in data/pyramid, {len(finished)} split(s)"


if __name__ == "__main__":
    run(main)
