"""CUHK03 (Li et al., CVPR 2014): 1,467 people, five pairs of cameras, all crops in one .mat file.

`cuhk03_release/cuhk-03.mat` is an HDF5 file (MATLAB 7.3) of references: `labeled` and `detected`
(boxes drawn by hand, or found by a detector) refer to five pairs of cameras, each pair to a table
of people x 10 crops, the first five of one camera, the others of the second one; cells may be
empty. `testsets` refers to the authors' 20 test sets, tables of 100 x (pair, person).

An image in a .mat file is no file that could be recorded and watched, so `extract` writes them as
PNG, the one layout of which a copy is made. Their names are those that the new split of Zhong et
al. (CVPR 2017; 767 people train, 700 test) uses in its files
`cuhk03_new_protocol_config_{detected,labeled}.mat`: `PAIR_PERSON_VIEW_IMAGE.png`, all from 1. A
pid here is 1000 x PAIR + PERSON, the camid is VIEW: a person is seen by one pair of cameras only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import VARIANTS
from pyramid_reid.core.progress import progress
from pyramid_reid.datasets.layout import RawImage, check_root, listed

if TYPE_CHECKING:  # they are loaded where a .mat file is read: no other set needs them
    import h5py

MAT = "cuhk03_release/cuhk-03.mat"
MARKS = (MAT,)
VIEW_IMAGES = 5  # of each of the two cameras in a row of ten
ROLES = {"train": "train_idx", "query": "query_idx", "gallery": "gallery_idx"}


def read(root: Path, variant: str | None = None) -> list[RawImage]:
    """List the crops of a variant as `extract` names them, by pair, person and image.

    Args:
        root: folder that holds `cuhk03_release` and, for the new split, its .mat files.
        variant: one of `VARIANTS["cuhk03"]`; None is the first. In the classic ones the protocol
            splits people; in the new ones each image has the role that the split gives it.

    Raises:
        UserError: files are missing, or are not as described above.
    """
    boxes, split = _variant(variant)
    check_root(root, MARKS)
    with _open(root) as mat:
        names = [name for name, _ in _cells(mat, boxes)]
    roles = dict.fromkeys(names, "") if split == "classic" else _new_split(root, boxes)
    if unknown := sorted(set(roles) - set(names)):
        raise UserError(f"data.root: the new split names crops that {MAT} lacks: {listed(unknown)}")
    images = []
    for name in names:
        if name in roles:  # the new split leaves none out; a trimmed copy of it may
            pair, person, view, _ = (int(part) for part in name.removesuffix(".png").split("_"))
            images.append(RawImage(name, 1000 * pair + person, view, roles[name]))
    return images


def extract(root: Path, variant: str | None, folder: Path) -> None:
    """Write the crops of a variant as PNG files into `folder`.

    Raises:
        UserError: the .mat file is not as described above.
    """
    boxes, _ = _variant(variant)
    folder.mkdir(parents=True, exist_ok=True)
    with _open(root) as mat:
        cells = list(_cells(mat, boxes))
        for name, cell in progress(cells, "CUHK03's crops", "crops"):
            Image.fromarray(np.ascontiguousarray(mat[cell][()].T)).save(folder / name)


def test_sets(root: Path, variant: str | None) -> list[list[int]]:
    """The test pids of each of the authors' 20 random splits; all other people train.

    Returns:
        None of them for the new split, which has one of its own.

    Raises:
        UserError: the .mat file has none.
    """
    if _variant(variant)[1] != "classic":
        return []
    with _open(root) as mat:
        if "testsets" not in mat:
            raise UserError(
                f"{MAT} holds no `testsets`, the authors' splits: set data.variant to one of the"
                " new split, or get the whole file"
            )
        pairs = [np.asarray(mat[cell][()].T, int) for cell in mat["testsets"][()].ravel()]
    return [[int(1000 * pair + person) for pair, person in table] for table in pairs]


def _variant(variant: str | None) -> tuple[str, str]:
    boxes, _, split = (variant or VARIANTS["cuhk03"][0]).partition("_")
    return boxes, split


def _open(root: Path) -> h5py.File:
    import h5py

    try:
        return h5py.File(root / MAT, "r")
    except OSError as error:
        raise UserError(f"{root / MAT} is not an HDF5 file (MATLAB 7.3): {error}") from error


def _cells(mat: h5py.File, boxes: str) -> Iterator[tuple[str, Any]]:
    """Name and reference of each crop that is there."""
    if boxes not in mat:
        raise UserError(f"{MAT} holds no `{boxes}`, only {listed(sorted(mat))}")
    for pair, table in enumerate(mat[boxes][()].ravel(), 1):
        for person, row in enumerate(mat[table][()].T, 1):
            for image, cell in enumerate(row, 1):
                shape = mat[cell].shape  # (3, width, height); an empty cell has two dimensions
                if len(shape) == 3:
                    view = 1 if image <= VIEW_IMAGES else 2
                    yield f"{pair}_{person:03d}_{view}_{image:02d}.png", cell


def _new_split(root: Path, boxes: str) -> dict[str, str]:
    """Role of each crop in the split of Zhong et al."""
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    path = root / f"cuhk03_new_protocol_config_{boxes}.mat"
    if not path.is_file():
        raise UserError(
            f"data.root: {root} holds no {path.name}; get it from"
            " https://github.com/zhunzhong07/person-re-ranking (evaluation/data/CUHK03)"
        )
    try:
        split = loadmat(path)
    except (OSError, ValueError, NotImplementedError, MatReadError) as error:
        raise UserError(f"{path} is not a readable .mat file: {error}") from error
    if missing := [key for key in (*ROLES.values(), "filelist") if key not in split]:
        raise UserError(f"{path} lacks {listed(missing)}")
    names = [str(name[0]) for name in split["filelist"].ravel()]
    return {
        names[int(index) - 1]: role
        for role, key in ROLES.items()
        for index in split[key].ravel()  # counted from 1
    }
