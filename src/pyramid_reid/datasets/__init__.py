"""The data sets: how each lies on disk, where it comes from, and its variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyramid_reid.datasets import caviar4reid, synthetic_layout
from pyramid_reid.datasets.raw import RawImage


@dataclass(frozen=True, slots=True)
class Source:
    """An archive that anybody may download.

    Attributes:
        url: its public address.
        sha256: of the archive, where its authors or others have published it.
        inside: folder in the archive that `read` expects as root.
    """

    url: str
    sha256: str | None
    inside: str


@dataclass(frozen=True, slots=True)
class DataSet:
    """How a set is read and where it comes from.

    Attributes:
        read: lists the images below a folder in a fixed order, of a variant (None: the default).
        page: the authors' page or publication.
        source: what can be downloaded, None where nothing can.
        why_not: if nothing can: why, and what to do instead; one sentence.
        query_camid: the low-resolution camera, whose test crops are the queries.
        gallery_camid: the high-resolution camera, whose test crops are the gallery.
        natural: resolutions differ by nature, so that none is simulated.
    """

    read: Callable[[Path, str | None], list[RawImage]]
    page: str = ""
    source: Source | None = None
    why_not: str = ""
    query_camid: int = 2
    gallery_camid: int = 1
    natural: bool = False


DATASETS = {
    "synthetic": DataSet(synthetic_layout.read),
    "caviar4reid": DataSet(caviar4reid.read, natural=True),
}
