"""Writing embedded crops into the store, behind the networks."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Annotated, Any, Self

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.gallery import Value
from pyramid_reid.search.indexing.reading import Crop
from pyramid_reid.search.store import Store
from pyramid_reid.search.store.rows import BOX, schema

if TYPE_CHECKING:
    import pyarrow as pa

ROWS = 10_000
"""Crops that are written together."""
SECONDS = 10.0
"""After which crops and new columns are written even if they are few: what a kill may cost."""


class Writer:
    """Writes crops in a thread of its own; a context manager, which waits for what is written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._pool = ThreadPoolExecutor(1)
        self._under_way: Future[None] | None = None
        self._waiting: list[tuple[Crop, NDArray[np.float32]]] = []
        self._written_at = time.monotonic()
        self._updates: list[Crop] = []
        self._removals: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._write()  # what was embedded is kept also when something else went wrong
            self._wait()
        finally:
            self._pool.shutdown()

    def put(self, crops: Sequence[Crop], features: Annotated[NDArray[np.float32], "n 4 D"]) -> None:
        """Take crops with their features."""
        self._waiting += zip(crops, features, strict=True)
        if len(self._waiting) >= ROWS:
            self._write()
        self._write_in_time()

    def update(self, crop: Crop) -> None:
        """Take new columns of a crop that is there."""
        self._updates.append(crop)
        self._write_in_time()

    def remove(self, identifiers: Sequence[str]) -> None:
        """Take out crops whose files are others now."""
        self._removals += identifiers

    def _write_in_time(self) -> None:
        if time.monotonic() - self._written_at > SECONDS:
            self._write()

    def _write(self) -> None:
        self._wait()
        waiting, updates, removals = self._waiting, self._updates, self._removals
        self._waiting, self._updates, self._removals = [], [], []
        self._written_at = time.monotonic()
        if waiting or updates or removals:
            self._under_way = self._pool.submit(self._commit, waiting, updates, removals)

    def _commit(
        self,
        waiting: Sequence[tuple[Crop, NDArray[np.float32]]],
        updates: Sequence[Crop],
        removals: Sequence[str],
    ) -> None:
        if waiting:
            features = np.stack([features for _, features in waiting])
            self._store.add(rows_of([crop for crop, _ in waiting], features))
        if removals:  # after the new ones: a kill in between leaves both, and the next run sees it
            self._store.remove(removals)
        by_columns = defaultdict[tuple[str, ...], dict[str, Crop]](dict)
        for crop in updates:
            by_columns[tuple(sorted(crop.values))][crop.identifier] = crop
        for alike in by_columns.values():
            self._store.update(rows_of(list(alike.values()), None))

    def _wait(self) -> None:
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()


def rows_of(
    crops: Sequence[Crop], features: Annotated[NDArray[np.float32], "n 4 D"] | None
) -> pa.Table:
    """Rows of the store; without features those columns alone that `update` changes."""
    import pyarrow as pa

    fixed = schema(1 if features is None else features.shape[2])
    boxes = [None if crop.box is None else dict(zip(BOX, crop.box, strict=True)) for crop in crops]
    columns: dict[str, Any] = {
        "id": [crop.identifier for crop in crops],
        "path": [crop.path for crop in crops],
        "box": pa.array(boxes, fixed.field("box").type),
        "stamp": [crop.stamp for crop in crops],
    }
    names = sorted({name for crop in crops for name in crop.values})
    for name in ("camera", "time", "track"):
        if features is not None or name in names:
            columns[name] = pa.array([_text(crop.values.get(name)) for crop in crops], pa.string())
    for name in names:
        if name not in columns:
            columns[name] = _column(name, [crop.values.get(name) for crop in crops])
    if features is not None:
        flat = pa.array(features.astype(np.float16).ravel())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, features[0].size)
    return pa.table(columns)


def _text(value: Value) -> str | None:
    return None if value is None else str(value)


def _column(name: str, values: Sequence[Value]) -> pa.Array:
    """A column of numbers or text; of type null where it is empty.

    Raises:
        UserError: it mixes them.
    """
    import pyarrow as pa

    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(
            f"the column {name!r} mixes numbers and text: call one otherwise"
        ) from error
