"""The crop store: all crops of a split in one flat array of pixels and one table.

A folder with `pixels.npy` (flat uint8, the crops' RGB values one after the other, each H x W x 3
in row-major order) and `index.csv` (one row per crop). One packed file instead of thousands:
hashing and copying 33,000 small files costs DVC a minute, one file four seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyramid_reid.core.errors import DAMAGED, UserError, reason, shortage

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Crop:
    """A crop's row in the index, without its place and size.

    Attributes:
        role: train, query or gallery; val_query or val_gallery: of identities that are held out
            of all training, to choose on honestly.
        ratio: 1 as the camera gave it; r where it was down-sampled by r.
        source: path of the image inside the raw set.
    """

    pid: int
    camid: int
    role: str
    ratio: int
    source: str


COLUMNS = ["offset", "height", "width", *(field.name for field in fields(Crop))]
ROLES = {"train", "query", "gallery", "val_query", "val_gallery"}
LARGEST = 2**31
"""No number of an index is as large, but for offsets."""


class CropStore:
    """A crop store opened for reading; pixels are mapped, not loaded.

    Attributes:
        index: one row per crop, columns `COLUMNS`.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store in `folder`.

        Raises:
            UserError: files are missing or do not fit together.
        """
        try:
            self.index = _read_index(folder / "index.csv")
            pixels = np.lib.format.open_memmap(folder / "pixels.npy", mode="r")
        except DAMAGED as error:
            if missing := shortage(error):
                raise UserError(f"{folder} cannot be opened: {missing}") from error
            raise UserError(
                f"{folder} is not a crop store ({reason(error)}); run `dvc repro` to make it again"
            ) from error
        # as a plain array over the map: slices of np.memmap itself take thrice as long
        self._pixels: Pixels = np.asarray(pixels)
        sizes = self.index.height * self.index.width * 3
        expected = int(sizes.sum())
        # a list: to look a row up in a table takes far longer
        self._places: list[list[int]] = self.index[COLUMNS[:3]].to_numpy().tolist()
        if self._pixels.shape != (expected,) or self._pixels.dtype != np.uint8:
            raise UserError(
                f"{folder / 'pixels.npy'} holds {self._pixels.dtype} {self._pixels.shape}, its"
                f" index {expected} bytes; run `dvc repro` to make it again"
            )

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, row: int) -> Pixels:
        """Pixels of the crop in a row of the index, (H, W, 3) uint8 RGB, read-only."""
        offset, height, width = self._places[row]
        return self._pixels[offset : offset + height * width * 3].reshape(height, width, 3)

    def rows(self, role: str) -> list[int]:
        """Rows of the index that have this role, in order."""
        return [int(row) for row in np.flatnonzero(self.index.role == role)]


class CropWriter:
    """Writes a crop store one crop at a time; used as a context manager.

    Args:
        folder: made if missing; a store in it is overwritten.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows: list[tuple[object, ...]] = []
        self._size = 0

    def __enter__(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = (self._folder / "pixels.npy").open("wb")
        self._write_header()
        return self

    def add(self, crop: Crop, pixels: Annotated[Pixels, "H W 3"]) -> None:
        """Append a crop, RGB."""
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise ValueError(f"{crop.source}: pixels are {pixels.dtype} {pixels.shape}")
        height, width = pixels.shape[:2]
        self._file.write(np.ascontiguousarray(pixels).data)
        labels = crop.pid, crop.camid, crop.role, crop.ratio, crop.source
        self._rows.append((self._size, height, width, *labels))
        self._size += pixels.size

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._file:
            if kind is not None:
                return
            self._file.seek(0)
            self._write_header()
        pd.DataFrame(self._rows, columns=COLUMNS).to_csv(
            self._folder / "index.csv", index=False, lineterminator="\n"
        )

    def _write_header(self) -> None:
        # NumPy pads the header so that the first axis can grow: its length is always the same.
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": "|u1", "fortran_order": False, "shape": (self._size,)}
        )


def _read_index(path: Path) -> pd.DataFrame:
    """The table of a store, with columns `COLUMNS`.

    Raises:
        ValueError: it is none, or its rows cannot be those of a store.
    """
    index = pd.read_csv(
        path, dtype={"source": str, "role": str}, keep_default_na=False, on_bad_lines="error"
    )
    if list(index.columns) != COLUMNS:
        raise ValueError(f"{path.name} has columns {list(index.columns)}")
    for name in ("offset", "height", "width", "pid", "camid", "ratio"):
        least = 1 if name in {"height", "width", "ratio"} else 0
        values = index[name]
        if len(index) and (values.dtype != np.int64 or values.min() < least):
            raise ValueError(f"{path.name} has {name}s that are not whole numbers from {least}")
        if name != "offset" and len(index) and values.max() >= LARGEST:
            raise ValueError(f"{path.name} has a {name} of {values.max()}")
    sizes = index.height * index.width * 3
    if not index.offset.equals(sizes.cumsum() - sizes):
        raise ValueError(f"the crops of {path.name} do not lie one after the other")
    if unknown := set(index.role) - ROLES:
        raise ValueError(f"{path.name} has the role {min(unknown)!r}")
    return index


def splits(folder: Path) -> list[str]:
    """Names of the splits below `folder` (`split_0`, `split_1`, …), in order.

    Raises:
        UserError: there are none.
    """
    names = sorted(path.name for path in folder.glob("split_*") if path.is_dir())
    if not names:
        raise UserError(f"{folder} holds no split_* folder; run `dvc repro` to make it")
    return sorted(names, key=split_number)


def split_number(name: str) -> int:
    """Number of a split, by the name of its folder: the same alone as among others."""
    return int(name.removeprefix("split_"))
