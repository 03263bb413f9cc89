"""The data sets: how each lies on disk, and which of its cameras asks and which answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyramid_reid.datasets import caviar4reid, synthetic_layout
from pyramid_reid.datasets.raw import RawImage


@dataclass(frozen=True, slots=True)
class DataSet:
    """How a set is read and used.

    Attributes:
        read: lists the images below a folder, in a fixed order.
        query_camid: the low-resolution camera, whose test crops are the queries.
        gallery_camid: the high-resolution camera, whose test crops are the gallery.
        natural: resolutions differ by nature, so that none is simulated.
    """

    read: Callable[[Path], list[RawImage]]
    query_camid: int
    gallery_camid: int
    natural: bool


DATASETS = {
    "synthetic": DataSet(synthetic_layout.read, query_camid=2, gallery_camid=1, natural=False),
    "caviar4reid": DataSet(caviar4reid.read, query_camid=2, gallery_camid=1, natural=True),
}
