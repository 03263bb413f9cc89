"""A gallery of a million crops: written, indexed and searched, beside faiss on the same rows.

Prints one figure per line, `NAME VALUE UNIT`, the store's first, then those of faiss:

    python -m benchmarks.search.million                  # half an hour, 10 GB of disk
    python -m benchmarks.search.million --crops 100000
    python -m benchmarks.search.million --crops 10000 --no-faiss --record docs/scale/growth.csv

The last one also puts the figures into a table, in the place of those of as many crops;
benchmarks.search.growth draws it.

Features are made up, 20 crops of each person in a random order, half of them of one camera and half
of another, of ten. They spread as those of TownCentre do (benchmarks.search.spread): around a
common mean, people in 40 directions and a person's crops in 93. What people have in common in the
four branches is an assumption, `SHARED`. Each part runs in a process of its own, so that its peak
memory is its own. Recall is the share of the ten nearest
by exact inner products of the stored rows that is found, latency the median of one query after the
other, all files being in the system's cache. Queries are new crops

- of people in the gallery: `equal`, and with other weights `w_ori_1` and `w_ori_0.4`;
- of people in the gallery, searched in one of their cameras: `a_tenth`;
- of people whom it does not hold: `stranger`.

faiss has the same rows in memory as float16, compared one by one (`flat`), in partitions (`ivf`),
and as codes of one bit in partitions with exact distances of the best 20 per hit (`rabitq`). It is
given as many partitions as the store has, and looks into as many as 20 other queries need for a
recall of 0.98.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402
from benchmarks.peak_memory import peak_memory  # noqa: E402
from benchmarks.search.large import DIM, PER_PERSON, WEIGHTINGS  # noqa: E402
from benchmarks.search.made_up import describe  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.search.distances import proportions  # noqa: E402
from pyramid_reid.search.store import Store, ann  # noqa: E402
from pyramid_reid.search.store.rows import schema  # noqa: E402

BATCH = 10_000
CAMERAS = 10
QUERIES = 100
TUNED_ON = 20
EXACT = 5
"""Queries by which the exact scan's latency is measured: each takes seconds."""
AT = 10
ENOUGH = 0.98
STEP = 611_953
"""A prime: its multiples, taken by the number of crops, put the crops in another order."""
STRANGERS = 10**8
"""Numbers of people whom the gallery does not hold begin here."""

MEAN, BETWEEN, WITHIN = 0.49, 0.32, 0.21
"""Parts of a feature's squared length: what all have in common, people, and a person's crops."""
PEOPLE, SHOTS = 40, 93
"""Dimensions in which people, and a person's crops, spread."""
SHARED = 0.8
"""Part of the variance of people, and of crops, that is the same in all four branches."""

Places = NDArray[np.int64]


def of_rows(places: Places, crops: int) -> tuple[Places, Places]:
    """Who is on the crops of some rows, and which camera saw them."""
    shuffled = places * STEP % crops
    return shuffled // PER_PERSON, cameras(shuffled // PER_PERSON, shuffled % PER_PERSON)


def cameras(people: Places, shots: Places) -> Places:
    """Half of a person's crops are of one camera, half of the next."""
    return (2 * people + (2 * shots) // PER_PERSON) % CAMERAS


def features(people: Places, seed: int) -> NDArray[np.float32]:
    """Features (n, 4, D) of crops of some people; people are the same for any seed."""
    fixed = np.random.default_rng(0)
    bases = np.linalg.qr(fixed.standard_normal((4, DIM, 1 + PEOPLE + SHOTS)))[0].astype(np.float32)
    distinct, inverse = np.unique(people, return_inverse=True)
    looks = np.stack([_drawn(np.random.default_rng(int(each)), 1, PEOPLE)[0] for each in distinct])
    shots = _drawn(np.random.default_rng([seed, 1]), len(people), SHOTS)
    means = np.full((len(people), 4, 1), np.sqrt(MEAN), np.float32)
    parts = [means, np.sqrt(BETWEEN / PEOPLE) * looks[inverse], np.sqrt(WITHIN / SHOTS) * shots]
    made = (np.concatenate(parts, axis=2).swapaxes(0, 1) @ bases.swapaxes(1, 2)).swapaxes(0, 1)
    return np.asarray(made / np.linalg.norm(made, axis=2, keepdims=True), np.float32)


def _drawn(rng: np.random.Generator, number: int, size: int) -> NDArray[np.float32]:
    """Normal numbers (number, 4, size), of which the branches share a part."""
    common = rng.standard_normal((number, 1, size), np.float32)
    own = rng.standard_normal((number, 4, size), np.float32)
    return np.asarray(np.sqrt(SHARED) * common + np.sqrt(1 - SHARED) * own, np.float32)


def write(folder: Path, crops: int) -> None:
    """Write the rows as `index` does, some thousand at a time."""
    store, spent = Store.create(folder / "store", describe()), 0.0
    fixed = schema(DIM)
    with store.writing():
        for start in range(0, crops, BATCH):
            places = np.arange(start, min(crops, start + BATCH))
            people, seen_by = of_rows(places, crops)
            vectors = features(people, start).astype(np.float16)
            count = len(places)
            rows = pa.table(
                {
                    "id": [f"{place:064x}" for place in places],
                    "path": [f"/gallery/{place}.jpg" for place in places],
                    "box": [None] * count,
                    "camera": [f"c{number}" for number in seen_by],
                    "time": [None] * count,
                    "track": [str(person) for person in people],
                    "stamp": ["1:1"] * count,
                    "vector": pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), 4 * DIM),
                },
                schema=fixed,
            )
            began = time.perf_counter()
            store.add(rows)
            spent += time.perf_counter() - began
    say("write.time", f"{spent:.1f} s")


def index(folder: Path, crops: int) -> None:
    """Build the index, as `index` and `optimize` do."""
    store = Store.open(folder / "store")
    began = time.perf_counter()
    with store.writing():
        built = store.build_index()
    say("index.build", f"{time.perf_counter() - began:.1f} s")
    if built is not None:
        say("index.partitions", f"{built.partitions}")
        say("index.looked_into", f"{built.probes}")
        say("index.refined", f"{built.refine}")
    table = folder / "store" / "crops.lance"
    size = sum(file.stat().st_size for file in (table / "_indices").rglob("*.*"))
    say("index.size", f"{size / crops:.0f} B/crop")
    # of the files that the present version has: for an hour, those of the last one are there, too
    size = store.table.stats()["total_bytes"] - size
    say("table.size", f"{size / crops:.0f} B/crop")


def questions(crops: int, number: int, seed: int) -> dict[str, dict[str, Any]]:
    """Per kind of question: queries, weights, and the camera to search in, or None."""
    people = np.linspace(0, crops // PER_PERSON - 1, number).astype(np.int64)
    known = features(people, seed)
    kinds: dict[str, dict[str, Any]] = {
        name: {"queries": known, "weights": weights, "cameras": [None] * number}
        for name, weights in WEIGHTINGS.items()
    }
    seen_by = cameras(people, np.full(number, PER_PERSON - 1))
    kinds["a_tenth"] = {"queries": known, "weights": None, "cameras": seen_by.tolist()}
    strangers = features(STRANGERS + people, seed)
    kinds["stranger"] = {"queries": strangers, "weights": None, "cameras": [None] * number}
    return kinds


def weighted(kind: dict[str, Any]) -> NDArray[np.float32]:
    """Queries whose inner products with the rows rank as the fused distance does, (n, 4 D)."""
    shares = np.array(list(proportions(kind["weights"]).values()), np.float32)
    return np.asarray((kind["queries"] * shares[:, None]).reshape(len(kind["queries"]), -1))


def truth(folder: Path, crops: int) -> None:
    """Rows with the largest inner products, of each query, by one pass over all rows."""
    asked = {
        f"{name}_{of}": (weighted(kind), kind["cameras"])
        for of, number, seed in (("test", QUERIES, 1), ("tuning", TUNED_ON, 2))
        for name, kind in questions(crops, number, seed).items()
    }
    queries = np.concatenate([each for each, _ in asked.values()])
    wanted = np.array(
        [-1 if camera is None else camera for _, of in asked.values() for camera in of]
    )
    best = np.full((len(queries), AT), -np.inf, np.float32)
    rows = np.full((len(queries), AT), -1)
    for batch in Store.open(folder / "store").batches(["id", "camera", "vector"]):
        flat = batch["vector"].flatten().to_numpy(zero_copy_only=False).astype(np.float32)
        products = queries @ flat.reshape(len(batch), -1).T
        seen_by = np.array([int(name[1:]) for name in batch["camera"].to_pylist()])
        products[(wanted[:, None] >= 0) & (wanted[:, None] != seen_by)] = -np.inf
        near = np.argpartition(-products, AT - 1, axis=1)[:, :AT]
        numbers = np.array([int(name, 16) for name in batch["id"].to_pylist()])
        best = np.concatenate([best, np.take_along_axis(products, near, 1)], axis=1)
        rows = np.concatenate([rows, numbers[near]], axis=1)
        kept = np.argsort(-best, axis=1, kind="stable")[:, :AT]
        best, rows = np.take_along_axis(best, kept, 1), np.take_along_axis(rows, kept, 1)
    ends = np.cumsum([len(each) for each, _ in asked.values()])[:-1]
    np.savez(folder / "truth.npz", **dict(zip(asked, np.split(rows, ends), strict=True)))


def search(folder: Path, crops: int) -> None:
    """Latency and recall of the store."""
    began = time.perf_counter()
    store = Store.open(folder / "store")
    right = np.load(folder / "truth.npz")
    kinds = questions(crops, QUERIES, 1)
    store.search(kinds["equal"]["queries"][0], k=AT)
    say("search.first", f"{time.perf_counter() - began:.2f} s")
    for name, kind in kinds.items():
        found, times = [], []
        for query, camera in zip(kind["queries"], kind["cameras"], strict=True):
            where = None if camera is None else f"camera = 'c{camera}'"
            began = time.perf_counter()
            near = store.search(query, kind["weights"], k=AT, where=where)
            times.append(time.perf_counter() - began)
            found.append([int(each, 16) for each in near["id"].to_pylist()])
        tell(f"search.{name}", found, right[f"{name}_test"], times)
    times = []
    for query in kinds["equal"]["queries"][:EXACT]:
        began = time.perf_counter()
        store.search(query, k=AT, exact=True)
        times.append(time.perf_counter() - began)
    say("search.exact.median", f"{1000 * statistics.median(times):.0f} ms")


def tell(name: str, found: Sequence[Sequence[int]], right: Places, times: Sequence[float]) -> None:
    """Print recall and latency."""
    say(f"{name}.recall_at_10", f"{recall(found, right):.3f}")
    say(f"{name}.median", f"{1000 * statistics.median(times):.1f} ms")


def recall(found: Sequence[Sequence[int]] | Places, right: Places) -> float:
    """Share of the nearest that was found."""
    both = [len(set(ours) & set(theirs)) for ours, theirs in zip(found, right, strict=True)]
    return sum(both) / right.size


def say(name: str, value: str) -> None:
    """Print a figure at once."""
    print(name, value, flush=True)


# ---------------------------------------------------------------------- faiss


def read(folder: Path, add: Callable[[NDArray[np.float32]], None]) -> list[Places]:
    """Give all rows of the store to an index, and return their numbers and cameras."""
    numbers, seen_by = [], []
    for batch in Store.open(folder / "store").batches(["id", "camera", "vector"]):
        flat = batch["vector"].flatten().to_numpy(zero_copy_only=False)
        add(flat.astype(np.float32).reshape(len(batch), -1))
        numbers.append(np.array([int(name, 16) for name in batch["id"].to_pylist()]))
        seen_by.append(np.array([int(name[1:]) for name in batch["camera"].to_pylist()]))
    return [np.concatenate(numbers), np.concatenate(seen_by)]


def sample(folder: Path, crops: int, number: int) -> NDArray[np.float32]:
    """Rows from all over the table, to make partitions from."""
    places = np.linspace(0, crops - 1, min(number, crops)).astype(int).tolist()
    vectors = Store.open(folder / "store").table.take_offsets(places).select(["vector"]).to_arrow()
    flat = vectors["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return np.asarray(flat.astype(np.float32).reshape(len(vectors), -1))


def faiss_flat(folder: Path, crops: int) -> None:
    """Every row, as float16."""
    import faiss

    index = faiss.IndexScalarQuantizer(
        4 * DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    measure("flat", index, folder, crops)


def faiss_ivf(folder: Path, crops: int) -> None:
    """Partitions of rows as float16."""
    import faiss

    index = faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(4 * DIM), 4 * DIM, partitions(folder, crops),
        faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT, False,
    )  # fmt: skip
    measure("ivf", index, folder, crops)


def faiss_rabitq(folder: Path, crops: int) -> None:
    """Partitions of codes, and the best rows as float16."""
    import faiss

    base = faiss.IndexIVFRaBitQ(
        faiss.IndexFlatIP(4 * DIM), 4 * DIM, partitions(folder, crops), faiss.METRIC_INNER_PRODUCT
    )
    exact = faiss.IndexScalarQuantizer(
        4 * DIM, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
    )
    measure("rabitq", faiss.IndexRefine(base, exact), folder, crops)


def partitions(folder: Path, crops: int) -> int:
    """As many as the store's index has, or would have."""
    built = ann.read_record(folder / "store")
    return built.partitions if built else max(1, crops // ann.PARTITION)


def measure(name: str, index: Any, folder: Path, crops: int) -> None:
    """Train, fill and search an index of faiss."""
    import faiss

    began, flat = time.perf_counter(), isinstance(index, faiss.IndexScalarQuantizer)
    if not flat:
        base = index.base_index if isinstance(index, faiss.IndexRefine) else index
        base = faiss.downcast_index(base)
        base.cp.niter, base.cp.max_points_per_centroid = 10, 64
        index.train(sample(folder, crops, 64 * base.nlist))
    numbers, seen_by = read(folder, index.add)
    say(f"faiss.{name}.build", f"{time.perf_counter() - began:.1f} s")
    right = np.load(folder / "truth.npz")
    tuning, probes = questions(crops, TUNED_ON, 2), 0
    if not flat:
        for probes in steps(partitions(folder, crops)):
            found, _ = ask(index, tuning["equal"], probes, numbers, seen_by)
            if recall(found, right["equal_tuning"]) >= ENOUGH:
                break
        say(f"faiss.{name}.looked_into", f"{probes}")
    for kind, asked in questions(crops, QUERIES, 1).items():
        if kind in ("equal", "a_tenth", "stranger"):
            found, times = ask(index, asked, probes, numbers, seen_by)
            tell(f"faiss.{name}.{kind}", found.tolist(), right[f"{kind}_test"], times)


def steps(most: int) -> list[int]:
    """Numbers of partitions to try, rising."""
    return sorted({min(most, round(20 * 1.5**step)) for step in range(30)})


def ask(
    index: Any, kind: dict[str, Any], probes: int, numbers: Places, seen_by: Places
) -> tuple[Places, list[float]]:
    """Numbers of the rows that an index finds for each query, and the times."""
    import faiss

    masks = [np.packbits(seen_by == camera, bitorder="little") for camera in range(CAMERAS)]
    selectors = [faiss.IDSelectorBitmap(mask) for mask in masks]
    found, times = [], []
    for query, camera in zip(weighted(kind), kind["cameras"], strict=True):
        given = {} if camera is None else {"sel": selectors[camera]}
        refined = isinstance(index, faiss.IndexRefine)
        if not probes:
            parameters = faiss.SearchParameters(**given)
        elif refined:
            parameters = faiss.IndexRefineSearchParameters(
                k_factor=ann.REFINE,
                base_index_params=faiss.IVFRaBitQSearchParameters(nprobe=probes, **given),
            )
        else:
            parameters = faiss.SearchParametersIVF(nprobe=probes, **given)
        began = time.perf_counter()
        _, near = index.search(query[None], AT, params=parameters)
        times.append(time.perf_counter() - began)
        found.append(np.where(near[0] < 0, -1, numbers[near[0]]))
    return np.array(found), times


STORE = {"write": write, "index": index, "truth": truth, "search": search}
FAISS = {"flat": faiss_flat, "ivf": faiss_ivf, "rabitq": faiss_rabitq}


def run(part: str, folder: Path, crops: int) -> list[list[str]]:
    """Run a part in a process of its own, and pass on what it prints."""
    command = [sys.executable, "-m", "benchmarks.search.million", "--crops", str(crops)]
    command += ["--part", part, "--folder", str(folder)]
    printed = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8") as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            printed.append(line.split())
    if process.returncode:
        sys.exit(f"{part} failed")
    return printed


def record(file: Path, crops: int, figures: Sequence[Sequence[str]]) -> None:
    """Put figures into a table, in the place of those of as many crops."""
    rows = [(str(crops), *[*each, ""][:3]) for each in map(list, figures)]
    if file.exists():
        with file.open(encoding="utf-8", newline="") as table:
            rows += [tuple(row) for row in list(csv.reader(table))[1:] if row[0] != str(crops)]
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(("crops", "figure", "value", "unit"))
        writer.writerows(sorted(rows, key=lambda row: int(row[0])))


def main() -> None:
    """Measure and print."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, help="empty one to keep the store in")
    parser.add_argument("--no-faiss", action="store_true", help="measure the store alone")
    parser.add_argument("--record", type=Path, metavar="CSV", help="put the store's figures there")
    parser.add_argument("--part", choices=[*STORE, *FAISS], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.part:
        (STORE | FAISS)[given.part](given.folder, given.crops)
        prefix = "faiss." if given.part in FAISS else ""
        if given.part != "truth":
            say(f"{prefix}{given.part}.peak_memory", f"{peak_memory():.2f} GiB")
        return
    print(f"# {platform.machine()}, {os.cpu_count()} cores, {given.crops:,} made-up crops")
    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        figures = [figure for part in STORE for figure in run(part, folder, given.crops)]
        if given.record:
            record(given.record, given.crops, figures)
        if given.no_faiss:
            return
        if importlib.util.find_spec("faiss") is None:
            needed = "uv pip install -r benchmarks/requirements.txt"
            print(f"# faiss is not installed: not compared ({needed})")
            return
        for part in FAISS:
            run(part, folder, given.crops)


if __name__ == "__main__":
    main()
