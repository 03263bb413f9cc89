"""What a store holds already: such crops are not embedded again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pyramid_reid.search.store import Store
from pyramid_reid.search.store.rows import Box, box_of

UNSURE = ""
"""A stamp that no file has: it is read again."""


class Known:
    """What the store holds: where each crop came from, and what each place (path and box) gave.

    A place has one crop. Where several rows name the same one, because a kill came between adding
    a crop and removing the one before, its file is read again, and tells which is right.

    Attributes:
        version: of the store when all of this held.
    """

    def __init__(self, store: Store) -> None:
        self._rows = dict[str, tuple[str, bytes]]()  # path and place of each crop
        self._places = dict[bytes, tuple[str, str]]()  # id and stamp
        self._rivals = dict[bytes, set[str]]()  # crops of a place that several rows name
        self._replaced = set[str]()
        self._copies = dict[str, set[str]]()  # paths of other files with the same bytes
        self._forgotten = set[str]()
        self.version = store.version()
        for batch in store.batches(["id", "path", "box", "stamp"]):
            for row in batch.to_pylist():
                self._load(row["id"], row["path"], box_of(row), row["stamp"])

    def _load(self, identifier: str, path: str, box: Box | None, stamp: str) -> None:
        place = _place(path, box)
        if (other := self._places.get(place)) and other[0] != identifier:
            self._rivals.setdefault(place, {other[0]}).add(identifier)
            stamp = UNSURE
        self._rows[identifier] = path, place
        self._places[place] = identifier, stamp

    def __contains__(self, identifier: str) -> bool:
        return identifier in self._rows

    def identifiers(self) -> Iterable[str]:
        """Of all crops that are there."""
        return self._rows

    def file(self, identifier: str) -> tuple[str, str]:
        """Path of a crop that is there, and its stamp; `UNSURE` if another crop is there now."""
        path, place = self._rows[identifier]
        holder, stamp = self._places.get(place, ("", UNSURE))
        return path, stamp if holder == identifier else UNSURE

    def at(self, path: str, box: Box | None) -> tuple[str, str] | None:
        """Id and stamp of what was at a place, or None."""
        return self._places.get(_place(path, box))

    def add(self, identifier: str, path: str, box: Box | None, stamp: str) -> None:
        """Note a crop as it was read, new or moved; what was at its place is replaced."""
        place = _place(path, box)
        _, before = self._rows.get(identifier, ("", place))
        if before != place and self._places.get(before, ("", ""))[0] == identifier:
            del self._places[before]
        self._rows[identifier] = path, place
        self._replaced.discard(identifier)
        self._vacate(place, identifier)
        self._places[place] = identifier, stamp

    def add_copy(self, identifier: str, path: str, box: Box | None) -> None:
        """Note a copy of a crop that is elsewhere; what was at the copy's place is replaced."""
        self._copies.setdefault(identifier, set()).add(path)
        self._vacate(_place(path, box), None)

    def _vacate(self, place: bytes, by: str | None) -> None:
        held = self._rivals.pop(place, set())
        if at := self._places.pop(place, None):
            held = held | {at[0]}
        for other in held - self._forgotten - {by}:
            if other in self._rows and self._rows[other][1] == place:
                self._replaced.add(other)

    def pop_replaced(self) -> dict[str, set[str]]:
        """Crops that were replaced and have been met nowhere else; they are unknown from now on.

        Returns:
            By id, paths of files that were left out as their copies.
        """
        gone = {identifier: self._copies.pop(identifier, set()) for identifier in self._replaced}
        self._replaced.clear()
        for identifier in gone:
            del self._rows[identifier]
        return gone

    def refresh(self, store: Store) -> None:
        """Take over what other processes wrote.

        What they removed stays known, so that it does not come back from a file that is still
        there.
        """
        now = Known(store)
        self._forgotten = self._rows.keys() - now._rows.keys()
        self._rows = now._rows | {name: self._rows[name] for name in self._forgotten}
        kept = {place: at for place, at in self._places.items() if at[0] in self._forgotten}
        self._places = kept | now._places
        self._rivals, self.version = now._rivals, now.version


def _place(path: str, box: Box | None) -> bytes:
    return hashlib.blake2b(f"{path}\0{box}".encode(), digest_size=16).digest()
