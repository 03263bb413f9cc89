"""DukeMTMC-reID (Zheng et al., ICCV 2017): 702 people train and 702 test, 8 cameras.

In Market-1501's folders: `bounding_box_train/0001_c2_f0046182.jpg` is person 1 seen by camera 2.
408 more people are in the gallery only. Duke University withdrew the set in 2019: use it only where
you may.
"""

from __future__ import annotations

import re
from pathlib import Path

from pyramid_reid.datasets.layout import RawImage
from pyramid_reid.datasets.market1501 import MARKS, of_folders

__all__ = ["MARKS", "read"]
NAME = re.compile(r"(?P<pid>\d{4})_c(?P<camid>[1-8])_f\d{7}\.jpg")


def read(root: Path, _variant: str | None = None) -> list[RawImage]:
    """List training, query and gallery crops, each by name.

    Raises:
        UserError: the folder is not the set's, or files are named otherwise.
    """
    return of_folders(root, NAME, "query/0005_c2_f0046985.jpg")
