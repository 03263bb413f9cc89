"""What evaluation costs, beside torchreid's evaluators and bare NumPy.

Needs no data: distances and features are random, at the sizes of public sets. Ratios are medians
of runs that alternate in this one program. torchreid's Cython evaluator is compiled in the PyPI
package pyppbox-torchreid; to measure against it, give the folder it is installed in:

    pip install --no-deps --target FOLDER pyppbox-torchreid
    python -m benchmarks.evaluation.speed --cython FOLDER

Figures, besides times in seconds (s):
    speedup_vs_python, speedup_vs_cython    our metrics, times as fast (the Python evaluator is
                                            timed on some of the queries and scaled up)
    fused.vs_numpy                          fused evaluation from four files / reading and adding
                                            them in NumPy
    mta.vs_gemm                             features to metrics of four branches and their fusion /
                                            the four matrix products alone
    mta.peak_memory                         resident, of the process that does all of that
    sweep.time                              all fusion weights in steps of 0.05, ten splits
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))
MODULE = "benchmarks.evaluation.speed"

from benchmarks.peak_memory import peak_memory  # noqa: E402

from pyramid_reid.core.runtime import pin_environment  # noqa: E402

THREADS = 2
pin_environment(THREADS)

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.params import BRANCHES  # noqa: E402
from pyramid_reid.evaluation.rankings import Judging, evaluate_splits, report  # noqa: E402
from pyramid_reid.retrieval.distance import (  # noqa: E402
    DistanceReader,
    normalize,
    write_cosine_distances,
)
from pyramid_reid.retrieval.fusion import fuse  # noqa: E402
from pyramid_reid.retrieval.metrics import Judge, evaluate, rows_at_a_time, summary  # noqa: E402
from pyramid_reid.retrieval.rerank import Rerank, rerank  # noqa: E402
from pyramid_reid.retrieval.sweep import Sweep, simplex  # noqa: E402

MARKET = (3368, 19732, 751, 6)
"""Queries, gallery images, identities and cameras of Market-1501."""
MTA = (15165, 60448, 2000, 6)
"""Those of MTA-ReID; its number of test identities is rounded."""
CAVIAR = (250, 250, 25, 2)
FEATURES = 512
"""Length of OSNet's feature."""
PYTHON_QUERIES = 200
"""Queries on which the slow evaluator is timed."""
GIB = 2**30

Labels = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def labels(size: tuple[int, int, int, int], seed: int = 0) -> Labels:
    """Random query pids and camids, gallery pids and camids."""
    rng = np.random.default_rng(seed)
    queries, gallery, people, cameras = size
    return (
        rng.integers(people, size=queries),
        rng.integers(cameras, size=queries),
        rng.integers(people, size=gallery),
        rng.integers(cameras, size=gallery),
    )


def medians(repeats: int, *functions: Callable[[], object]) -> list[float]:
    """Median seconds of each function, run in turn."""
    times: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for function, of_function in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            of_function.append(time.perf_counter() - start)
    return [statistics.median(of_function) for of_function in times]


def say(name: str, value: float, unit: str) -> None:
    """Print one figure."""
    print(f"evaluation.{name} {value:.3g} {unit}", flush=True)


def against_torchreid(size: tuple[int, int, int, int], cython: Path | None, repeats: int) -> None:
    """Time our metrics and torchreid's on the same matrix, and check that they agree."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchreid.reid.metrics.rank import eval_market1501
    distmat = np.random.default_rng(1).random(size[:2], np.float32)
    query_pids, query_camids, gallery_pids, gallery_camids = of = labels(size)
    theirs_order = (query_pids, gallery_pids, query_camids, gallery_camids)
    some = min(PYTHON_QUERIES, size[0])

    def python() -> float:
        some_of = (query_pids[:some], gallery_pids, query_camids[:some], gallery_camids)
        return float(eval_market1501(distmat[:some], *some_of, 20)[1])

    def compiled() -> float:
        return float(evaluate_cy(distmat, *theirs_order, 20, False)[1])

    functions: list[Callable[[], object]] = [lambda: evaluate(distmat, *of), python]
    if cython is not None:
        sys.path.insert(0, str(cython / "pyppbox_torchreid" / "metrics" / "rank_cylib"))
        from rank_cy import evaluate_cy

        theirs_order = tuple(np.asarray(values, np.int64) for values in theirs_order)
        functions.append(compiled)
    with contextlib.redirect_stdout(io.StringIO()):
        ours, slow, *fast = medians(repeats, *functions)
    our_map = summary(evaluate(distmat[:some], query_pids[:some], query_camids[:some], *of[2:]))
    if abs(our_map["mAP"] / 100 - python()) > 1e-9:
        sys.exit("the evaluators disagree")
    say("market.time", ours, "s")
    say("market.speedup_vs_python", slow * size[0] / some / ours, "x")
    if fast:
        say("market.speedup_vs_cython", fast[0] / ours, "x")


def fused_from_files(size: tuple[int, int, int, int], folder: Path, repeats: int) -> None:
    """Time the fused evaluation of four files, and NumPy that reads and adds them."""
    rng = np.random.default_rng(2)
    files = {branch: folder / f"{branch}.npy" for branch in BRANCHES}
    for path in files.values():
        np.save(path, rng.random(size[:2], np.float32))
    of, weights = labels(size), dict.fromkeys(BRANCHES, 0.25)
    rows = rows_at_a_time(size[1])

    def ours() -> None:
        judge = Judge(*of)
        with contextlib.ExitStack() as stack:
            readers = [stack.enter_context(DistanceReader(path)) for path in files.values()]
            runs = zip(*(reader.runs(rows) for reader in readers), strict=True)
            for number, parts in enumerate(runs):
                fused = fuse(dict(zip(BRANCHES, parts, strict=True)), weights)
                judge.judge(number * rows, fused)

    def numpy() -> None:
        first, *others = files
        fused = np.load(files[first]) * np.float32(0.25)
        for branch in others:
            fused += np.load(files[branch]) * np.float32(0.25)

    times = medians(repeats, ours, numpy)
    say("fused.time", times[0], "s")
    say("fused.vs_numpy", times[0] / times[1], "x")
    for path in files.values():
        path.unlink()


def random_features(count: int, seed: int) -> np.ndarray:
    """Features of length 1, (count, FEATURES)."""
    rng = np.random.default_rng(seed)
    return normalize(rng.standard_normal((count, FEATURES), np.float32))


def end_to_end(size: tuple[int, int, int, int], folder: Path) -> None:
    """Features to metrics, as the stages do it; alone in its process. Prints seconds and bytes."""
    of, queries = labels(size), size[0]
    tables = [
        pd.DataFrame(
            {"pid": pids, "camid": cams, "ratio": 1, "height": 9, "width": 9, "source": "x"}
        )
        for pids, cams in (of[:2], of[2:])
    ]
    products = total = 0.0
    for number, branch in enumerate(BRANCHES):
        out = folder / branch / "split_0"
        out.mkdir(parents=True)
        features = random_features(sum(size[:2]), number)
        start = time.perf_counter()
        for first in range(0, queries, 256):
            features[first : min(first + 256, queries)] @ features[queries:].T
        products += time.perf_counter() - start
        start = time.perf_counter()
        write_cosine_distances(out / "distmat.npy", features[:queries], features[queries:])
        for role, table in zip(("query", "gallery"), tables, strict=True):
            table.to_csv(out / f"{role}.csv", index=False)
        total += time.perf_counter() - start
    del features
    start = time.perf_counter()
    weights = dict.fromkeys(BRANCHES, 0.25)
    report(evaluate_splits({branch: folder / branch for branch in BRANCHES}, weights, Judging()))
    judged = time.perf_counter() - start
    say("mta.products", products, "s")
    say("mta.time", total + judged, "s")
    say("mta.vs_gemm", (total + judged) / products, "x")
    say("mta.peak_memory", peak_memory(), "GiB")


def sweep(size: tuple[int, int, int, int], splits: int) -> None:
    """Time the whole grid of weights."""
    points = simplex(len(BRANCHES), 0.05)
    rng = np.random.default_rng(3)
    distances = rng.random((len(BRANCHES), *size[:2]), np.float32)
    people = np.arange(size[0]) % size[2]
    judge = Judge(people, np.zeros(size[0]), people, np.ones(size[1]))

    def all_splits() -> None:
        for _ in range(splits):
            Sweep(judge, points).add(0, distances)

    say("sweep.points", len(points), "points")
    say("sweep.time", medians(1, all_splits)[0], "s")


def reranking(size: tuple[int, int, int, int]) -> None:
    """Time re-ranking."""
    query, gallery = random_features(size[0], 4), random_features(size[1], 5)
    (seconds,) = medians(1, lambda: sum(len(run) for _, run in rerank(query, gallery, 1, Rerank())))
    say("rerank.time", seconds, "s")


def main() -> None:
    """Measure and print one line per figure: NAME VALUE UNIT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="sizes divided by ten")
    parser.add_argument("--cython", type=Path, help="folder that holds pyppbox_torchreid/")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only-end-to-end", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    divisor = 10 if arguments.quick else 1
    market, mta = (
        (size[0] // divisor, size[1] // divisor, size[2] // divisor, size[3])
        for size in (MARKET, MTA)
    )
    if arguments.only_end_to_end:
        end_to_end(mta, arguments.only_end_to_end)
        return
    processor = platform.processor() or platform.machine()
    print(f"# {processor}, {os.cpu_count()} cores, {THREADS} threads, NumPy {np.__version__}")
    against_torchreid(market, arguments.cython, arguments.repeats)
    sweep(CAVIAR, 1 if arguments.quick else 10)
    reranking(market)
    with tempfile.TemporaryDirectory() as folder:
        fused_from_files(market, Path(folder), arguments.repeats)
        # a process of its own, whose memory is that of this work alone
        command = [
            sys.executable,
            "-m",
            MODULE,
            "--only-end-to-end",
            f"{folder}/mta",
        ]
        subprocess.run(command + ["--quick"] * arguments.quick, check=True)


if __name__ == "__main__":
    printing.end_when_lost()
    main()
