"""What it costs that DVC watches the folder of a set: time of the first look and of each later one.

Clones the committed project into a temporary folder, makes up a set in Market-1501's layout, and
runs the download stage and `dvc status` on it, beside the same on a set of three files.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import statistics
import subprocess
import tempfile
from pathlib import Path

from benchmarks.pipeline.cost import ROOT, call, edit

from pyramid_reid.core import printing

FOLDERS = ("bounding_box_train", "query", "bounding_box_test")
FILE_BYTES = 3500  # about that of a crop of 128x64


def make_up(root: Path, files: int) -> Path:
    """Write `files` files that are named, but not made, as Market-1501's images are."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True)
    generator = random.Random(0)  # noqa: S311 (bytes that differ, no secret)
    for number in range(files):
        name = f"{number % 1501:04d}_c1s1_{number:06d}_00.jpg"
        folder = root / FOLDERS[number % len(FOLDERS)]
        (folder / name).write_bytes(generator.randbytes(FILE_BYTES))
    return root


def main() -> None:
    """Measure and print one line per figure: NAME VALUE UNIT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 files instead of 36,000")
    parser.add_argument("--repeats", type=int, default=5, help="of `dvc status`")
    arguments = parser.parse_args()
    print(f"# {platform.processor() or platform.machine()}, {os.cpu_count()} cores", flush=True)
    files = 1000 if arguments.quick else 36_000
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        subprocess.run(["git", "clone", "-q", ROOT, project], check=True)
        status = {}
        for name, count in (("few", len(FOLDERS)), ("many", files)):
            root = make_up(Path(folder) / name, count)
            change = {"data": {"name": "market1501", "root": str(root)}}
            edit(project / "params.yaml", change)
            first = call(project, "dvc", "repro", "-s", "download")[0]
            times = [
                call(project, "dvc", "status", "download")[0] for _ in range(arguments.repeats)
            ]
            status[name] = statistics.median(times)
    print(f"watch.files {files} files")
    print(f"watch.first_run {first:.1f} s")
    print(f"watch.status_unchanged {status['many']:.2f} s")
    print(f"watch.status_three_files {status['few']:.2f} s")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
