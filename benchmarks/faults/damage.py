"""Files that are damaged, deleted or have another time after their stage has written them."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.project import Project
from benchmarks.faults.verdicts import Reference, Tried, settle

SPLIT = "split_1"
INPUTS = (
    "data/raw/images.csv",
    f"data/crops/{SPLIT}/pixels.npy",
    f"data/crops/{SPLIT}/index.csv",
    f"data/models/reconstructor/{SPLIT}/model.safetensors",
    f"data/pyramid/h2/{SPLIT}/pixels.npy",
    f"data/models/reid/h1/{SPLIT}/model.safetensors",
    f"data/distances/h3/{SPLIT}/distmat.npy",
)
"""Files that stages read."""
STATES = {"reconstructor": "train_reconstructor", "reid/h1": "train_reid@h1"}
LATER_S, EARLIER_S = 4_000_000_000, 1
"""Times of a clock that jumps: 2096 and 1970."""


def flip(path: Path, rng: random.Random, *, keep_time: bool = False) -> None:
    """Flip one bit of a file, in place."""
    before, mode = path.stat(), path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        place = rng.randrange(before.st_size)
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ (1 << rng.randrange(8))]))
    path.chmod(mode)
    if keep_time:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def damage(reference: Reference, rng: random.Random, *, quick: bool) -> Iterator[Tried]:
    """Try all of it, each in a copy of the finished pipeline."""
    inputs = INPUTS[:2] if quick else INPUTS
    for number, path in enumerate(inputs):
        project = reference.project.copy(f"flip-{number}")
        flip(project.folder / path, rng)
        yield settle(f"bit flip in a {kind(path)}", project, reference, project.repro())
        shutil.rmtree(project.folder.parent)
    yield from checkpoints(reference, rng)
    yield from truncated(reference)
    yield from cache(reference)
    yield from clock(reference)


def kind(path: str) -> str:
    """What a file is, for the table."""
    kinds = {"crops": "crop store", "pyramid": "crop store", "raw": "list of images"}
    folder = path.split("/")[1]
    return kinds.get(folder, {"models": "model", "distances": "distance file"}.get(folder, folder))


def checkpoints(reference: Reference, rng: random.Random) -> Iterator[Tried]:
    """A training that begins where a damaged checkpoint lies."""
    for folder, stage in STATES.items():
        project = reference.project.copy(f"state-{stage}")
        (path,) = (project.folder / "data/checkpoints" / folder / SPLIT).rglob("state.pt")
        flip(path, rng, keep_time=True)
        done = project.repro("--force", "--single-item", stage)
        yield settle("bit flip in a checkpoint", project, reference, done)


def truncated(reference: Reference) -> Iterator[Tried]:
    """A crop store that is cut short: found by DVC, and by a stage that runs all the same."""
    for arguments in ((), ("--force", "--single-item", "train_reid@ori")):
        project = reference.project.copy(f"truncated-{len(arguments)}")
        path = project.folder / f"data/crops/{SPLIT}/pixels.npy"
        os.truncate(path, path.stat().st_size // 2)
        done = project.repro(*arguments)
        yield settle("truncated crop store", project, reference, done)


def cache(reference: Reference) -> Iterator[Tried]:
    """Files of DVC's cache that are deleted, with and without those in the workspace."""
    read = f"data/distances/h1/{SPLIT}/distmat.npy"
    for name, in_workspace in (("kept", True), ("lost", False)):
        project = reference.project.copy(f"deleted-{name}")
        object_of(project, read).unlink()
        if not in_workspace:
            shutil.rmtree(project.folder / "data/distances/h1")
        yield settle("deleted cache file", project, reference, project.repro())


def object_of(project: Project, path: str) -> Path:
    """The file of the cache that holds the same as a file of the workspace."""
    content = (project.folder / path).read_bytes()
    objects = (project.folder / ".dvc/cache/files").rglob("*")
    return next(each for each in objects if each.is_file() and each.read_bytes() == content)


def clock(reference: Reference) -> Iterator[Tried]:
    """All files get the time of another century; then one stage is run again."""
    for seconds in (LATER_S, EARLIER_S):
        project = reference.project.copy(f"clock-{seconds}")
        for path in project.folder.rglob("*"):
            if path.is_file() and ".git" not in path.parts:
                os.utime(path, (seconds, seconds))
        done = project.repro("--force", "--single-item", "train_reid@h1")
        done = done if done.code else project.repro()
        yield settle("clock that jumps", project, reference, done)
