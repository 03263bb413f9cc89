"""The pyramid's crop stores, written to positions that are known in advance.

A restored crop has its original size times the scale, so the position of every pixel is known
before anything is restored. Any number of processes write batches in any order, and only the
batches in progress are in memory. Finished batches are noted every few seconds with their hash; a
killed run resumes from there and does not restore batches again that are noted and intact.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd

from pyramid_reid.core.crops import COLUMNS, CropStore, Pixels
from pyramid_reid.core.progress import progress
from pyramid_reid.core.runtime import is_main, rank, world_size
from pyramid_reid.core.whole_files import appended, whole_lines
from pyramid_reid.restoration.inference import plan, restore_batches
from pyramid_reid.restoration.network.reconstructor import Reconstructor
from pyramid_reid.training.distributed import from_main, wait

NOTES = "finished-*.txt"
NOTE = re.compile(rb"(\d{1,12}) ([0-9a-f]{64})")
"""A line of the notes: the number of a batch, and the SHA-256 of its results."""
NOTE_EVERY_S = 5.0
"""Seconds between two notes: before each, everything written must reach the disk."""


class _Output:
    """The store of one scale, of its full size from the start.

    A context manager: open for writing inside, once `make` has made the file.

    Args:
        index: of the crops at their own size.
    """

    def __init__(self, folder: Path, index: pd.DataFrame, scale: int) -> None:
        self.folder = folder
        sizes = index.height * index.width * (3 * scale**2)
        self.index = index.assign(
            offset=sizes.cumsum() - sizes, height=index.height * scale, width=index.width * scale
        )[COLUMNS]
        total = int(sizes.sum())
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": (total,)}
        )
        self._header, self._bytes = header.getvalue(), header.tell() + total
        self._path = folder / "pixels.npy"

    def make(self) -> None:
        """Write the empty file, if it is not there in its full size; the header in any case."""
        if self._path.exists() and self._path.stat().st_size == self._bytes:
            with self._path.open("r+b") as file:
                file.write(self._header)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".new").open("wb") as file:
            file.write(self._header)
            file.truncate(self._bytes)
        self._path.with_suffix(".new").replace(self._path)

    def __enter__(self) -> Self:
        self._file = self._path.open("r+b")
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, row: int, pixels: Pixels) -> None:
        """Write the restored crop of a row at its place."""
        self._file.seek(len(self._header) + int(self.index.offset.iat[row]))
        self._file.write(np.ascontiguousarray(pixels).data)

    def read(self, row: int) -> bytes:
        """What lies at the place of a row."""
        self._file.seek(len(self._header) + int(self.index.offset.iat[row]))
        return self._file.read(3 * int(self.index.height.iat[row] * self.index.width.iat[row]))

    def flush(self) -> None:
        """Return when everything written is on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self) -> None:
        """Write the index: the store is complete."""
        self.index.to_csv(self.folder / "index.csv", index=False, lineterminator="\n")


Batches = Sequence[Sequence[int]]
"""Rows of the crops of each batch."""


def generate(
    model: Reconstructor,
    store: CropStore,
    folders: Sequence[Path],
    batch_pixels: int,
    threads: int,
    what: str,
) -> None:
    """Restore all crops of a store; goes on after the batches that are finished.

    With several processes each restores its share; all return when everything is written. The bytes
    depend neither on the number of processes nor on that of threads.

    Args:
        model: in evaluation mode, on its device.
        store: crops at their own size, in the order that the results have, too.
        folders: of the crop store of each scale; siblings, beside which notes are kept. Once more
            with the same, this only repairs what was damaged since.
        batch_pixels: low-resolution pixels of a batch.
        threads: of this process; on the CPU, batches that are restored at once.
        what: of the progress bar.
    """
    scales, notes = model.architecture.scales, folders[0].parent
    outputs = [
        _Output(folder, store.index, scale) for folder, scale in zip(folders, scales, strict=True)
    ]
    sizes = list(zip(store.index.height, store.index.width, strict=True))
    batches = plan(sizes, batch_pixels, model.batch_multiple)
    finished: set[int] = set()
    if is_main():
        for output in outputs:
            output.make()
        finished = _whole(outputs, batches, _noted(notes, len(batches)))
    pending = from_main([number for number in range(len(batches)) if number not in finished])
    own = pending[rank() :: world_size()]
    total = sum(len(batches[number]) for number in own)
    with (
        ExitStack() as stack,
        progress(range(total), what, "crops") as bar,
        appended(notes / NOTES.replace("*", str(rank()))) as note,
    ):
        for output in outputs:
            stack.enter_context(output)
        shared = {number: batches[number] for number in own}
        restored = stack.enter_context(
            closing(restore_batches(model, shared, store.__getitem__, threads))
        )
        written: list[bytes] = []
        left, noted = len(own), time.monotonic()
        for number, crops in restored:
            sha = hashlib.sha256()
            for row, images in zip(shared[number], crops, strict=True):
                for output, image in zip(outputs, images, strict=True):
                    output.write(row, image)
                    sha.update(np.ascontiguousarray(image).data)
            written.append(f"{number} {sha.hexdigest()}\n".encode())
            left -= 1
            if not left or time.monotonic() - noted >= NOTE_EVERY_S:
                for output in outputs:
                    output.flush()
                note.write(b"".join(written))
                note.flush()
                written, noted = [], time.monotonic()
            bar.update(len(crops))
    wait()
    if is_main():
        for output in outputs:
            output.finish()
    wait()


def _noted(folder: Path, batches: int) -> dict[int, str]:
    """Numbers and hashes of the batches that are finished.

    What is no whole line, or names no batch, counts for nothing.

    Args:
        batches: their number.
    """
    lines = [line for path in folder.glob(NOTES) for line in whole_lines(path)]
    notes = [match.groups() for line in lines if (match := NOTE.fullmatch(line))]
    return {int(number): sha.decode() for number, sha in notes if int(number) < batches}


def _whole(outputs: Sequence[_Output], batches: Batches, noted: Mapping[int, str]) -> set[int]:
    """Numbers of the noted batches that are still as they were written."""
    whole = set()
    with ExitStack() as stack:
        for output in outputs:
            stack.enter_context(output)
        for number, expected in noted.items():
            sha = hashlib.sha256()
            for row in batches[number]:
                for output in outputs:
                    sha.update(output.read(row))
            if sha.hexdigest() == expected:
                whole.add(number)
    if damaged := len(noted) - len(whole):
        folder = outputs[0].folder.parent
        print(f"{damaged} batches in {folder} are damaged and are restored again", file=sys.stderr)
    return whole
