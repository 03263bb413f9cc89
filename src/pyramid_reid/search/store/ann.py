"""The index of a store: when it is built, with what parameters, and what it finds.

LanceDB's IvfRq keeps a code of one bit per number (RaBitQ; Gao & Long, SIGMOD 2024) in partitions
of near rows. A search looks into some partitions and ranks the best codes' rows by exact distances.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search.store.place import write_whole

if TYPE_CHECKING:
    from pyramid_reid.search.store import Store

FROM_ROWS = 20_000
"""An exact scan takes less than a tenth of a second below."""
PARTITION = 512
"""Rows of a partition, on average."""
ITERATIONS, PER_PARTITION = 10, 64
"""Of k-means, and rows for each partition, by which partitions are found."""
REFINE, FEWER, MORE = 20, (5, 10), (40, 80, 160)
"""Candidates per hit whose distances are computed exactly: the fewest that find enough, and more
than `REFINE` only where all partitions are looked into. Their vectors lie all over the files, and
to read them takes longer than to look at all codes."""
NEW_ROWS = 2000
"""Rows that are not in the index yet, and are compared one by one, until it is kept up."""
MANY_FILES = 24
"""Files of rows from which on they are joined."""
PIECES = 8
"""Of an index, each of which a search looks into; forgetting adds some. With more it is built anew.
"""
GROWN = 2
"""An index is built anew when there are so many times the rows that it was built for."""
SAMPLE = 20
"""Crops by which recall is measured."""
AT = 10
"""Hits of which recall tells how many were found."""
ENOUGH = 0.99
FILE = "index.json"
INDEX = "vector_idx"
CAMERAS = "camera_idx"
WEIGHTINGS = {"equal weights": None, "w_ori = 1": {"ori": 1.0}}
"""With which recall is measured: partitions are made by all branches, and fit one alone worst."""


@dataclass(frozen=True, slots=True)
class Built:
    """An index.

    Attributes:
        rows: it was built for.
        probes: partitions into which a search looks.
        refine: candidates per hit whose distances are computed exactly.
        recall: share of the nearest `AT` found, per weighting.
    """

    rows: int
    partitions: int
    probes: int
    refine: int
    recall: dict[str, float]

    def __str__(self) -> str:
        found = ", ".join(f"{recall:.3f} for {name}" for name, recall in self.recall.items())
        return (
            f"index over {self.rows:,} crops in {self.partitions} partitions, {self.probes} looked"
            f" into: recall@{AT} against the exact scan {found}"
        )


def read_record(folder: Path) -> Built | None:
    """What is noted of a store's index, or None where it has none."""
    try:
        return Built(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):  # without an index a search is exact
        return None


def remove_record(folder: Path) -> None:
    """Note that there is no index."""
    (folder / FILE).unlink(missing_ok=True)


class Builds(Protocol):
    """What does the work on a large table: `Here`, or `cluster.optimizing.There`."""

    def join(self, store: Store) -> None:
        """Join small files, take new rows into the index, and remove old versions."""

    def build(self, store: Store) -> None:
        """Build the index named `INDEX` of the column `vector`, in place of one that is there."""


class Here:
    """This process."""

    def join(self, store: Store) -> None:
        """As `Builds` says."""
        from datetime import timedelta

        store.optimize(keep=timedelta(hours=1))

    def build(self, store: Store) -> None:
        """As `Builds` says."""
        from lancedb.index import IvfRq

        # LanceDB keeps this size, and joins partitions that are far from it whenever it takes new
        # rows in. A number would be kept until then only: it has a far larger size in mind.
        config = IvfRq(
            distance_type="dot",
            target_partition_size=PARTITION,
            max_iterations=ITERATIONS,
            sample_rate=PER_PARTITION,
        )
        store.table.create_index("vector", config=config, replace=True, name=INDEX)


def keep_up(store: Store, *, anew: bool, by: Builds | None = None) -> Built | None:
    """Join files, build the index or take new rows into it, where that is due.

    Args:
        anew: build it in any case, if there are rows enough.
        by: what does it; None for this process.

    Returns:
        The index, if it changed.
    """
    by = by or Here()
    table, rows = store.table, store.count()
    built, stats = read_record(store.folder), table.index_stats(INDEX)
    grown = stats is None or built is None or rows >= GROWN * built.rows
    grown = grown or stats.num_indices > PIECES
    if rows >= FROM_ROWS and (anew or grown):
        by.join(store)
        remove_record(store.folder)  # until it is known how many partitions to look into
        by.build(store)
        _index_cameras(store)
        return _measured(store, rows, max(1, rows // PARTITION))
    unindexed = stats.num_unindexed_rows if stats else 0
    files = table.stats()["fragment_stats"]["num_fragments"]
    if unindexed >= NEW_ROWS or files >= MANY_FILES:
        by.join(store)
        if stats and built:
            return _measured(store, built.rows, built.partitions)
    return None


def _index_cameras(store: Store) -> None:
    """List the crops of each camera, so that a search in some of them need not read all names."""
    from lancedb.index import Bitmap

    store.table.create_index("camera", config=Bitmap(), replace=True, name=CAMERAS)


def _measured(store: Store, rows: int, partitions: int) -> Built:
    """Choose how much a search looks at by what is found, and note it.

    All weightings get what the worst of them needs. The sample would have others make do with less
    than they need: its queries are rows, and have their neighbours in their own partition more
    often than new crops have.
    """
    names, queries = _sample(store)
    asked = {name: _weighted(queries, weights(given)) for name, given in WEIGHTINGS.items()}
    others = [
        [nearest - {name} for name, nearest in zip(names, of_weights, strict=True)]
        for of_weights in _exact(store, list(asked.values()))
    ]
    nearest = dict(zip(asked, others, strict=True))

    def measured(probes: int, refine: int) -> dict[str, float]:
        return {name: _recall(store, asked[name], nearest[name], probes, refine) for name in asked}

    probes, refine, recall = partitions, REFINE, dict[str, float]()
    tried = [*((step, REFINE) for step in _steps(partitions)), *((partitions, n) for n in MORE)]
    for probes, refine in tried:
        recall = measured(probes, refine)
        if min(recall.values()) >= ENOUGH:
            break
    for fewer in FEWER if refine == REFINE else ():
        found = measured(probes, fewer)
        if min(found.values()) >= min(ENOUGH, *recall.values()):
            refine, recall = fewer, found
            break
    built = Built(rows, partitions, probes, refine, recall)
    write_whole(store.folder / FILE, json.dumps(asdict(built), sort_keys=True) + "\n")
    return built


def _steps(partitions: int) -> list[int]:
    """Numbers of partitions to try, rising; at least 20, as a query costs little then."""
    steps, step = [], min(partitions, 20)
    while step < partitions:
        steps.append(step)
        step = step * 3 // 2
    return [*steps, partitions]


def weights(given: dict[str, float] | None) -> Annotated[NDArray[np.float32], "4"]:
    """Shares of the branches."""
    from pyramid_reid.search.distances import proportions

    return np.array(list(proportions(given).values()), np.float32)


def _sample(store: Store) -> tuple[list[str], NDArray[np.float32]]:
    """Ids and features of some crops from all over the table, (n, 4 D)."""
    places = np.linspace(0, store.count() - 1, SAMPLE).astype(int).tolist()
    rows = store.table.take_offsets(places).select(["id", "vector"]).to_arrow()
    flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return rows["id"].to_pylist(), np.asarray(flat.astype(np.float32).reshape(len(rows), -1))


def _weighted(queries: NDArray[np.float32], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    weighted = queries.reshape(len(queries), len(BRANCHES), -1) * shares[:, None]
    return np.asarray(weighted.reshape(len(queries), -1))


def _exact(store: Store, asked: Sequence[NDArray[np.float32]]) -> list[list[set[str]]]:
    """Ids of the nearest of each query, of all rows in one pass, for several sets of queries."""
    weighted = np.concatenate(asked)
    best = np.full((len(weighted), 0), 0.0)
    ids = np.empty((len(weighted), 0), object)
    for batch in store.batches(["id", "vector"]):
        flat = batch["vector"].flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        products = weighted @ flat.reshape(len(batch), -1).T
        names = batch["id"].to_numpy(zero_copy_only=False)
        best = np.concatenate([best, products], axis=1)
        ids = np.concatenate([ids, np.broadcast_to(names, products.shape)], axis=1)
        near = np.argsort(-best, axis=1, kind="stable")[:, : AT + 1]
        best, ids = np.take_along_axis(best, near, 1), np.take_along_axis(ids, near, 1)
    found = [set(row) for row in ids]
    ends = np.cumsum([len(each) for each in asked]).tolist()
    return [found[end - len(each) : end] for each, end in zip(asked, ends, strict=True)]


def _recall(
    store: Store,
    weighted: NDArray[np.float32],
    truth: Sequence[set[str]],
    probes: int,
    refine: int,
) -> float:
    """Share of the nearest that is found.

    Args:
        truth: ids of the nearest of each query but itself.
    """
    found = 0
    for query, nearest in zip(weighted, truth, strict=True):
        search = store.table.search(query, vector_column_name="vector").distance_type("dot")
        search = search.nprobes(probes).refine_factor(refine)
        near = search.limit(AT + 1).select(["id", "_distance"]).to_arrow()["id"].to_pylist()
        found += len(nearest & set(near))
    return found / sum(map(len, truth))
