"""The gallery store: a folder with a LanceDB table, a row per crop."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from pyramid_reid.core.errors import DAMAGED, UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search import description
from pyramid_reid.search.description import Description
from pyramid_reid.search.distances import proportions
from pyramid_reid.search.store import adding, ann, engine, filters, forgetting, nearest
from pyramid_reid.search.store.errors import guarded
from pyramid_reid.search.store.lock import LOCK, locked
from pyramid_reid.search.store.picture import picture_of
from pyramid_reid.search.store.place import names, place, write_whole
from pyramid_reid.search.store.rows import HIDDEN, OWN, Row
from pyramid_reid.search.store.vectors import Floats, normalized, unit

if TYPE_CHECKING:
    import pyarrow as pa

Result = TypeVar("Result")

TABLE = "crops"
NEW = f"{description.FILE}.partial"
ROWS = 4096
"""Rows that are read at a time."""


class Store:
    """A gallery of crops that are searched by their features.

    Attributes:
        folder: that holds it.
        description: of the model whose features it holds.
    """

    def __init__(self, folder: Path, of: Description) -> None:
        self.folder, self.description = folder, of
        # each question sees what was written before it, by whichever process
        self._database = engine.load().connect(str(folder), read_consistency_interval=timedelta(0))
        self._opened: Any = None

    @classmethod
    def create(cls, folder: str | Path, of: Description) -> Store:
        """Make an empty store, or open one that is there.

        Args:
            of: the model's description.

        Raises:
            UserError: the folder holds something else, a store of another model, or cannot be made.
        """
        folder = place(folder)
        if (folder / description.FILE).exists():
            store = cls.open(folder)
            store.check(of)
            if store.description == of:
                return store
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = sorted(names(folder) - {LOCK, NEW})
            if others and description.FILE not in others:
                raise UserError(
                    f"{folder} is no store and not empty (it holds {others[0]!r}): give a folder"
                    " that does not exist yet"
                )
            # of the same features, other weights and another calibration may have been given
            text = json.dumps(of.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
            write_whole(folder / description.FILE, text)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror or error}") from error
        return cls(folder, of)

    @classmethod
    def open(cls, folder: str | Path) -> Store:
        """Open a store.

        Raises:
            UserError: there is none, but perhaps a model; or it is damaged or of another version.
        """
        folder = place(folder)
        if not (folder / description.FILE).is_file():
            raise UserError(
                f"{folder} is no gallery store: make one with `pyramid-reid index GALLERY --store"
                f" {folder}`"
            )
        found = description.parse(folder / description.FILE)
        if (folder / found.restorer.file).exists():
            raise UserError(
                f"{folder} is a model folder (it holds {found.restorer.file!r}) and no gallery"
                " store: give --store a folder of its own"
            )
        return cls(folder, found)

    def check(self, of: Description) -> None:
        """Check that features of a model may be compared with the store's.

        Raises:
            UserError: they are of another model.
        """
        if of.features != self.description.features:
            raise UserError(
                f"{self.folder} holds features of the model {self.description.name!r}"
                f" ({self.description.features[:12]}), not of {of.name!r} ({of.features[:12]}):"
                " features of two models cannot be compared; give that model, or index into a new"
                " folder"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the one process that writes.

        Raises:
            UserError: another one does.
        """
        with locked(self.folder):
            if forgetting.unfinished(self.folder):
                forgetting.purge(self)
            yield

    # ------------------------------------------------------------------ reading

    @property
    def table(self) -> Any:
        """The LanceDB table, for what this class has no method for; None while it has no row.

        Whichever process forgets the last row removes the table, and another one may make it anew.
        """
        opened = self._opened
        with self._guarded("opened"):
            if not self._begun():
                opened = None
            elif opened is None:
                opened = self._database.open_table(TABLE)
        self._opened = opened
        return opened

    def _begun(self) -> bool:
        """Whether a first version of the table was committed: its folder is there before that."""
        return any(name.endswith(".manifest") for name in names(self.files / "_versions"))

    def version(self) -> tuple[bytes | None, int] | None:
        """What changes with each writing, by whichever process; None while there is no row."""
        table = self.table
        if table is None:
            return None
        with self._guarded("read"):
            return (table.schema.metadata or {}).get(adding.NAME), int(table.version)

    @property
    def files(self) -> Path:
        """The folder of the table."""
        return self.folder / f"{TABLE}.lance"

    @property
    def address(self) -> str:
        """Where Lance finds the table."""
        return str(self.files.absolute())

    def snapshot(self) -> Store:
        """The store as it is now, whatever is written meanwhile; it is only read.

        For questions that belong together: alone, each sees what was written before it.
        """
        return _Snapshot(self)

    def columns(self) -> list[str]:
        """Columns that hits have beside their distances."""
        table = self.table
        return shown(OWN if table is None else table.schema.names)

    def count(self, where: str | None = None) -> int:
        """Crops, or those that a condition holds for.

        Raises:
            UserError: the condition does not parse.
        """
        table = self.table
        if table is None:
            return 0
        with self._filtering(where) as condition:
            return int(table.count_rows(condition))

    def cameras(self) -> list[str]:
        """Names of the cameras, sorted; crops of unknown cameras have none."""
        return self.values("camera")

    def values(self, column: str) -> list[str]:
        """Distinct values of a column of text, sorted, without null."""
        found = set[str]()
        for batch in self.batches([column]):
            found.update(batch[column].unique().to_pylist())
        return sorted(value for value in found if value is not None)

    def batches(
        self, columns: Sequence[str] | None = None, where: str | None = None
    ) -> Iterator[pa.RecordBatch]:
        """All rows, or those that a condition holds for, some thousand at a time.

        Raises:
            UserError: the condition does not parse, or the table cannot be read.
        """
        table = self.table
        if table is None:
            return
        with self._filtering(where) as condition:
            query = table.search()
            query = query.where(condition) if condition else query
            query = query.select(list(columns)) if columns is not None else query
            yield from query.to_batches(ROWS)

    def rows(self, where: str | None, offset: int, limit: int) -> list[Row]:
        """Some of the rows, or of those that a condition holds for, as `row` gives them.

        Raises:
            UserError: the condition does not parse, or the table cannot be read.
        """
        table = self.table
        if table is None:
            return []
        with self._filtering(where) as condition:
            query = table.search()
            query = query.where(condition) if condition else query
            rows: list[Row] = (
                query.select(shown(table.schema.names))
                .offset(offset)
                .limit(limit)
                .to_arrow()
                .to_pylist()
            )
            return rows

    def features(
        self, where: str | None = None
    ) -> Iterator[tuple[list[str], Annotated[Floats, "n 4 D"]]]:
        """Ids and features, float32 of length 1, some thousand at a time."""
        for batch in self.batches(["id", "vector"], where):
            yield batch["id"].to_pylist(), unit(batch["vector"])

    def row(self, identifier: str) -> Row:
        """All columns of a crop but its vector.

        Raises:
            UserError: the store has no such crop.
        """
        return {name: value for name, value in self._row(identifier).items() if name not in HIDDEN}

    def vector(self, identifier: str) -> Annotated[Floats, "4 D"]:
        """A crop's features, float32 of length 1.

        Raises:
            UserError: the store has no such crop.
        """
        found = np.asarray(self._row(identifier)["vector"], np.float32)
        return np.asarray(normalized(found.reshape(1, len(BRANCHES), -1))[0])

    def find(self, start: str) -> list[str]:
        """Ids that begin with some letters, at most ten."""
        if not start or not set(start) <= set("0123456789abcdef"):
            return []
        table = self.table
        if table is None:
            return []
        end = start + "g"  # comes after any further digit
        with self._guarded("read"):
            query = table.search().where(f"id >= '{start}' and id < '{end}'")
            return sorted(query.select(["id"]).limit(10).to_arrow()["id"].to_pylist())

    def crop(self, identifier: str) -> bytes:
        """A crop as a JPEG or PNG file: its own, or cut from its frame.

        Raises:
            UserError: the store has no such crop, or its file is gone or another by now.
        """
        return picture_of(self._row(identifier))

    # ------------------------------------------------------------------ searching

    def search(
        self,
        vector: Annotated[ArrayLike, "..."],
        weights: Mapping[str, float] | None = None,
        k: int = 20,
        where: str | None = None,
        *,
        exact: bool = False,
    ) -> pa.Table:
        """The k nearest crops.

        Args:
            vector: the query's features, (4, D) or (4 D,), each branch of length 1.
            weights: as `pyramid_reid.distances` takes them.
            where: condition in SQL on the columns.
            exact: compare with every crop, not only with those that the index proposes.

        Returns:
            All columns but the vector, then `distance` (fused) and the branches' `ori`, `h1`, `h2`,
            `h3`, the nearest first; at equal distance by id.

        Raises:
            UserError: the condition does not parse, or the store is empty.
            ValueError: weights or vector are not as above.
        """
        shares = np.array(list(proportions(weights).values()), np.float32)
        query = np.asarray(vector, np.float32).reshape(len(BRANCHES), -1)
        schema = self._filled().schema
        names, width = shown(schema.names), schema.field("vector").type.list_size
        if query.size != width:
            raise ValueError(f"the query has {query.size} numbers, the store's vectors {width}")
        if not np.isfinite(query).all():
            raise ValueError("the query's features are no numbers")
        if k < 1:
            raise ValueError(f"{k} hits cannot be asked for: at least 1")
        weighted = (shares[:, None] * query).ravel()

        def ask() -> pa.Table:
            table = self._filled()
            built = None if exact else ann.read_record(self.folder)
            with self._filtering(where) as condition:
                return nearest.candidates(table, weighted, k, condition, names, built)

        return nearest.ordered(self._retrying(ask, where), query, shares, k)

    def _filled(self) -> Any:
        """The table.

        Raises:
            UserError: it has no row.
        """
        table = self.table
        if table is None:
            raise UserError(f"{self.folder} holds no crops yet: run `pyramid-reid index`")
        return table

    def _retrying(self, ask: Callable[[], Result], where: str | None) -> Result:
        """Ask again if `forget` removed the version that was being read."""
        try:
            return ask()
        except UserError:
            if where is not None:
                self.count(where)  # says so if the condition is at fault
            self._opened = None
            return ask()

    # ------------------------------------------------------------------ writing; inside `writing`

    def add(self, rows: pa.Table) -> None:
        """Append crops; the table is made by the first ones. All of them are there, or none.

        Args:
            rows: columns as `schema` gives them, perhaps with further ones, which become columns of
                the store; those of type null do so with their first value.

        Raises:
            UserError: a column has another type than in the store, or nothing can be written.
        """
        with self._guarded("written"):
            table = self.table
            if table is None:
                new = adding.begun(rows)
                self._opened = self._database.create_table(TABLE, new, mode="create")
            else:
                adding.append(table, rows, self.folder)

    def update(self, rows: pa.Table) -> None:
        """Change columns of crops that are there, found by `id`; others are passed over.

        Raises:
            UserError: a column has another type than in the store, or nothing can be written.
        """
        with self._guarded("written"):
            if (table := self.table) is not None:
                adding.update(table, rows, self.folder)

    def remove(self, identifiers: Sequence[str]) -> None:
        """Take crops out of what is searched; the next `forget` removes them for good."""
        with self._guarded("written"):
            if (table := self.table) is not None:
                for condition in filters.among(identifiers):
                    table.delete(condition)

    def forget(self, where: str) -> int:
        """Remove crops, their features, and all old versions that hold them, for good.

        Returns:
            How many.

        Raises:
            UserError: the condition does not parse, or the disk is full.
        """
        return forgetting.forget(self, where)

    def drop(self) -> None:
        """Remove the table and its index; the store is empty then."""
        with self._guarded("written"):
            self._database.drop_table(TABLE)
            self._opened = None
            ann.remove_record(self.folder)

    def optimize(self, keep: timedelta) -> None:
        """Join small files, take new rows into the index, and remove versions older than `keep`."""
        with self._guarded("written"), warnings.catch_warnings():
            # about readers of old versions: they retry
            warnings.simplefilter("ignore", UserWarning)
            self.table.optimize(cleanup_older_than=keep, delete_unverified=not keep)

    def build_index(self, *, anew: bool = False, by: ann.Builds | None = None) -> ann.Built | None:
        """Build or keep up the index where the number of rows asks for it; None where nothing was.

        Args:
            anew: build it even if it is up to date.
            by: what does it; None for this process.

        Raises:
            UserError: it cannot be written.
        """
        if self.table is None:
            return None
        with self._guarded("indexed"):
            return ann.keep_up(self, anew=anew, by=by)

    # ------------------------------------------------------------------ errors

    def _guarded(self, what: str) -> AbstractContextManager[None]:
        return guarded(self.folder, what)

    @contextmanager
    def _filtering(self, where: str | None) -> Iterator[str | None]:
        """A condition for a question to the table, or None.

        Raises:
            UserError: it does not parse, or the table cannot be read.
        """
        condition = None if where is None else filters.condition(where)
        with self._guarded("read"):
            try:
                yield condition
            except DAMAGED:
                if condition is not None:
                    self._try(condition)
                raise

    def _try(self, condition: str) -> None:
        """Raise UserError if a condition does not parse."""
        try:
            self._filled().search().where(condition).select(["id"]).limit(1).to_arrow()
        except DAMAGED as error:
            raise filters.refused(condition, error, self.columns()) from error

    def _row(self, identifier: str) -> Row:
        table = self.table
        if table is not None:
            with self._guarded("read"):
                query = table.search().where(f"id = {filters.quoted(identifier)}")
                if found := query.limit(1).to_arrow().to_pylist():
                    row: Row = found[0]
                    return row
        raise UserError(f"{self.folder} holds no crop {identifier!r}")


def shown(columns: Sequence[str]) -> list[str]:
    """Those of the table's columns that hits have."""
    return [name for name in columns if name not in HIDDEN]


class _Snapshot(Store):
    """A store at one version of its table, or without one.

    `forget` removes old versions: then a question raises UserError, and another snapshot answers.
    """

    def __init__(self, of: Store) -> None:
        self.folder, self.description, self._opened = of.folder, of.description, None
        if of.table is not None:
            with of._guarded("opened"):  # noqa: SLF001
                self._opened = of._database.open_table(TABLE)  # noqa: SLF001
                self._opened.checkout(self._opened.version)

    @property
    def table(self) -> Any:
        """The table, which stays as it was."""
        return self._opened

    def _retrying(self, ask: Callable[[], Result], where: str | None) -> Result:  # noqa: ARG002
        return ask()
