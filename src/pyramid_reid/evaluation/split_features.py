"""Features of a split, as the rankings take them: as they are, centred, or whitened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyramid_reid.core.errors import DAMAGED, UserError, reason
from pyramid_reid.retrieval.arrays import unit_features
from pyramid_reid.retrieval.camera_mean import centred
from pyramid_reid.retrieval.distance import cosine_distances
from pyramid_reid.retrieval.fusion import fuse, taking_part
from pyramid_reid.retrieval.metrics import rows_at_a_time
from pyramid_reid.retrieval.rerank import join
from pyramid_reid.retrieval.whitening import whitened

Floats = NDArray[np.float32]
Sides = tuple[Annotated[Floats, "num_query D"], Annotated[Floats, "num_gallery D"]]

MOVED = ("centred", "whitened")
"""Rankings by features that were moved: centred by camera means of training crops, then perhaps
whitened by a matrix that comes from them, too."""


def of_branch(folder: Path, query: pd.DataFrame, gallery: pd.DataFrame, ranking: str) -> Sides:
    """Features of queries and gallery crops that a branch left in a split's folder.

    Args:
        query, gallery: their labels.
        ranking: `fused`: features as they are; or of `MOVED`.

    Raises:
        UserError: the file is missing, damaged, of other crops, of features that are not of length
            1, or has no means or no whitening.
    """
    path = folder / "features.npz"
    try:
        with np.load(path) as file:
            tables = {"query": query, "gallery": gallery}
            sides = [unit_features(file[role], f"{role} features") for role in tables]
            for (role, table), of in zip(tables.items(), sides, strict=True):
                if len(of) != len(table):
                    raise ValueError(f"{len(of)} {role} features for {len(table)} crops")
            if ranking in MOVED:
                means = dict(zip(file["cameras"].tolist(), file["means"], strict=True))
                cameras = (table.camid.to_numpy() for table in tables.values())
                sides = [centred(*of, means) for of in zip(sides, cameras, strict=True)]
            if ranking == "whitened":
                matrix = file["whitening"]
                sides = [whitened(of, matrix) for of in sides]
    except DAMAGED as error:
        raise UserError(f"{path}: {reason(error)}; run `dvc repro`") from error
    return sides[0], sides[1]


def moved_runs(
    folders: Mapping[str, Path],
    weights: Mapping[str, float],
    query: pd.DataFrame,
    gallery: pd.DataFrame,
    ranking: str,
) -> Iterator[tuple[int, Annotated[Floats, "rows num_gallery"]]]:
    """First row and fused distances of run after run of rows, of features that were moved.

    Args:
        folders: of a split's distances, by branch.
        query, gallery: their labels.
        ranking: of `MOVED`.

    Raises:
        UserError: as of `of_branch`.
    """
    used = {branch: weights[branch] for branch in taking_part(weights)}
    sides = {branch: of_branch(folders[branch], query, gallery, ranking) for branch in used}
    rows = rows_at_a_time(len(gallery))
    for start in range(0, len(query), rows):
        parts = {
            branch: cosine_distances(ours[start : start + rows], theirs)
            for branch, (ours, theirs) in sides.items()
        }
        yield start, fuse(parts, used)


def joined_features(
    folders: Mapping[str, Path],
    weights: Mapping[str, float],
    query: pd.DataFrame,
    gallery: pd.DataFrame,
    ranking: str = "fused",
) -> Sides:
    """Query and gallery features of a split, whose products are fused similarities.

    Args:
        folders, query, gallery: as of `moved_runs`.
        ranking: as of `of_branch`.

    Raises:
        UserError: as of `of_branch`.
    """
    used = {branch: weights[branch] for branch in taking_part(weights)}
    sides = {branch: of_branch(folders[branch], query, gallery, ranking) for branch in used}
    return (
        join({branch: ours for branch, (ours, _) in sides.items()}, used),
        join({branch: theirs for branch, (_, theirs) in sides.items()}, used),
    )
