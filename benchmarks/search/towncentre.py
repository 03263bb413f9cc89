"""What a published network does on the crops of the TownCentre sequence, from files to figures.

Packs the start msmt17, indexes every crop, ranks each against all others, and exports the network,
by the commands of docs/use.md, each in a process of its own. Prints `NAME VALUE UNIT`:

    python -m benchmarks.search.towncentre /data/TownCentre           # a folder of PERSON_FRAME.jpg

PYRAMID_REID_WEIGHTS names the folder with osnet_x0_25_msmt17.pth, or it is fetched. Crops of a
person follow each other in one camera, so these figures are far above those between cameras.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402

COLUMNS = r"(?P<pid>\d+)_(?P<frame>\d+)\.jpg"


def run(*arguments: object) -> tuple[dict[str, object], float, float]:
    """What a command answers in JSON, its seconds, and its peak memory in GiB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "pyramid_reid", *map(str, arguments), "--json"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
    )
    answers: list[str] = []
    reader = threading.Thread(target=lambda: answers.append(process.stdout.read()))
    reader.start()
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    reader.join()
    code = os.waitstatus_to_exitcode(status)
    if code:
        sys.exit(f"{' '.join(map(str, arguments))} ended with {code}")
    return json.loads(answers[0]), seconds, used.ru_maxrss / 2**20


def main() -> None:
    """Measure and print."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("crops", type=Path, help="folder of PERSON_FRAME.jpg")
    given = parser.parse_args()
    print(f"# {platform.machine()}, {os.cpu_count()} cores, start msmt17, bicubic restoration")
    with tempfile.TemporaryDirectory() as temporary:
        model, store = Path(temporary) / "model", Path(temporary) / "store"
        run("pack", "--start", "msmt17", "--out", model)
        told, seconds, memory = run(
            "index", given.crops, "--store", store, "--model", model, "--columns-from", COLUMNS
        )
        print(f"towncentre.crops {told['added']} crops")
        print(f"towncentre.index {seconds:.0f} s")
        print(f"towncentre.index_speed {told['added'] / seconds:.1f} crops/s")
        print(f"towncentre.index_memory {memory:.2f} GiB", flush=True)
        query = min(given.crops.glob("*.jpg"))
        _, seconds, memory = run("search", query, "--store", store, "--model", model)
        print(f"towncentre.search_picture {seconds:.1f} s")
        told, seconds, memory = run("evaluate", "--store", store)
        print(f"towncentre.evaluate {seconds:.0f} s")
        for name, figures in told["figures"].items():
            print(f"towncentre.{name}.rank1 {figures['rank1']:.1f} %")
            print(f"towncentre.{name}.mAP {figures['mAP']:.1f} %")
        told, *_ = run(
            "export", "--model", model, "--onnx", Path(temporary) / "onnx", "--crops", given.crops
        )
        network = told["files"][0]
        print(f"towncentre.onnx_difference {network['difference']:.1e}")
        print(f"towncentre.onnx_ranks_alike {network['same_ranking']}")


if __name__ == "__main__":
    main()
