"""Cosine distances, and their files: written and read in blocks of rows.

Files are read into the reader's own buffer, not mapped: mapped pages count as memory of the
process, and a distance matrix of MTA-ReID has 3.7 GB.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import SEEK_END, FileIO
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.retrieval.arrays import numbers, unit_features

Floats = NDArray[np.float32]

WRITE_BYTES = 2**26
"""Distances that are computed at a time: products of this size run at full speed."""


def normalize(features: Annotated[ArrayLike, "N D"]) -> Annotated[Floats, "N D"]:
    """Scale each row to Euclidean length 1.

    Raises:
        ValueError: features are no (N, D) of numbers; or a row is zero, NaN or infinite, and has
            no direction.
    """
    rows = np.asarray(numbers(features, "features", 2), np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if bad.size:
        raise ValueError(f"{bad.size} features have no direction, the first in row {bad[0]}")
    return np.asarray(rows / lengths, np.float32)


def cosine_distances(
    query: Annotated[ArrayLike, "num_query D"], gallery: Annotated[ArrayLike, "num_gallery D"]
) -> Annotated[Floats, "num_query num_gallery"]:
    """1 - cos of the angle between every query and every gallery feature.

    Args:
        query, gallery: rows of length 1.

    Returns:
        float32 in [0, 2]. What rounding puts outside is moved to the end:
        here and nowhere later, so that everything made of distances sees the same ones.

    Raises:
        ValueError: features are no (N, D) of numbers, differ in D, or are not of length 1.
    """
    return _distances(*_unit_rows(query, gallery))


def _distances(query: Floats, gallery: Floats) -> Floats:
    product: Floats = query @ gallery.T
    np.subtract(np.float32(1), product, out=product)
    return np.clip(product, 0, 2, out=product)


def _unit_rows(query: ArrayLike, gallery: ArrayLike) -> tuple[Floats, Floats]:
    """Features as float32.

    Raises:
        ValueError: as `cosine_distances`.
    """
    first = unit_features(query, "query features")
    second = unit_features(gallery, "gallery features")
    if first.shape[1] != second.shape[1]:
        raise ValueError(
            f"query features have {first.shape[1]} numbers, gallery features {second.shape[1]}"
        )
    return first, second


def write_cosine_distances(
    path: Path,
    query: Annotated[ArrayLike, "num_query D"],
    gallery: Annotated[ArrayLike, "num_gallery D"],
) -> tuple[int, int]:
    """Write `cosine_distances(query, gallery)` as a .npy file without ever holding all of it.

    Returns:
        Its shape.

    Raises:
        ValueError: as `cosine_distances`; nothing is written then.
    """
    query, gallery = _unit_rows(query, gallery)
    shape = (len(query), len(gallery))
    rows = max(1, WRITE_BYTES // (4 * max(1, shape[1])))
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for start in range(0, shape[0], rows):
            file.write(_distances(query[start : start + rows], gallery).data)
    return shape


class DistanceReader:
    """Reads a `distmat.npy` from its first row to its last; a context manager.

    Attributes:
        shape: (num_query, num_gallery).
    """

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be opened.
            ValueError: it is no .npy file of float32 rows, or is cut short.
        """
        self._file = path.open("rb", buffering=0)
        try:
            self.shape, self._offset = _header(self._file)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def runs(self, rows: int) -> Iterator[Annotated[Floats, "rows num_gallery"]]:
        """Runs of `rows` rows, the last of which may be shorter.

        The memory of a run is used again for the next one; a reader of it may change it.
        """
        buffer = np.empty((rows, self.shape[1]), np.float32)
        for start in range(0, self.shape[0], rows):
            yield self._fill(start, buffer[: min(rows, self.shape[0] - start)])

    def row(self, number: int) -> Annotated[Floats, "num_gallery"]:
        """One row."""
        run = self._fill(number, np.empty((1, self.shape[1]), np.float32))
        return np.asarray(run[0])

    def _fill(self, start: int, run: Floats) -> Floats:
        """Read rows from `start` on into `run`, all of it."""
        self._file.seek(self._offset + 4 * start * self.shape[1])
        view, done = run.reshape(-1).view(np.uint8).data, 0
        while done < len(view):
            read = self._file.readinto(view[done:])
            if not read:
                raise OSError(f"{self._file.name} ended early")
            done += read
        return run


def _header(file: FileIO) -> tuple[tuple[int, int], int]:
    """Shape of the float32 rows in a .npy file, and where they begin."""
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("not version 1.0 of the format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if len(shape) != 2 or fortran_order or dtype != np.dtype("<f4"):
        raise ValueError(f"holds {dtype} {shape}, not rows of float32")
    offset = file.tell()
    size, expected = file.seek(0, SEEK_END), offset + 4 * shape[0] * shape[1]
    if size != expected:
        raise ValueError(f"has {size} bytes, {expected} expected")
    return (shape[0], shape[1]), offset
