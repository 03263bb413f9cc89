"""Forgetting: crops, their features, and all old versions that hold them, removed for good.

Every file of the table that held such a row, now or before the row was changed, is written anew
without it, and so is what the index holds of that file: codes of features. A kill in between leaves
a mark, by which the next process that writes ends it.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.search.store import filters
from pyramid_reid.search.store.errors import guarded
from pyramid_reid.search.store.place import names

if TYPE_CHECKING:
    from pyramid_reid.search.store.store import Store

FORGETTING = "forgetting"
"""A file that is there from before crops are forgotten until nothing of them is left."""
MOVED = 0.11
"""Share of a file's rows that are moved so that what was deleted from it is written no more."""


def forget(store: Store, where: str) -> int:
    """Remove the crops that a condition holds for, and what is left of those removed before.

    Returns:
        How many the condition holds for.

    Raises:
        UserError: the condition does not parse, or the disk is full.
    """
    number, held = store.count(where), set[int]()
    with guarded(store.folder, "written"):
        # an old version may hold rows that were changed or removed: what is asked for may be them
        if store.table is None or not (number or len(store.table.list_versions()) > 1):
            return number
        (store.folder / FORGETTING).touch()
        if number:
            condition = filters.condition(where)
            held = set(_places(store.table, condition))
            store.table.delete(condition)
        # rows that were moved or replaced before lie deleted in files of their own
        held |= _with_deleted(store)
    purge(store, held)
    return number


def unfinished(folder: Path) -> bool:
    """Whether a kill left something of what was to be forgotten."""
    return (folder / FORGETTING).exists()


def purge(store: Store, held: AbstractSet[int] | None = None) -> None:
    """Write files anew without the rows that are deleted, and remove old versions.

    Args:
        held: numbers of the files that hold such rows; None where nobody knows them.

    Raises:
        UserError: the disk is full.
    """
    if store.table is not None:
        what = "cleaned (what was to be forgotten is not found, but not all gone)"
        with guarded(store.folder, what):
            if not store.table.count_rows():
                store.drop()
            elif held is None:
                _move(store, "id is not null")
            else:
                for some in (_tenth_of, _all_of):
                    _move(store, some(store.table, held))
                    if not held & set(_places(store.table)):
                        break
    (store.folder / FORGETTING).unlink(missing_ok=True)


def _with_deleted(store: Store) -> set[int]:
    """Numbers of the files that hold deleted rows, and perhaps of some that are gone.

    Lance lists the rows deleted from a file in `_deletions/FILE-VERSION-ID.arrow`, or `.bin`.
    """
    return {int(name.partition("-")[0]) for name in names(store.files / "_deletions")}


def _places(table: Any, condition: str | None = None) -> dict[int, NDArray[np.uint64]]:
    """Places of rows, sorted, by the number of the file that holds them."""
    query = table.search()
    query = query.where(condition) if condition else query
    read = query.select(["id"]).with_row_id(True).to_arrow()
    places = np.sort(read["_rowid"].to_numpy())
    files, starts = np.unique(places >> 32, return_index=True)
    return dict(zip(files.tolist(), np.split(places, starts[1:]), strict=True))


def _tenth_of(table: Any, held: AbstractSet[int]) -> str:
    """A condition for so many rows of some files that LanceDB writes these files anew.

    It leaves deleted rows in a large file while they are fewer than a tenth. To move all rows,
    whose codes in the index are computed again then, takes three times as long.
    """
    ranges = []
    for file, places in _places(table).items():
        if file in held:
            last = places[int(len(places) * MOVED)]
            ranges.append(f"(_rowid >= {places[0]} and _rowid <= {last})")
    return " or ".join(ranges) or "false"


def _all_of(table: Any, held: AbstractSet[int]) -> str:
    """A condition for all rows of some files."""
    ranges = [
        f"(_rowid >= {places[0]} and _rowid <= {places[-1]})"
        for file, places in _places(table).items()
        if file in held
    ]
    return " or ".join(ranges) or "false"


def _move(store: Store, condition: str) -> None:
    """Write rows anew, at the end of the table, and remove all versions but the newest.

    The first time makes the version that the second leaves alone.
    """
    store.table.update(where=condition, values_sql={"id": "id"})
    for _ in range(2):
        store.optimize(keep=timedelta(0))
