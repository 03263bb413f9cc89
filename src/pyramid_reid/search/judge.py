"""How well a store ranks the people whose identity is known: the pipeline's own figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.core.progress import progress
from pyramid_reid.retrieval.distance import cosine_distances
from pyramid_reid.retrieval.fusion import fuse
from pyramid_reid.retrieval.metrics import Judge, summary
from pyramid_reid.search import centring
from pyramid_reid.search.distances import proportions
from pyramid_reid.search.store import Store
from pyramid_reid.search.store.vectors import normalized

IDENTITIES = ("pid", "identity")
ROWS = 256
"""Queries whose distances are computed at a time."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Figures of the fused distance and of each branch.

    Attributes:
        figures: Rank-k, mAP and mINP in percent, per `fused` and branch.
        queries, gallery, people: that were judged.
        notes: what was taken how.
    """

    figures: dict[str, dict[str, float]]
    queries: int
    gallery: int
    people: int
    notes: list[str]


def evaluate(
    store: Store,
    weights: Mapping[str, float] | None = None,
    where: str | None = None,
    queries: int | None = None,
    *,
    any_camera: bool = False,
    centred: bool = False,
) -> Verdict:
    """Rank the crops of the store for each of its people.

    Queries are the crops whose column `role` is query, against those of role gallery; without such
    a column, each crop is a query against all others. Crops without an identity are distractors.
    Crops of the query's own person and camera do not count (the rule of Market-1501), unless
    cameras are unknown, there is one alone, or `any_camera` says so.

    Args:
        weights: None takes the model's.
        queries: judge so many, drawn at random (seed 0); None: all.
        centred: judge features less the mean of their camera, over all its crops that are read.

    Raises:
        UserError: there is no column of identities, or no query has a true match; or features are
            to be centred, and a crop has no camera, or a camera too few crops.
    """
    named = [name for name in IDENTITIES if name in store.columns()]
    if not named:
        raise UserError(
            f"{store.folder} has no column {' or '.join(IDENTITIES)}: index a table with one, or"
            " with --columns-from '(?P<pid>…)'"
        )
    used = dict(store.description.weights) if weights is None else dict(weights)
    shares = proportions({str(name): value for name, value in used.items()})
    crops, features = _read(store, named[0], where)
    notes = list[str]()
    pids = _labels(crops, named[0], notes)
    camids = _cameras(crops, notes, any_camera=any_camera)
    if centred:
        features = _less_mean(crops["camera"], features)
    asked, answering = _roles(crops, notes)
    known = crops[named[0]].notna().to_numpy()
    asked = asked[known[asked]]
    if queries is not None and queries < len(asked):
        asked = np.sort(np.random.default_rng(0).choice(asked, queries, replace=False))
        notes.append(f"{queries:,} queries were drawn at random")
    names = ("fused", *BRANCHES)
    try:
        judges = {
            name: Judge(pids[asked], camids[asked], pids[answering], camids[answering])
            for name in names
        }
    except ValueError as error:
        raise UserError(f"{store.folder}: {error}") from error
    gallery = [np.ascontiguousarray(features[answering, n]) for n in range(len(BRANCHES))]
    for start in progress(range(0, len(asked), ROWS), "evaluate", f"x {ROWS} queries"):
        some = asked[start : start + ROWS]
        parts = {
            branch: cosine_distances(np.ascontiguousarray(features[some, n]), gallery[n])
            for n, branch in enumerate(BRANCHES)
        }
        fused = fuse(parts, shares)
        for name, distances in {"fused": fused, **parts}.items():
            judges[name].judge(start, distances)
    figures = {
        name: {figure: round(value, 2) for figure, value in summary(judge.results).items()}
        for name, judge in judges.items()
    }
    judged = judges["fused"].results.query
    if len(judged) < len(asked):
        notes.append(f"{len(asked) - len(judged):,} queries without a true match are left out")
    people = len(set(pids[asked[judged]].tolist()))
    return Verdict(figures, len(judged), len(answering), people, notes)


def _read(
    store: Store, identity: str, where: str | None
) -> tuple[pd.DataFrame, NDArray[np.float32]]:
    """Labels of all crops, sorted by id so that their order in the table plays no part."""
    wanted = ["id", "camera", identity, *(["role"] if "role" in store.columns() else [])]
    labels, features = [], []
    for batch in store.batches([*wanted, "vector"], where):
        labels.append(batch.select(wanted).to_pandas())
        features.append(_half(batch["vector"]))
    if not labels:
        raise UserError(f"{store.folder} holds no such crops")
    crops = pd.concat(labels, ignore_index=True)
    order = np.argsort(crops["id"].to_numpy(str), kind="stable")
    joined = np.concatenate(features)[order].astype(np.float32)
    return crops.iloc[order].reset_index(drop=True), normalized(joined)


def _half(vectors: Any) -> NDArray[np.float16]:
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.reshape(len(vectors), len(BRANCHES), -1))


def _labels(crops: pd.DataFrame, column: str, notes: list[str]) -> NDArray[Any]:
    """Identities as names; a crop without one is a person of its own."""
    unknown = crops[column].isna()
    if unknown.any():
        notes.append(f"{int(unknown.sum()):,} crops without {column} are distractors")
    named = crops[column].astype(object).where(~unknown, "unknown " + crops["id"])
    return np.array([str(value) for value in named])


def _cameras(crops: pd.DataFrame, notes: list[str], *, any_camera: bool) -> NDArray[Any]:
    """Cameras as names; where they do not count, each crop has one of its own."""
    cameras = crops["camera"]
    if any_camera:
        notes.append("crops of the query's own camera count")
    elif cameras.isna().any():
        notes.append("cameras are unknown: crops of the query's own camera count")
    elif cameras.nunique() < 2:
        notes.append("there is one camera alone: crops of the query's own camera count")
    else:
        return np.asarray(cameras.to_numpy(str))
    return np.asarray(crops["id"].to_numpy(str))


def _less_mean(cameras: pd.Series, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features less the mean of their camera."""
    if cameras.isna().any():
        raise UserError(
            f"--centred: {int(cameras.isna().sum()):,} crops have no camera: index with cameras"
            " (--camera-from), or leave them out by --where 'camera is not null'"
        )
    return centring.all_centred(features, cameras.to_numpy(str))


def _roles(crops: pd.DataFrame, notes: list[str]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows of the queries, and of those they are ranked against."""
    if "role" in crops and {"query", "gallery"} <= set(crops["role"].dropna()):
        return np.flatnonzero(crops["role"] == "query"), np.flatnonzero(crops["role"] == "gallery")
    notes.append("each crop is a query against all others")
    every = np.arange(len(crops))
    return every, every


def lines(verdict: Verdict) -> list[str]:
    """A verdict as a table for a terminal."""
    table = pd.DataFrame(verdict.figures).T.to_string()
    head = f"{verdict.queries:,} queries of {verdict.people:,} people, {verdict.gallery:,} crops"
    return [head, *verdict.notes, *table.splitlines()]
