"""Endless bad inputs of what the stages have written: checkpoints, models, stores, distances."""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from benchmarks.fuzz.attempt import Attempt
from benchmarks.fuzz.mutations import hostile, mutate

from pyramid_reid.core import params, raw_set
from pyramid_reid.core.crops import ROLES, Crop, CropStore, CropWriter
from pyramid_reid.core.errors import UserError
from pyramid_reid.evaluation.rankings import Judging, evaluate_splits, reranked_name
from pyramid_reid.evaluation.split_features import MOVED
from pyramid_reid.reid.network import osnet
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.retrieval.distance import normalize, write_cosine_distances
from pyramid_reid.retrieval.rerank import Rerank
from pyramid_reid.training.checkpoints import Checkpoints


def checkpoint(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """A training's state: damaged, it is as if there were none; its pickles do nothing."""
    for number in count():
        checkpoints, canary = Checkpoints(folder, "key"), folder.parent / f"canary-{number}"
        state = {"iteration": number, "model": {"weight": torch.zeros(3)}, "curve": [(1, 0.5)]}
        checkpoints.save(state)
        good = checkpoints.path.read_bytes()
        if rng.random() < 0.3:
            body = hostile(canary, rng)
            checkpoints.path.write_bytes(hashlib.sha256(body).digest() + body)
        else:
            checkpoints.path.write_bytes(mutate(good, rng))
        whole = checkpoints.path.read_bytes() == good
        yield Attempt(
            lambda checkpoints=checkpoints: goes_on_from(checkpoints),
            ("state.pt",),
            lambda state, whole=whole, number=number: whole and state["iteration"] == number,
            canary=canary,
        )


def goes_on_from(checkpoints: Checkpoints) -> object:
    """The state, or what is said of it as an error: the training would start over."""
    with redirect_stderr(io.StringIO()) as said:
        state = checkpoints.load()
    if state is None:
        raise UserError(said.getvalue().strip())
    return state


def model_file(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """The models of the pipeline, damaged most in what rebuilds the network."""
    path = folder / "model.safetensors"
    size = params.SwinSize(depths=(1,), dim=8, num_heads=2)
    architecture = reconstructor.Architecture(size=size, head_dim=4, scales=(2, 3, 4))
    reconstructor.save(path, reconstructor.build(architecture, 0))
    restoring = path.read_bytes()
    osnet.save(path, osnet.build("osnet_x0_25", 3, 0), "osnet_x0_25", 32, 16)
    recognising = path.read_bytes()
    while True:
        read, good = rng.choice(((reconstructor.load, restoring), (osnet.load, recognising)))
        head = rng.choice((200, 200, len(good)))
        path.write_bytes(mutate(good[:head], rng) + good[head:])
        yield Attempt(lambda read=read: read(path), ("model.safetensors",))


def crop_store(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """A crop store one of whose files is damaged."""
    with CropWriter(folder) as writer:
        for number, role in enumerate(sorted(ROLES)):
            pixels = np.full((number + 2, 3, 3), number, np.uint8)
            writer.add(Crop(number, 1, role, 1, f"ä {number}, NA.png"), pixels)

    def crops() -> list[tuple[int, ...]]:
        store = CropStore(folder)
        return [store[row].shape for role in ROLES for row in store.rows(role)]

    yield from one_damaged(
        folder,
        ["index.csv", "pixels.npy"],
        rng,
        crops,
        lambda shapes: all(shape[2] == 3 and min(shape) > 0 for shape in shapes),
    )


def tables(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """What `download` leaves, damaged."""
    rows = [(f"{n}.png", n, 1, "", 9, "0" * 64) for n in range(4)]
    listed = pd.DataFrame(rows, columns=raw_set.COLUMNS)
    listed.to_csv(folder / raw_set.IMAGES, index=False)
    sets = pd.DataFrame({"split": [0, 0, 1], "pid": [1, 2, 3]})
    sets.to_csv(folder / raw_set.TEST_SETS, index=False)
    yield from one_damaged(
        folder,
        [raw_set.IMAGES, raw_set.TEST_SETS],
        rng,
        lambda: (raw_set.read_images(folder), raw_set.read_test_sets(folder)),
        lambda read: bool((read[0].pid >= 0).all()),
    )


def distances(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """The distances of four branches, a file of one of them damaged, judged and re-ranked."""
    numbers = np.random.default_rng(0)
    for branch in params.BRANCHES:
        split = folder / branch / "split_0"
        split.mkdir(parents=True)
        features = {
            name: normalize(numbers.random((4, 6), np.float32)) for name in ("query", "gallery")
        }
        moves = {"cameras": np.arange(2), "means": numbers.random((2, 6)), "whitening": np.eye(6)}
        np.savez(split / "features.npz", **features, **moves)
        write_cosine_distances(split / "distmat.npy", **features)
        for camid, name in enumerate(features):
            people = {"pid": range(4), "camid": camid, "ratio": 1, "height": 9, "width": 4}
            table = pd.DataFrame(people | {"source": [f"{camid}_{n}.png" for n in range(4)]})
            table.to_csv(split / f"{name}.csv", index=False)
    folders = {branch: folder / branch for branch in params.BRANCHES}
    weights_ = dict.fromkeys(params.BRANCHES, 0.25)
    files = ["distmat.npy", "features.npz", "query.csv", "gallery.csv"]
    asked = ("fused", *MOVED)
    rankings = {*params.BRANCHES, *asked, *map(reranked_name, asked)}
    yield from one_damaged(
        folder,
        [f"h2/split_0/{name}" for name in files],
        rng,
        lambda: evaluate_splits(
            *(folders, weights_, Judging(), Rerank(3, 2, 0.3)), centred=True, whitened=True
        ),
        lambda done: set(done[0].results) == rankings,
        named="split_0",
    )


def one_damaged(
    folder: Path,
    names: list[str],
    rng: random.Random,
    call: Callable[[], object],
    holds: Callable[[object], bool],
    named: str = "",
) -> Iterator[Attempt]:
    """Damage one of some good files at a time."""
    good = {name: (folder / name).read_bytes() for name in names}
    while True:
        name = rng.choice(names)
        (folder / name).write_bytes(mutate(good[name], rng))
        yield Attempt(call, (named or str(folder),), holds)
        (folder / name).write_bytes(good[name])
