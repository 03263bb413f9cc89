"""The data sets: the layout of each on disk, where to get it, and its variants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pyramid_reid.datasets import (
    caviar4reid,
    cuhk03,
    dukemtmc_reid,
    folders,
    grid,
    manifest,
    market1501,
    msmt17,
    mta_reid,
    prid2011,
    viper,
)
from pyramid_reid.datasets.layout import RawImage
from pyramid_reid.datasets.synthetic import layout


@dataclass(frozen=True, slots=True)
class Source:
    """An archive that anybody may download.

    Attributes:
        url: its public address.
        known_hash: `ALGORITHM:HEX` of the archive where somebody published it, else None.
    """

    url: str
    known_hash: str | None


@dataclass(frozen=True, slots=True)
class DataSet:
    """How a set is read and where it comes from.

    Attributes:
        read: lists the images below a folder in a fixed order, with the set's own option: a
            variant, or the pattern of cameras of `folders` (None: the default).
        marks: glob patterns by which that folder is recognised.
        page: the authors' page.
        source: what can be downloaded, None where nothing can.
        why_not: if nothing can, why.
        extract: writes the images of a variant into a folder, for a set that is none.
        test_sets: reads the test pids of each of the authors' random splits.
    """

    read: Callable[[Path, str | None], list[RawImage]]
    marks: tuple[str, ...] = ()
    page: str = ""
    source: Source | None = None
    why_not: str = ""
    extract: Callable[[Path, str | None, Path], None] | None = None
    test_sets: Callable[[Path, str | None], list[list[int]]] | None = None


# The MD5 are those of Open-ReID (Xiao, 2017), which still fetched both archives.
DATASETS = {
    "synthetic": DataSet(layout.read),
    "caviar4reid": DataSet(
        caviar4reid.read, caviar4reid.MARKS, "http://www.lorisbazzani.info/caviar4reid.html",
        why_not="its authors' page gives no lasting address",
    ),
    "viper": DataSet(
        viper.read, viper.MARKS, "https://vision.soe.ucsc.edu/node/178",
        Source("http://users.soe.ucsc.edu/~manduchi/VIPeR.v1.0.zip",
               "md5:1c2d9fc1cc800332567a0da25a1ce68c"),
    ),
    "prid2011": DataSet(
        prid2011.read, prid2011.MARKS,
        "https://www.tugraz.at/institute/icg/research/team-bischof/lrs/downloads/PRID11/",
        why_not="its licence is agreed to on its authors' page",
    ),
    "grid": DataSet(
        grid.read, grid.MARKS,
        "https://personal.ie.cuhk.edu.hk/~ccloy/downloads_qmul_underground_reid.html",
        Source("http://personal.ie.cuhk.edu.hk/~ccloy/files/datasets/underground_reid.zip", None),
    ),
    "market1501": DataSet(
        market1501.read, market1501.MARKS,
        "https://zheng-lab.cecs.anu.edu.au/Project/project_reid.html",
        Source("http://188.138.127.15:81/Datasets/Market-1501-v15.09.15.zip",
               "md5:65005ab7d12ec1c44de4eeafe813e68a"),
    ),
    "cuhk03": DataSet(
        cuhk03.read, cuhk03.MARKS, "http://www.ee.cuhk.edu.hk/~xgwang/CUHK_identification.html",
        why_not="its authors ask for a form to be filled in",
        extract=cuhk03.extract, test_sets=cuhk03.test_sets,
    ),
    "dukemtmc_reid": DataSet(
        dukemtmc_reid.read, dukemtmc_reid.MARKS,
        "https://github.com/sxzrt/DukeMTMC-reID_evaluation",
        why_not="Duke University withdrew it in 2019; use a copy only where you may",
    ),
    "msmt17": DataSet(
        msmt17.read, msmt17.MARKS, "https://www.pkuvmc.com/dataset.html",
        why_not="its authors send it to those who sign its licence",
    ),
    "mta_reid": DataSet(
        mta_reid.read, mta_reid.MARKS, "https://github.com/schuar-iosb/mta-dataset",
        why_not="its authors send the address by e-mail, to those who ask as its page describes",
    ),
    "manifest": DataSet(
        manifest.read, manifest.MARKS, "docs/datasets.md", why_not="it is your own set",
    ),
    "folders": DataSet(
        folders.read, folders.MARKS, "docs/datasets.md", why_not="it is your own set",
    ),
}  # fmt: skip
