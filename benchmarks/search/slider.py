"""How long a moved weight takes to re-rank a gallery, over HTTP as the page asks.

The gallery is made up: people are clusters of 20 unit vectors per branch. A line per figure:
NAME VALUE UNIT; ends with 1 where the slowest of the moves takes longer than `LIMIT_MS`.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import numpy as np
import pyarrow as pa
import uvicorn
from benchmarks.search.made_up import describe

from pyramid_reid.core import printing
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search.serve.app import create
from pyramid_reid.search.serve.log import SearchLog
from pyramid_reid.search.serve.run import listen, settings
from pyramid_reid.search.serve.security import Access
from pyramid_reid.search.store import Store
from pyramid_reid.search.store.rows import schema

DIM = 512
PER_PERSON = 20
SPREAD = 0.7
"""Of a person's crops around their mean, as a share of its length."""
ROWS = 10_000
LIMIT_MS = 200
HITS = 50


def fill(folder: Path, crops: int, seed: int) -> Store:
    """A store of made-up crops, with its index."""
    rng = np.random.default_rng(seed)
    store = Store.create(folder, describe())
    with store.writing():
        for start in range(0, crops, ROWS):
            number = min(ROWS, crops - start)
            people = rng.standard_normal((-(-number // PER_PERSON), 4, DIM), np.float32)
            features = np.repeat(people, PER_PERSON, axis=0)[:number]
            features += SPREAD * rng.standard_normal(features.shape, np.float32)
            features /= np.linalg.norm(features, axis=2, keepdims=True)
            store.add(rows(features.astype(np.float16), start))
        print(store.build_index(), file=sys.stderr)
    return store


def rows(features: np.ndarray, start: int) -> pa.Table:
    """Rows of a store: (n, 4, D) features, numbered from `start`."""
    names = [f"{start + number:07d}" for number in range(len(features))]
    columns = schema(DIM)
    known = {
        "id": [hashlib.sha256(name.encode()).hexdigest() for name in names],
        "path": [f"{name}.png" for name in names],
        "camera": [f"camera {int(name) % 8}" for name in names],
    }
    flat = pa.array(features.ravel(), pa.float16())
    arrays = [
        pa.FixedSizeListArray.from_arrays(flat, 4 * DIM)
        if field.name == "vector"
        else pa.array(known[field.name], field.type)
        if field.name in known
        else pa.nulls(len(names), field.type)
        for field in columns
    ]
    return pa.table(arrays, schema=columns)


def moves(number: int, seed: int) -> list[dict[str, float]]:
    """Weights as a hand moves the sliders, one at a time."""
    rng = np.random.default_rng(seed)
    weights, taken = dict.fromkeys(BRANCHES, 50.0), []
    for _ in range(number):
        branch = BRANCHES[rng.integers(len(BRANCHES))]
        weights[branch] = float(rng.integers(1, 101))
        taken.append(dict(weights))
    return taken


def timed(port: int, crop: str, number: int, options: dict[str, object]) -> np.ndarray:
    """Milliseconds of each move, over one connection."""
    connection = http.client.HTTPConnection("localhost", port)
    times = []
    for weights in moves(number, 1):
        body = json.dumps({"ids": [crop], "weights": weights, "k": HITS, **options})
        begun = time.perf_counter()
        connection.request("POST", "/api/search", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        told = json.loads(answer.read())
        times.append(1000 * (time.perf_counter() - begun))
        if answer.status != 200 or len(told["hits"]) != HITS:
            sys.exit(f"{answer.status}: {told.get('error') or len(told['hits'])}, not {HITS} hits")
    return np.array(times)


def main() -> None:
    """Fill a store, serve it, and move the sliders."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--crops", type=int, default=100_000)
    parser.add_argument("--moves", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = fill(Path(folder) / "store", given.crops, given.seed)
        model = SimpleNamespace(
            description=store.description, weights=store.description.weights, dim=DIM
        )
        log = SearchLog(Path(folder) / "searches.jsonl")
        app = create(store, model, Access(True, {}), log)  # type: ignore[arg-type]
        listening = listen("127.0.0.1", 0)
        server = uvicorn.Server(settings(app))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            port = listening.getsockname()[1]
            crop = hashlib.sha256(b"0000000").hexdigest()
            slowest = 0.0
            for name, options in (
                ("index", {}),
                ("index_one_camera", {"cameras": ["camera 0"]}),
                ("exact", {"exact": True}),
            ):
                timed(port, crop, 3, options)
                number, used = (given.moves if name == "index" else 20), time.process_time()
                times = timed(port, crop, number, options)
                used = 1000 * (time.process_time() - used) / number
                print(f"slider.{name}.cpu {used:.1f} ms")  # of all threads, whatever else runs
                print(f"slider.{name}.median {np.median(times):.1f} ms")
                print(f"slider.{name}.p95 {np.quantile(times, 0.95):.1f} ms")
                print(f"slider.{name}.max {times.max():.1f} ms", flush=True)
                if name == "index":
                    slowest = times.max()
        finally:
            server.should_exit = True
            thread.join()
        listening.close()
    print(f"slider.crops {given.crops} crops")
    sys.exit(1 if slowest > LIMIT_MS else 0)


if __name__ == "__main__":
    main()
