"""Whether the pipeline gives the same bytes whatever the circumstances, and what makes it not to.

Clones the committed project into temporary folders, runs the whole pipeline in each under other
circumstances, and compares the hashes of all outs in dvc.lock with those of a first run: data,
networks, distances, metrics and plots. By default the demo's networks and images train shortly on
few people; `--demo` takes the committed params.

Instruction sets are lowered in two ways. In the environment (`environment`), which the stages
override, nothing may change. In the code itself (`moved`), where the pinned set is replaced, it
shows what the pin is for: these runs count as neither same nor different. Needs Linux.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.pipeline.cost import ROOT, edit

sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.compare import runs
from pyramid_reid.compare.differences import changed_stages, differing
from pyramid_reid.core import printing

SHORT = {
    "data": {"identities": 16, "images_per_camera": 2},
    "restoration": {"iterations": 5},
    "reid": {"epochs": 2, "warmup_epochs": 1},
}
LOWER = {
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "ATEN_CPU_CAPABILITY": "default",
    "MKL_CBWR": "COMPATIBLE",
    "OPENBLAS_CORETYPE": "Nehalem",
}
"""Instruction sets below the pinned ones."""
LOCALE = "de_DE.UTF-8"  # writes numbers with a comma


@dataclass(frozen=True)
class Circumstances:
    """What may surround a run without changing its bytes."""

    environment: Mapping[str, str] = field(default_factory=dict)
    folder: str = "project"
    umask: int = 0o022
    cores: int | None = None
    busy: bool = False
    pinned: Mapping[str, str] = field(default_factory=dict)


SAME = {
    "again": Circumstances(),
    "busy": Circumstances(busy=True),
    "locale": Circumstances({"LC_ALL": LOCALE}),
    "time_zone": Circumstances({"TZ": "XYZ-12:45"}),
    "umask": Circumstances(umask=0o077),
    "user": Circumstances({"USER": "somebody", "LOGNAME": "somebody"}),
    "folder": Circumstances(folder="Ordner für Läufe"),
    "hash_seed": Circumstances({"PYTHONHASHSEED": "7"}),
    "one_core": Circumstances(cores=1),
    "environment": Circumstances(LOWER | {"OMP_NUM_THREADS": "5", "OMP_DYNAMIC": "TRUE"}),
}
AT_ONCE = Circumstances(
    environment={key: value for each in SAME.values() for key, value in each.environment.items()},
    folder=SAME["folder"].folder,
    umask=SAME["umask"].umask,
    cores=1,
    busy=True,
)
MOVED = {f"{key}={value}": Circumstances(pinned={key: value}) for key, value in LOWER.items()}
ALL = SAME | {"all_at_once": AT_ONCE} | MOVED
QUICK = ("all_at_once",)


def make_locale(folder: Path) -> dict[str, str]:
    """Compile the locale, which need not be installed; the variable by which it is found."""
    folder.mkdir()
    command = ["localedef", "-i", LOCALE.partition(".")[0], "-f", "UTF-8", str(folder / LOCALE)]
    subprocess.run(command, check=True)
    return {"LOCPATH": str(folder)}


@contextmanager
def busy_process(*, wanted: bool) -> Iterator[None]:
    """A second process that computes all the time, if it is wanted."""
    if not wanted:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def pin(source: Path, pinned: Mapping[str, str]) -> None:
    """Replace pinned instruction sets in `runtime.py`."""
    text = source.read_text(encoding="utf-8")
    for name, value in pinned.items():
        text, count = re.subn(rf'"{name}": "[^"]*"', f'"{name}": "{value}"', text)
        if count != 1:
            sys.exit(f"{name} is not pinned in {source}")
    source.write_text(text, encoding="utf-8")


def run(root: Path, given: Circumstances, params: dict[str, dict[str, object]]) -> runs.Run:
    """Clone the project to a folder in `root`, run the pipeline there, and read what it made."""
    project = root / given.folder
    subprocess.run(["git", "clone", "-q", ROOT, project], check=True)
    edit(project / "params.yaml", params)
    pin(project / "src/pyramid_reid/core/runtime.py", given.pinned)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    cores = sorted(os.sched_getaffinity(0))[: given.cores]
    with busy_process(wanted=given.busy):
        done = subprocess.run(
            ["taskset", "-c", ",".join(map(str, cores)), "dvc", "repro", "--quiet"],
            cwd=project,
            env=os.environ | {"PATH": path, "HOME": str(root)} | dict(given.environment),
            umask=given.umask,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )
    if done.returncode:
        sys.exit(f"the pipeline failed in {project}:\n{done.stdout}{done.stderr}")
    return runs.read(str(project), project)


def outs(of: runs.Run) -> dict[str, object]:
    """Hash of every out."""
    return {path: hash_ for stage in of.stages.values() for path, hash_ in stage.outs.items()}


def main() -> None:
    """Run, compare, and print one line per figure: NAME VALUE UNIT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="only all circumstances at once")
    parser.add_argument("--demo", action="store_true", help="with the committed params")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(ALL)}")
    arguments = parser.parse_args()
    names = arguments.names or (QUICK if arguments.quick else tuple(ALL))
    if unknown := set(names) - set(ALL):
        parser.error(f"no such circumstances: {', '.join(sorted(unknown))}")
    params = {} if arguments.demo else SHORT
    print(f"# {platform.processor() or platform.machine()}, {os.cpu_count()} cores", flush=True)
    moved: dict[str, int] = {}
    with tempfile.TemporaryDirectory() as folder:
        found = make_locale(Path(folder) / "locale")
        first = run(Path(folder) / "first", Circumstances(), params)
        print(f"{'circumstances':<30} outs that differ, of {len(outs(first))}, and first stage")
        for name in names:
            given = replace(ALL[name], environment=found | dict(ALL[name].environment))
            start, root = time.perf_counter(), Path(folder) / "other"
            other = run(root, given, params)
            moved[name] = len(differing(outs(first), outs(other)))
            where = next(iter(changed_stages(first, other)), "")
            seconds = time.perf_counter() - start
            print(f"{name:<30} {moved[name]:>3} {where:<20} ({seconds:.0f} s)", flush=True)
            shutil.rmtree(root)
    compared = [name for name in names if name not in MOVED]
    different = sum(moved[name] > 0 for name in compared)
    print(f"same_bytes.compared {len(compared)} runs")
    print(f"same_bytes.same {len(compared) - different} runs")
    print(f"same_bytes.different {different} runs")
    for name in filter(MOVED.__contains__, names):
        print(f"same_bytes.moved_by.{name} {moved[name]} outs")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
