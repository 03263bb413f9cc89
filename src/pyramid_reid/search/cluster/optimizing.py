"""A table's files joined and its index built by the machines of a cluster, through lance-ray."""

from __future__ import annotations

import logging
from types import ModuleType

from pyramid_reid.search.cluster import connection
from pyramid_reid.search.store import Store, ann

SEGMENTS = 4
"""Of an index, at most; each is built by one process, and a search looks into each."""

BITS = 1
"""Of the code of each number of a vector, as LanceDB has it."""


class There:
    """Does the work of `ann.Here` on a cluster."""

    def __init__(self, ray: ModuleType) -> None:
        self._cores = connection.share(ray, "cpu").number
        logging.getLogger("lance_ray").setLevel(logging.ERROR)

    def join(self, store: Store) -> None:
        """Join small files on the cluster; what is left is done here."""
        import lance_ray

        lance_ray.compact_files(store.address, num_workers=self._cores)
        ann.Here().join(store)

    def build(self, store: Store) -> None:
        """Find partitions here, and put rows into them on the cluster."""
        import lance_ray

        lance_ray.create_index(
            store.address,
            "vector",
            "IVF_RQ",
            ann.INDEX,
            metric="dot",
            num_partitions=max(1, store.count() // ann.PARTITION),
            target_partition_size=ann.PARTITION,
            max_iters=ann.ITERATIONS,
            sample_rate=ann.PER_PARTITION,
            num_bits=BITS,
            num_workers=self._cores,
            num_segments=min(SEGMENTS, self._cores),
        )
