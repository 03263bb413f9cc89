"""How long a model folder takes to load, Python's own start included.

Each figure is the median over fresh processes, which take turns, so that what else the machine
does meets all alike. A folder is made for it: OSNet-x0.25 with random weights in four branches,
bicubic restoration; or give one.

    python -m benchmarks.search.loading [--model DIR] [--runs 9]

Figures in seconds (s) of computing with one thread:
    import_torch    python -c "import torch"
    load            python -c "import pyramid_reid; pyramid_reid.load(DIR)"
    load_beyond_torch   the difference: what loading costs whoever has torch in memory
    first_embed_beyond_torch    the same with the features of one crop, for which networks are built
    pack_model      the stage's program on a finished pipeline, where there is one
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402

CODE = {
    "import_torch": "import torch",
    "load": "import sys, pyramid_reid; pyramid_reid.load(sys.argv[1])",
    "first_embed": "import sys, numpy, pyramid_reid;"
    " pyramid_reid.load(sys.argv[1]).embed([numpy.zeros((80, 40, 3), numpy.uint8)])",
}


def main() -> None:
    """Print the figures."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path)
    parser.add_argument("--runs", type=int, default=9)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.model or made(Path(scratch))
        times: dict[str, list[float]] = {name: [] for name in CODE}
        for _ in range(given.runs):
            for name, code in CODE.items():
                times[name].append(seconds([sys.executable, "-c", code, str(folder)]))
    medians = {name: statistics.median(of_runs) for name, of_runs in times.items()}
    print(f"# {given.runs} runs each, {os.cpu_count()} cores")
    for name in ("import_torch", "load"):
        print(f"loading.{name} {medians[name]:.2f} s")
    for name in ("load", "first_embed"):
        beyond = [
            own - torch for own, torch in zip(times[name], times["import_torch"], strict=True)
        ]
        print(f"loading.{name}_beyond_torch {statistics.median(beyond):.2f} s")
    if (ROOT / "data/evaluation/calibration.json").is_file():
        print(f"loading.pack_model {packing(given.runs):.2f} s")


def packing(runs: int) -> float:
    """Seconds of the stage that packs this checkout's finished pipeline."""
    command = [sys.executable, str(ROOT / "stages/pack_model.py")]
    return statistics.median(seconds(command, ROOT) for _ in range(runs))


def seconds(command: list[str], folder: Path | None = None) -> float:
    """Of computing time of a process, its start included: others on the machine are not in it."""
    before = spent()
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}
    subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
    return spent() - before


def spent() -> float:
    """Seconds that ended children have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def made(scratch: Path) -> Path:
    """A model folder with four networks of random weights."""
    import torch

    from pyramid_reid.core.params import BRANCHES
    from pyramid_reid.reid.network import osnet
    from pyramid_reid.search import description, starting
    from pyramid_reid.search.packing.files import sha256_of

    checkpoint, folder = scratch / "random.pth", scratch / "model"
    torch.save(osnet.build("osnet_x0_25", 2, 0).state_dict(), checkpoint)
    told = starting.pack_start(str(checkpoint), "osnet_x0_25", 256, 128, "bicubic", folder)
    branches = {}
    for seed, (branch, name) in enumerate(zip(description.BRANCH_NAMES, BRANCHES, strict=True)):
        path = folder / f"{name}.safetensors"
        osnet.save(path, osnet.build("osnet_x0_25", 2, seed), "osnet_x0_25", 256, 128)
        file = {"file": path.name, "sha256": sha256_of(path)}
        branches[branch] = told.branches[branch].model_copy(update=file)
    description.write(folder, told.model_copy(update={"branches": branches}))
    return folder


if __name__ == "__main__":
    main()
