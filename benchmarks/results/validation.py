"""People of a split who are held out of training, and how features rank them.

Each split's networks train on its other training people; no test person of the split is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from benchmarks.results.records import CENTRED, WHITENED, judge_reranked
from numpy.typing import NDArray
from torch import nn

from pyramid_reid.core import crops, protocol_record
from pyramid_reid.evaluation.rankings import Judging
from pyramid_reid.reid.features import few_features
from pyramid_reid.reid.network.preprocessing import resized
from pyramid_reid.retrieval.camera_mean import camera_means, centred
from pyramid_reid.retrieval.distance import cosine_distances, normalize
from pyramid_reid.retrieval.metrics import Judge, QueryResults
from pyramid_reid.retrieval.whitening import STRENGTH, whitened, within_people

Floats = NDArray[np.float32]
Features = Mapping[str, Floats]
"""By role: of length 1."""

SIDES = ("val_query", "val_gallery")
AS_THEY_ARE = "as they are"
DRAWS = 10
"""Single-shot galleries, where the set's protocol draws them."""


@dataclass(frozen=True, slots=True)
class People:
    """Those of a split, by role: `train`, and held out `val_query` and `val_gallery`.

    Attributes:
        images: resized to the network's input.
        tables: columns pid and camid, in the same order.
        judging: by the rule of the set's protocol.
    """

    split: str
    images: Mapping[str, NDArray[np.uint8]]
    tables: Mapping[str, pd.DataFrame]
    judging: Judging

    def judge(self) -> Judge:
        """Of held-out queries and gallery crops."""
        query, gallery = (self.tables[role] for role in SIDES)
        return self.judging.judge(self.split, query, gallery)

    def figures(self, distances: Floats) -> dict[str, float]:
        """Rank-1 and mAP in percent by distances of held-out queries and gallery crops."""
        judge = self.judge()
        judge.judge(0, distances)
        return in_percent(judge.results)

    def reranked(self, features: Features) -> dict[str, float]:
        """Rank-1 and mAP in percent, held-out queries re-ranked all at once."""
        query, gallery = (features[role] for role in SIDES)
        judge = self.judge()
        judge_reranked(judge, query, gallery, 1.0, at_once=len(query))
        return in_percent(judge.results)

    def features(self, network: nn.Module, *, mirrored: bool) -> dict[str, Floats]:
        """Features of all roles."""
        return {
            role: normalize(few_features(network, images, mirrored=mirrored))
            for role, images in self.images.items()
        }

    def centred(self, features: Features) -> dict[str, Floats]:
        """Features less the mean of their camera over the people that train."""
        camids = {role: table.camid.to_numpy() for role, table in self.tables.items()}
        means = camera_means(features["train"], camids["train"])
        return {role: centred(of, camids[role], means) for role, of in features.items()}

    def whitened(self, less: Features, strength: float = STRENGTH) -> dict[str, Floats]:
        """Centred features, whitened within the people that train."""
        matrix = within_people(less["train"], self.tables["train"].pid.to_numpy(), strength)
        return {role: whitened(of, matrix) for role, of in less.items()}

    def moved(self, features: Features) -> dict[str, Features]:
        """Features by what is done to them."""
        less = self.centred(features)
        return {AS_THEY_ARE: features, CENTRED: less, WHITENED: self.whitened(less)}

    def distances(self, features: Features) -> dict[str, Floats]:
        """Of held-out queries and gallery crops, by what is done to the features first."""
        return {way: between(of) for way, of in self.moved(features).items()}


def between(features: Features) -> Floats:
    """Cosine distances of held-out queries and gallery crops."""
    query, gallery = (features[role] for role in SIDES)
    return cosine_distances(query, gallery)


def in_percent(done: QueryResults) -> dict[str, float]:
    """Rank-1 and mAP in percent."""
    return {
        "rank1": 100 * float((done.first_rank == 1).mean()),
        "mAP": 100 * float(done.average_precision.mean()),
    }


def people(folder: Path, split: int, size: tuple[int, int], seed: int = 1) -> People:
    """Those of a split whose crops lie in a folder, as `recipes.prepare` leaves them.

    Args:
        size: height and width of the network's input.
        seed: of the galleries that are drawn.
    """
    store = crops.CropStore(folder / "data/crops" / f"split_{split}")
    rule = protocol_record.evaluation_rule(None, protocol_record.read(folder / "data/crops"))
    images: dict[str, Any] = {}
    tables = {}
    for role in ("train", *SIDES):
        rows = store.rows(role)
        images[role] = resized(store, rows, *size)
        tables[role] = store.index.loc[rows, :].reset_index(drop=True)
    return People(f"split_{split}", images, tables, Judging(rule, DRAWS, seed))
