"""Speed and memory of `simulate` on a made-up set, beside decoding and resizing with Pillow alone.

Prints one figure per line, `NAME VALUE UNIT`:

    python -m benchmarks.datasets.reading           # 36,000 crops of 128x64, some minutes
    python -m benchmarks.datasets.reading --quick   # 2,000 crops

The set is in Market-1501's layout and is run by its protocol; `download` (which lists and hashes
the files) and `simulate` (which reads, checks, splits, degrades, packs and describes them) are the
real stages, in a process each, in a temporary folder. The yardstick opens each file with Pillow,
decodes it and resizes those that are down-sampled, on as many threads as there are cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402

PER_PERSON = 24
"""Crops of a person: 8 in training, or 4 queries and 20 in the gallery, over four cameras."""


def make_set(root: Path, crops: int) -> None:
    """Write JPEG files of noise over a gradient, as hard to decode as photographs."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(40, 200, 128)[:, None, None]
    for place in range(crops):
        pid, image = divmod(place, PER_PERSON)
        camid = image % 4 + 1
        folder = "bounding_box_train" if pid % 2 else "bounding_box_test" if image > 3 else "query"
        coarse = rng.integers(-40, 40, (16, 8, 3)).repeat(8, 0).repeat(8, 1)
        pixels = np.clip(ramp + coarse + rng.normal(0, 8, (128, 64, 1)), 0, 255).astype(np.uint8)
        path = root / folder / f"{pid + 1:04d}_c{camid}s1_{place:06d}_01.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, quality=90)


def pillow_alone(root: Path) -> float:
    """Seconds to decode every file, and to resize a quarter of them by 2, 3 or 4."""
    paths = sorted(root.rglob("*.jpg"))

    def work(place: int) -> None:
        with Image.open(paths[place]) as image:
            pixels = image.convert("RGB")
        if place % 4 == 0:
            ratio = 2 + place // 4 % 3
            pixels = pixels.resize((64 // ratio, 128 // ratio), Image.Resampling.LANCZOS)
        np.asarray(pixels)

    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(work, range(len(paths)), chunksize=64))
    return time.perf_counter() - start


def stage(project: Path, name: str) -> float:
    """Seconds that a stage takes, start of Python included."""
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, f"stages/{name}.py"],
        cwd=project,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return time.perf_counter() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2,000 crops instead of 36,000")
    crops = 2_000 if parser.parse_args().quick else 36_000
    print(f"# {platform.machine()}, {os.cpu_count()} cores, {crops} made-up crops of 128x64")
    with tempfile.TemporaryDirectory() as folder:
        project, root = Path(folder) / "project", Path(folder) / "Market-1501-v15.09.15"
        for name in ("src", "stages"):
            shutil.copytree(ROOT / name, project / name)
        params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
        params["data"] |= {"name": "market1501", "root": str(root)}
        (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
        make_set(root, crops)
        yardstick, ours = [], {"download": [], "simulate": []}
        for _ in range(3):
            yardstick.append(pillow_alone(root))
            for name, seconds in ours.items():
                seconds.append(stage(project, name))
        both = min(sum(pair) for pair in zip(*ours.values(), strict=True))
        print(f"datasets.pillow {min(yardstick):.2f} s")
        for name, seconds in ours.items():
            print(f"datasets.{name} {min(seconds):.2f} s")
        print(f"datasets.time_vs_pillow {both / min(yardstick):.2f} x")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"datasets.peak_memory {peak:.2f} GiB")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
