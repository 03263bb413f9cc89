"""Train the OSNet of one branch (argument: ori, h1, h2 or h3)."""

import _stage.threads  # noqa: F401
from _stage import crops_of, run

# isort: split

import sys
from pathlib import Path

from pyramid_reid.core import crops
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params, Reid
from pyramid_reid.core.runtime import derive_seed, is_main, start_torch
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.training import pretrained, starts
from pyramid_reid.reid.training.batches import training_images
from pyramid_reid.reid.training.loop import COLUMNS, train
from pyramid_reid.training import weights_file
from pyramid_reid.training.checkpoints import Checkpoints, digest
from pyramid_reid.training.distributed import join, main_first
from pyramid_reid.training.live import LiveCurves, MeanCurve
from pyramid_reid.training.weights_file import Checkpoint

BRANCH = sys.argv[1]
CROPS, OUT = crops_of(BRANCH), Path("data/models/reid") / BRANCH
LIVE = Path("data/live/reid") / BRANCH
UNFINISHED, FETCHED = Path("data/checkpoints/reid") / BRANCH, Path("data/pretrained")


def main(params: Params) -> str:
    """Write a network per split, and the training curve (mean over splits)."""
    device = join(start_torch(params.device, params.threads))
    reid = params.reid.of_branch(BRANCH)
    height, width = reid.input_size(BRANCH)
    start, (named, hashed) = None, reid.start(BRANCH)
    if named is not None:
        with main_first():
            start = pretrained.find(named, reid.model, hashed, FETCHED)
    if start and not reid.epochs:
        return take_over(start, reid, params.data.name)
    settings = params.model_dump(include={"seed", "threads", "device"}) | reid.model_dump()
    curve = MeanCurve(OUT / "curve.csv", COLUMNS)
    for split in crops.splits(CROPS):
        store = crops.CropStore(CROPS / split)
        rows = store.rows("train")
        if not rows:
            raise UserError(
                f"no image of {split} has the role train: check the roles, or judge networks that"
                " are there (reid.epochs: 0 and reid.pretrained)"
            )
        first = weights_file.of_split(start, split, "reid", BRANCH) if start else None
        inputs = [CROPS / split, *([first] if first else [])]
        key = digest(settings, *inputs, rooms=["reid"])
        weights = weights_file.read(first) if first else None
        recorded = checked(first, weights, reid, params.data.name) if first and weights else None
        pids = store.index.pid.to_numpy()[rows]
        seed = derive_seed(params.seed, "reid", BRANCH, split)
        log = curve.of_split(LiveCurves(LIVE / split))
        scratch = UNFINISHED.with_name("pixels") / BRANCH / f"{split}.npy"
        with training_images(store, rows, height, width, reid.memory, scratch) as images:
            checkpoints = Checkpoints(UNFINISHED / split, key)
            model, _ = train(images, pids, reid, seed, device, checkpoints, weights, log)
        if is_main():
            osnet.save(
                OUT / split / "model.safetensors", model, reid.model, height, width, recorded
            )
    last = curve.write().iloc[-1]
    return (
        f"{len(crops.splits(CROPS))} network(s) in {OUT}; after {reid.epochs} epochs of"
        f" {len(rows)} crops loss {last.loss:.3f}, accuracy {last.accuracy:.1f} %"
    )


def checked(path: Path, weights: Checkpoint, reid: Reid, data_name: str) -> dict[str, str]:
    """What trained the weights that a network starts from, or is; refused if test people did."""
    told = starts.record(str(reid.pretrained), path)
    origin = starts.origin(str(reid.pretrained), told["sha256"])
    starts.check(origin, weights.weights, data_name)
    return told


def take_over(start: Path, reid: Reid, data_name: str) -> str:
    """Write networks that are there already, a copy per split, and an empty curve."""
    if not is_main():
        return ""
    names = crops.splits(CROPS)
    for split in names:
        path = weights_file.of_split(start, split, "reid", BRANCH)
        told = checked(path, weights_file.read(path), reid, data_name)
        model, name, height, width = pretrained.finished(start, BRANCH, split, reid)
        file = OUT / split / "model.safetensors"
        osnet.save(file, model, name, height, width, told, trained=False)
    MeanCurve(OUT / "curve.csv", COLUMNS).write()
    return f"{len(names)} network(s) from {start} in {OUT}, not trained: {name}, {height}×{width}"


if __name__ == "__main__":
    run(main)
