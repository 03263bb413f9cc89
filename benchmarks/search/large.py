"""Searching, forgetting and adding in a large gallery, beside the exact scan.

Prints one figure per line, `NAME VALUE UNIT`:

    python -m benchmarks.search.large                # 100,000 crops, some minutes
    python -m benchmarks.search.large --crops 30000

Features are made up: 20 crops of each person around a direction of their own, in each of the four
branches. Recall is the share of the ten nearest by the exact scan that the index finds, of queries
that are no rows; latency is that of `Store.search`, in turns with the exact scan. The command is
started cold in a process of its own, and never loads torch.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from benchmarks.peak_memory import peak_memory  # noqa: E402
from benchmarks.search.made_up import describe, write_crops  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.search.gallery import Patterns  # noqa: E402
from pyramid_reid.search.indexing import here, index  # noqa: E402
from pyramid_reid.search.store import Store  # noqa: E402
from pyramid_reid.search.store.rows import schema  # noqa: E402

DIM = 512
PER_PERSON = 20
BATCH = 10_000
QUERIES = 40
WEIGHTINGS = {
    "equal": None,
    "w_ori_1": {"ori": 1.0},
    "w_ori_0.4": {"ori": 2, "h1": 1, "h2": 1, "h3": 1},
}


def features(people: NDArray[np.int64], seed: int) -> NDArray[np.float32]:
    """Features (n, 4, D) of crops of some people, the same direction per person for any seed."""
    distinct, inverse = np.unique(people, return_inverse=True)
    centres = np.stack(
        [np.random.default_rng(int(p)).standard_normal((4, DIM), np.float32) for p in distinct]
    )
    noise = np.random.default_rng([seed, int(people[0])]).standard_normal(
        (len(people), 4, DIM), np.float32
    )
    made = centres[inverse] + np.float32(0.75) * noise
    return np.asarray(made / np.linalg.norm(made, axis=2, keepdims=True))


def batches(crops: int) -> Iterator[pa.Table]:
    """Rows of the store."""
    fixed = schema(DIM)
    for start in range(0, crops, BATCH):
        places = np.arange(start, min(crops, start + BATCH))
        vectors = features(places // PER_PERSON, 0).astype(np.float16)
        count = len(places)
        yield pa.table(
            {
                "id": [f"{place:064x}" for place in places],
                "path": [f"/gallery/{place}.jpg" for place in places],
                "box": [None] * count,
                "camera": [f"c{place % 10}" for place in places],
                "time": [None] * count,
                "track": [str(place // 5) for place in places],
                "stamp": ["1:1"] * count,
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 4 * DIM),
            },
            schema=fixed,
        )


def measure_search(store: Store, crops: int) -> None:
    """Latency and recall with the index, in turns with the exact scan."""
    people = np.linspace(0, crops // PER_PERSON - 1, QUERIES).astype(np.int64)
    queries = features(people, 1)
    for name, weights in WEIGHTINGS.items():
        times, exact_times, found = [], [], 0
        for query in queries:
            start = time.perf_counter()
            near = store.search(query, weights, k=10)
            times.append(time.perf_counter() - start)
            start = time.perf_counter()
            truth = store.search(query, weights, k=10, exact=True)
            exact_times.append(time.perf_counter() - start)
            found += len(set(near["id"].to_pylist()) & set(truth["id"].to_pylist()))
        print(f"search.{name}.recall_at_10 {found / (10 * QUERIES):.3f}")
        print(f"search.{name}.median {1000 * statistics.median(times):.1f} ms")
        print(f"search.{name}.exact_median {1000 * statistics.median(exact_times):.0f} ms")
    times = []
    for query in queries:
        start = time.perf_counter()
        store.search(query, k=10, where="camera = 'c7'")
        times.append(time.perf_counter() - start)
    print(f"search.a_tenth.median {1000 * statistics.median(times):.1f} ms", flush=True)


def cold(folder: Path) -> float:
    """Seconds of `pyramid-reid search ID` from its start to its end."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pyramid_reid", "search", f"{77:064x}", "--store", str(folder)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


class MadeUp:
    """Gives made-up features for crops: what is measured is all but the networks."""

    def embed(self, images: list[object]) -> NDArray[np.float32]:
        """Features of people that the store does not hold."""
        return features(np.arange(10**7, 10**7 + len(images)), 2)


def main() -> None:
    """Measure and print."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=100_000)
    crops = parser.parse_args().crops
    print(f"# {platform.machine()}, {os.cpu_count()} cores, {crops:,} made-up crops")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "store"
        store = Store.create(folder, describe())
        with store.writing():
            for rows in batches(crops):
                store.add(rows)
            start = time.perf_counter()
            built = store.build_index()
        print(f"# {built}")
        print(f"index.build {time.perf_counter() - start:.1f} s")
        size = sum(f.stat().st_size for f in (folder / "crops.lance" / "_indices").rglob("*.*"))
        print(f"index.size {size / crops:.0f} B/crop", flush=True)
        measure_search(Store.open(folder), crops)
        print(f"search.cold_command {min(cold(folder) for _ in range(3)):.2f} s", flush=True)
        start = time.perf_counter()
        with store.writing():
            number = store.forget("track in ('3', '700') or id < '" + f"{90:064x}'")
        print(f"forget.{number}_crops {time.perf_counter() - start:.1f} s", flush=True)
        gallery = Path(temporary) / "gallery"
        write_crops(gallery, 100)
        start = time.perf_counter()
        report = index(store, here(MadeUp), [gallery], Patterns())
        print(f"index.{report.added}_more {time.perf_counter() - start:.1f} s")
    print(f"all.peak_memory {peak_memory():.2f} GiB")


if __name__ == "__main__":
    main()
