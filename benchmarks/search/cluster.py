"""`index --ray` on two machines on loopback, beside the embedded command with as many cores.

Indexes a folder of crops three times, each by the command in a process of its own: embedded; on the
cluster; and on the cluster, one of whose machines is killed when half of the rows are there. Then
the last command once more. Prints `NAME VALUE UNIT`, and ends with 1 where rows differ:

    python -m benchmarks.search.cluster                 # the crops of $PYRAMID_REID_DATA/TownCentre
    python -m benchmarks.search.cluster /data/crops --crops 600

The model is made up: OSNet-x0.25 at 256x128 with random weights, bicubic restoration. Each machine
has one core, so that it needs an idle computer with two. Time is that of the whole command, with
its start.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np  # noqa: E402
from benchmarks.search.machines import Machines  # noqa: E402
from benchmarks.search.made_up import write_model  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.datasets.layout import SUFFIXES  # noqa: E402
from pyramid_reid.search.store import Store  # noqa: E402

TOLERANCE = 2e-3
"""Between features (float16, of length 1 per branch) that were computed in other batches."""
POLL_S = 0.5


def chosen(folder: Path, number: int | None, into: Path) -> Path:
    """The first crops of a folder, as links in another one; or the folder where all are meant."""
    if number is None:
        return folder
    into.mkdir()
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    for path in found[:number]:
        (into / path.name).symlink_to(path.resolve())
    return into


def indexed(
    crops: Path, store: Path, model: Path, ray: str | None, meanwhile: Callable[[], bool]
) -> tuple[dict[str, Any], float]:
    """What `index` answers, and its seconds.

    Args:
        meanwhile: is called until it says that it is done.
    """
    start, told = time.perf_counter(), None
    arguments = ["index", crops, "--store", store, "--model", model, "--json"]
    arguments += [] if ray is None else ["--ray", ray]
    process = subprocess.Popen(
        [sys.executable, "-m", "pyramid_reid", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )
    done = meanwhile()
    while told is None:
        try:
            told, _ = process.communicate(timeout=None if done else POLL_S)
        except subprocess.TimeoutExpired:
            done = meanwhile()
    seconds = time.perf_counter() - start
    if process.returncode:
        sys.exit(f"index ended with {process.returncode}")
    if not done:
        sys.exit("index ended before anything could happen meanwhile: give more crops")
    return json.loads(told), seconds


def rows(store: Path) -> int:
    """Rows of a store that may not be there yet."""
    try:
        return Store.open(store).count()
    except UserError:
        return 0


def features(store: Path) -> dict[str, np.ndarray]:
    """Features by id; an id that is there twice ends the benchmark."""
    found = {}
    for names, block in Store.open(store).features():
        for name, row in zip(names, block, strict=True):
            if name in found:
                sys.exit(f"{store} holds {name} twice")
            found[name] = row
    return found


def main() -> None:
    """Measure and print."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="?", help="of crops ($PYRAMID_REID_DATA's)")
    parser.add_argument("--crops", type=int, help="take so many (all)")
    given = parser.parse_args()
    if given.folder is None and "PYRAMID_REID_DATA" not in os.environ:
        parser.error("give a folder of crops, or set PYRAMID_REID_DATA")
    folder = given.folder or Path(os.environ["PYRAMID_REID_DATA"]) / "TownCentre"
    print(f"# {platform.machine()}, {os.cpu_count()} cores, crops of {folder.name}", flush=True)
    with tempfile.TemporaryDirectory() as temporary, Machines() as machines:
        work = Path(temporary)
        model, crops = write_model(work / "model"), chosen(folder, given.crops, work / "crops")
        stores = {name: work / name for name in ("embedded", "cluster", "killed")}

        told, alone = indexed(crops, stores["embedded"], model, None, lambda: True)
        added = told["added"]
        print(f"embedded.crops {added} crops")
        print(f"embedded.speed {added / alone:.1f} crops/s", flush=True)

        told, together = indexed(crops, stores["cluster"], model, machines.address, lambda: True)
        print(f"cluster.speed {told['added'] / together:.1f} crops/s")
        print(f"cluster.speed_vs_embedded {alone / together:.2f} x", flush=True)

        def leave() -> bool:
            if rows(stores["killed"]) < added / 2:
                return False
            machines.leave()
            return True

        told, with_one = indexed(crops, stores["killed"], model, machines.address, leave)
        print(f"killed.added {told['added']} crops")
        print(f"killed.time_vs_cluster {with_one / together:.2f} x", flush=True)
        told, again = indexed(crops, stores["killed"], model, machines.address, lambda: True)
        print(f"again.added {told['added']} crops")
        print(f"again.time {again:.1f} s")
        ours = features(stores["embedded"])
        different = 0.0
        for name in ("cluster", "killed"):
            theirs = features(stores[name])
            if theirs.keys() != ours.keys():
                sys.exit(f"{name}: other ids than embedded")
            different = max(different, *(abs(theirs[key] - ours[key]).max() for key in ours))
        print(f"all.same_ids {len(ours)} crops")
        print(f"all.largest_difference {different:.1e}")
        if different > TOLERANCE:
            sys.exit(f"features differ by more than {TOLERANCE}")


if __name__ == "__main__":
    main()
