"""What a store holds already: such crops are not embedded again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pyramid_reid.search.store import Store
from pyramid_reid.search.store.rows import Box, box_of


class Known:
    """What the store holds: where each crop came from, and what each place (path and box) gave."""

    def __init__(self, store: Store) -> None:
        self._paths = dict[str, str]()
        self._places = dict[bytes, tuple[str, str]]()
        for batch in store.batches(["id", "path", "box", "stamp"]):
            for row in batch.to_pylist():
                self.add(row["id"], row["path"], box_of(row), row["stamp"])

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._paths

    def identifiers(self) -> Iterable[str]:
        """Of all crops that are there."""
        return self._paths

    def path(self, identifier: str) -> str:
        """Path of a crop that is there."""
        return self._paths[identifier]

    def add(self, identifier: str, path: str, box: Box | None, stamp: str) -> None:
        """Note a crop."""
        self._paths[identifier] = path
        self._places[_place(path, box)] = (identifier, stamp)

    def at(self, path: str, box: Box | None) -> tuple[str, str] | None:
        """Id and stamp of what was at a place, or None."""
        return self._places.get(_place(path, box))

    def drop(self, identifier: str, path: str, box: Box | None) -> None:
        """Note that a crop is no longer there."""
        self._paths.pop(identifier, None)
        self._places.pop(_place(path, box), None)


def _place(path: str, box: Box | None) -> bytes:
    return hashlib.blake2b(f"{path}\0{box}".encode(), digest_size=16).digest()
