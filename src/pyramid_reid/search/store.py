"""The gallery store: a folder with a LanceDB table, a row per crop. Nothing here loads torch.

A row holds `id` (SHA-256 of what the crop was made of), `path`, `box` in a frame or null, `camera`,
`time`, `track`, further columns of the user's, and `vector`: the four branches' features of length
1, one after the other, float16. Weights stand on the query's side: with q = (w_ori q_ori, w_h1
q_h1, ...) the inner product is sum_b w_b - D_final, so that one index serves any weights.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.core.errors import DAMAGED, UserError, reason
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search import ann, description, engine, filters
from pyramid_reid.search.description import Description
from pyramid_reid.search.distances import proportions

if TYPE_CHECKING:
    import pyarrow as pa

Floats = NDArray[np.float32]
Row = dict[str, Any]

TABLE = "crops"
LOCK = "lock"
FORGETTING = "forgetting"
"""A file that is there from before crops are forgotten until nothing of them is left."""
OWN = ("id", "path", "box", "camera", "time", "track")
HIDDEN = ("vector", "stamp")
"""Columns that no table of hits shows; `stamp` tells a file that was not touched since."""
BOX = ("left", "top", "width", "height")
MARGIN = 10
"""Candidates beyond the hits that were asked for: rounding at the last place changes nothing."""
MOVED = 0.11
"""Share of a file's rows that are moved so that what was deleted from it is written no more."""
IN_ONE = 1000
"""Ids in one condition."""
ROWS = 4096
"""Rows that are read at a time."""


class BusyError(UserError):
    """Another process writes into the store."""


class Store:
    """A gallery of crops that are searched by their features.

    Attributes:
        folder: that holds it.
        description: of the model whose features it holds.
    """

    def __init__(self, folder: Path, of: Description) -> None:
        self.folder, self.description = folder, of
        # each question sees what was written before it, by whichever process
        self._database = engine.load().connect(folder, read_consistency_interval=timedelta(0))
        self._opened: Any = None

    @classmethod
    def create(cls, folder: str | Path, of: Description) -> Store:
        """Make an empty store, or open one that is there.

        Args:
            of: the model's description.

        Raises:
            UserError: the folder holds something else, a store of another model, or cannot be made.
        """
        folder = Path(folder)
        if (folder / description.FILE).exists():
            store = cls.open(folder)
            store.check(of)
            if store.description == of:
                return store
        try:
            folder.mkdir(parents=True, exist_ok=True)
            others = sorted(set(os.listdir(folder)) - {LOCK, NEW})  # noqa: PTH208
            if others and description.FILE not in others:
                raise UserError(
                    f"{folder} is no store and not empty (it holds {others[0]!r}): give a folder"
                    " that does not exist yet"
                )
            # of the same features, other weights and another calibration may have been given
            text = json.dumps(of.model_dump(mode="json"), indent=2, sort_keys=True) + "\n"
            (folder / NEW).write_text(text, encoding="utf-8")
            (folder / NEW).replace(folder / description.FILE)
        except OSError as error:
            raise UserError(f"{folder} cannot be written: {error.strerror}") from error
        return cls(folder, of)

    @classmethod
    def open(cls, folder: str | Path) -> Store:
        """Open a store.

        Raises:
            UserError: there is none, or it is damaged or of another version.
        """
        folder = Path(folder)
        if not (folder / description.FILE).is_file():
            raise UserError(
                f"{folder} is no gallery store: make one with `pyramid-reid index GALLERY --store"
                f" {folder}`"
            )
        return cls(folder, description.parse(folder / description.FILE))

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
        with self._guarded("locked"):
            file = (self.folder / LOCK).open("a+")
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.seek(0)
                raise BusyError(
                    f"{self.folder} is being written by process {file.read().strip() or '?'}"
                    " (`index` or `forget`): wait until it ends, or end it"
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            if (self.folder / FORGETTING).exists():
                self._purge()
            yield

    # ------------------------------------------------------------------ reading

    @property
    def table(self) -> Any:
        """The LanceDB table, for what this class has no method for; None while it has no row."""
        if self._opened is None:
            with self._guarded("opened"):
                if (self.folder / f"{TABLE}.lance").exists() and TABLE in _names(self._database):
                    self._opened = self._database.open_table(TABLE)
        return self._opened

    def columns(self) -> list[str]:
        """Columns that hits have beside their distances."""
        names = list(OWN) if self.table is None else self.table.schema.names
        return [name for name in names if name not in HIDDEN]

    def count(self, where: str | None = None) -> int:
        """Crops, or those that a condition holds for.

        Raises:
            UserError: the condition does not parse.
        """
        if self.table is None:
            return 0
        with self._filtering(where) as condition:
            return int(self.table.count_rows(condition))

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
        if self.table is None:
            return
        with self._filtering(where) as condition:
            query = self.table.search()
            query = query.where(condition) if condition else query
            query = query.select(list(columns)) if columns is not None else query
            yield from query.to_batches(ROWS)

    def rows(self, where: str | None, offset: int, limit: int) -> list[Row]:
        """Some of the rows, or of those that a condition holds for, as `row` gives them.

        Raises:
            UserError: the condition does not parse, or the table cannot be read.
        """
        if self.table is None:
            return []
        with self._filtering(where) as condition:
            query = self.table.search()
            query = query.where(condition) if condition else query
            rows: list[Row] = (
                query.select(self.columns()).offset(offset).limit(limit).to_arrow().to_pylist()
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
        if self.table is None or not start or not set(start) <= set("0123456789abcdef"):
            return []
        end = start + "g"  # comes after any further digit
        with self._guarded("read"):
            query = self.table.search().where(f"id >= '{start}' and id < '{end}'")
            return sorted(query.select(["id"]).limit(10).to_arrow()["id"].to_pylist())

    def crop(self, identifier: str) -> bytes:
        """A crop as a JPEG or PNG file: its own, or cut from its frame.

        Raises:
            UserError: the store has no such crop, or its file is gone or another by now.
        """
        row = self._row(identifier)
        path = Path(row["path"])
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from error
        if crop_id(hashlib.sha256(content).digest(), box_of(row)) != identifier:
            raise UserError(f"{path} is another file than was indexed: run `pyramid-reid index`")
        if row["box"] is None and content[:3] == b"\xff\xd8\xff":
            return content
        if row["box"] is None and content[:4] == b"\x89PNG":
            return content
        return _cut(path, content, box_of(row))

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
        import pyarrow as pa

        shares = np.array(list(proportions(weights).values()), np.float32)
        query = np.asarray(vector, np.float32).reshape(len(BRANCHES), -1)
        if self.table is None:
            raise UserError(f"{self.folder} holds no crops yet: run `pyramid-reid index`")
        width = self.table.schema.field("vector").type.list_size
        if query.size != width:
            raise ValueError(f"the query has {query.size} numbers, the store's vectors {width}")
        if not np.isfinite(query).all():
            raise ValueError("the query's features are no numbers")
        if k < 1:
            raise ValueError(f"{k} hits cannot be asked for: at least 1")
        names = self.columns()
        found = self._retrying(
            lambda: self._nearest(
                (shares[:, None] * query).ravel(), k, where, [*names, "vector"], exact=exact
            ),
            where,
        )
        per_branch = distances_to(query, unit(found["vector"].combine_chunks()))
        fused = per_branch @ shares
        order = np.lexsort((found["id"].to_numpy(zero_copy_only=False).astype(str), fused))[:k]
        hits = found.select(names).take(order)
        hits = hits.append_column("distance", pa.array(fused[order], pa.float32()))
        for number, branch in enumerate(BRANCHES):
            hits = hits.append_column(branch, pa.array(per_branch[order, number], pa.float32()))
        return hits

    def _nearest(
        self, query: Floats, k: int, where: str | None, columns: list[str], *, exact: bool
    ) -> pa.Table:
        with self._filtering(where) as condition:
            search = self.table.search(query, vector_column_name="vector").distance_type("dot")
            search = search.limit(k + MARGIN).select([*columns, "_distance"])
            if condition:
                search = search.where(condition, prefilter=True)
            probes = None if exact else ann.probes(self.folder)
            if probes is None:
                search = search.bypass_vector_index()
            else:
                # a filter may leave fewer hits in these partitions: then more are looked into
                search = search.minimum_nprobes(probes).maximum_nprobes(0)
                search = search.refine_factor(ann.REFINE)
            return search.to_arrow()

    def _retrying(self, ask: Any, where: str | None) -> Any:
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
                the store.

        Raises:
            UserError: a column has another type than in the store, or nothing can be written.
        """
        import pyarrow as pa

        with self._guarded("written"):
            if self.table is None:
                self._opened = self._database.create_table(TABLE, rows, mode="create")
                return
            there = self.table.schema
            new = [field for field in rows.schema if field.name not in there.names]
            if new:
                self.table.add_columns(pa.schema(new))
            arrays = []
            for field in self.table.schema:
                if field.name not in rows.schema.names:
                    arrays.append(pa.nulls(len(rows), field.type))
                    continue
                try:
                    arrays.append(rows[field.name].cast(field.type))
                except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
                    raise UserError(
                        f"the column {field.name!r} is {field.type} in {self.folder}, and what is"
                        f" added is not ({reason(error)}): call it otherwise"
                    ) from error
            self.table.add(pa.table(arrays, schema=self.table.schema))

    def update(self, rows: pa.Table) -> None:
        """Change columns of crops that are there, found by `id`."""
        with self._guarded("written"):
            new = [field for field in rows.schema if field.name not in self.table.schema.names]
            if new:
                import pyarrow as pa

                self.table.add_columns(pa.schema(new))
            self.table.merge_insert("id").when_matched_update_all().execute(rows)

    def remove(self, identifiers: Sequence[str]) -> None:
        """Take crops out of what is searched; `forget` removes them for good."""
        with self._guarded("written"):
            for start in range(0, len(identifiers), IN_ONE):
                listed = ", ".join(map(filters.quoted, identifiers[start : start + IN_ONE]))
                self.table.delete(f"id in ({listed})")

    def forget(self, where: str) -> int:
        """Remove crops, their features, and all old versions that hold them, for good.

        Every file of the table that held such a row is written anew without it, and so is what the
        index holds of that file: codes of features. A kill in between leaves a mark, by which the
        next `index` or `forget` ends it.

        Returns:
            How many.

        Raises:
            UserError: the condition does not parse, or the disk is full.
        """
        number = self.count(where)
        if number:
            with self._guarded("written"), self._filtering(where) as condition:
                (self.folder / FORGETTING).touch()
                held = set(self._places(condition))
                self.table.delete(condition)
            self._purge(held)
        return number

    def _purge(self, held: AbstractSet[int] | None = None) -> None:
        """Write files anew without the rows that are deleted, and remove old versions.

        Args:
            held: numbers of the files that hold such rows; None where nobody knows them.
        """
        if self.table is not None:
            with self._guarded("cleaned (what was to be forgotten is not found, but not all gone)"):
                if not self.table.count_rows():
                    self._database.drop_table(TABLE)
                    self._opened = None
                    ann.remove_record(self.folder)
                else:
                    if held is not None:
                        self._move(self._some_of(held))
                        self.optimize(keep=timedelta(0))
                    if held is None or held & set(self._places()):
                        self._move("id is not null")
                        self.optimize(keep=timedelta(0))
        (self.folder / FORGETTING).unlink(missing_ok=True)

    def _places(self, condition: str | None = None) -> dict[int, NDArray[np.uint64]]:
        """Places of rows, sorted, by the number of the file that holds them."""
        query = self.table.search()
        query = query.where(condition) if condition else query
        read = query.select(["id"]).with_row_id(True).to_arrow()
        places = np.sort(read["_rowid"].to_numpy())
        files, starts = np.unique(places >> 32, return_index=True)
        return dict(zip(files.tolist(), np.split(places, starts[1:]), strict=True))

    def _some_of(self, held: AbstractSet[int]) -> str:
        """A condition for so many rows of some files that LanceDB writes these files anew.

        It leaves deleted rows in a file while they are fewer than a tenth. To move all rows, whose
        codes in the index are computed again then, takes three times as long.
        """
        ranges = []
        for file, places in self._places().items():
            if file in held:
                last = places[int(len(places) * MOVED)]
                ranges.append(f"(_rowid >= {places[0]} and _rowid <= {last})")
        return " or ".join(ranges) or "false"

    def _move(self, condition: str) -> None:
        """Write rows anew, at the end of the table."""
        self.table.update(where=condition, values_sql={"id": "id"})

    def optimize(self, keep: timedelta) -> None:
        """Join small files, take new rows into the index, and remove versions older than `keep`."""
        with self._guarded("written"), warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", UserWarning
            )  # about readers of old versions: they retry
            everything = not keep
            # the first makes the version that the second leaves alone
            for _ in range(2 if everything else 1):
                self.table.optimize(cleanup_older_than=keep, delete_unverified=everything)

    def build_index(self, *, anew: bool = False) -> ann.Built | None:
        """Build or keep up the index where the number of rows asks for it; None where nothing was.

        Args:
            anew: build it even if it is up to date.

        Raises:
            UserError: it cannot be written.
        """
        if self.table is None:
            return None
        with self._guarded("indexed"):
            return ann.keep_up(self, anew=anew)

    # ------------------------------------------------------------------ errors

    @contextmanager
    def _guarded(self, what: str) -> Iterator[None]:
        """Turn what LanceDB raises into one sentence."""
        try:
            yield
        except UserError:
            raise
        except DAMAGED as error:
            raise UserError(
                f"{self.folder} cannot be {what} ({said(error)}); what was written before is kept"
            ) from error

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
            self.table.search().where(condition).select(["id"]).limit(1).to_arrow()
        except DAMAGED as error:
            raise filters.refused(condition, error, self.columns()) from error

    def _row(self, identifier: str) -> Row:
        if self.table is not None:
            with self._guarded("read"):
                query = self.table.search().where(f"id = {filters.quoted(identifier)}")
                if found := query.limit(1).to_arrow().to_pylist():
                    row: Row = found[0]
                    return row
        raise UserError(f"{self.folder} holds no crop {identifier!r}")


NEW = f".{description.FILE}.new"
SYSTEM = {
    "os error 28": "the disk is full",
    "os error 27": "a file would be larger than this process may write",
    "os error 13": "it is not permitted",
}
"""Errors of the system by their numbers on Linux."""


def said(error: BaseException) -> str:
    """What LanceDB says of an error, without places in its own source."""
    text = reason(error).split(", /")[0]
    return next((plain for mark, plain in SYSTEM.items() if mark in str(error)), text)


def _names(database: Any) -> list[str]:
    """Tables of a database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return list(database.table_names())


def schema(dim: int) -> pa.Schema:
    """Columns that each store has; a branch's feature has `dim` numbers."""
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            ("id", text),
            ("path", text),
            ("box", pa.struct([(name, number) for name in BOX])),
            ("camera", text),
            ("time", text),
            ("track", text),
            ("stamp", text),
            ("vector", pa.list_(pa.float16(), len(BRANCHES) * dim)),
        ]
    )


Box = tuple[float, float, float, float]


def box_of(row: Row) -> Box | None:
    """Left, top, width and height of a row's crop in its frame, or None."""
    box = row["box"]
    return None if box is None else (box["left"], box["top"], box["width"], box["height"])


def crop_id(content: bytes, box: Box | None) -> str:
    """Id of a crop.

    Args:
        content: SHA-256 of the file's bytes.
        box: in that frame; None where the file is the crop.
    """
    if box is None:
        return content.hex()
    return hashlib.sha256(content + " ".join(f"{value:.6g}" for value in box).encode()).hexdigest()


def unit(vectors: Any) -> Annotated[Floats, "n 4 D"]:
    """A column of vectors as float32, each branch of length 1 again after float16."""
    flat = vectors.flatten().to_numpy(zero_copy_only=False)
    return normalized(flat.astype(np.float32).reshape(len(vectors), len(BRANCHES), -1))


def normalized(features: Annotated[Floats, "n 4 D"]) -> Annotated[Floats, "n 4 D"]:
    """Features of length 1 again after float16; in place."""
    features /= np.linalg.norm(features, axis=2, keepdims=True)
    return features


def distances_to(
    query: Annotated[Floats, "4 D"], gallery: Annotated[Floats, "n 4 D"]
) -> Annotated[Floats, "n 4"]:
    """Cosine distances of a query and crops, per branch."""
    return np.asarray(np.clip(1 - np.einsum("bd,nbd->nb", query, gallery), 0, 2))


def _cut(path: Path, content: bytes, box: Box | None) -> bytes:
    """A crop as PNG, where its file is a frame or of a format that browsers may not show."""
    from PIL import Image

    from pyramid_reid.core.decode import decode
    from pyramid_reid.search.images import cut

    try:
        pixels = decode(content)
        if box is not None:
            left, top, width, height = box
            pixels = cut(pixels, np.array([left, top, left + width, top + height]))
    except ValueError as error:
        raise UserError(f"{path} {error}") from error
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()
