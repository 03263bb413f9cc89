"""What the demo costs: time and memory of `dvc repro`, and of one changed fusion weight.

Clones the committed project into a temporary folder and runs the whole pipeline there. Then it
times an experiment that reruns `fuse` and `pack_model`, in turn with the same command where these
two run `true`, which is what DVC takes in this pipeline, and in a bare repository with a single
stage that does nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402

QUICK = {
    "data": {"identities": 6, "images_per_camera": 2},
    "restoration": {"iterations": 3, "batch_size": 2},
    "reid": {"epochs": 2, "warmup_epochs": 1, "batch_size": 4},
}
POLL_S = 0.25
GIB = 2**30


def call(project: Path, *command: str) -> tuple[float, float]:
    """Run a command in `project`; returns its seconds and its peak memory in GiB.

    Memory is the resident size of the command and all that it started, summed, sampled four
    times a second.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryFile("w+") as output:
        start, peak = time.perf_counter(), 0.0
        process = psutil.Popen(
            command, cwd=project, env=os.environ | {"PATH": path}, stdout=output, stderr=output
        )
        while process.poll() is None:
            peak = max(peak, resident(process))
            with contextlib.suppress(psutil.TimeoutExpired):
                process.wait(POLL_S)
        seconds = time.perf_counter() - start
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)} failed:\n{output.read()}")
    return seconds, peak / GIB


def resident(process: psutil.Process) -> float:
    """Bytes that a process and its descendants hold; one that has just ended holds none."""
    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            total += each.memory_info().rss
    except psutil.NoSuchProcess:
        return total
    return total


def commit(project: Path) -> None:
    """Commit everything, whoever the user is."""
    identity = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org")
    subprocess.run(["git", "add", "-A"], cwd=project, check=True)
    subprocess.run(
        ["git", *identity, "commit", "-qm", "benchmark", "--allow-empty"], cwd=project, check=True
    )


def edit(path: Path, changes: Mapping[str, object]) -> None:
    """Change keys of a YAML file, and those of its sections."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, value in changes.items():
        content[name] = content[name] | value if isinstance(value, dict) else value
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def doing_nothing(project: Path, twin: Path) -> None:
    """Copy a project that is up to date; in the copy `fuse` and `pack_model` do nothing."""
    shutil.copytree(project, twin, symlinks=True)
    pipeline = yaml.safe_load((twin / "dvc.yaml").read_text(encoding="utf-8"))
    fuse, pack = (pipeline["stages"][name] for name in ("fuse", "pack_model"))
    written = [*fuse["outs"], *(name for metric in fuse["metrics"] for name in metric)]
    for stage in (fuse, pack):
        stage["cmd"] = "true"
        stage["deps"] = [name for name in stage["deps"] if name not in written]
        for kind in ("outs", "metrics", "plots"):
            stage.pop(kind, None)
    del pipeline["artifacts"]
    (twin / "dvc.yaml").write_text(yaml.safe_dump(pipeline), encoding="utf-8")
    call(twin, "dvc", "repro")
    commit(twin)


def bare(project: Path) -> None:
    """Make a repository whose only stage does nothing; it has the param that is changed."""
    project.mkdir()
    stage = {"cmd": "true", "deps": ["params.yaml"], "params": ["fusion.w_ori"]}
    (project / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"fuse": stage}}), encoding="utf-8")
    params = {"fusion": {"w_ori": 0.25}}
    (project / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    for command in (("git", "init", "-q"), ("dvc", "init", "-q"), ("dvc", "repro")):
        call(project, *command)
    commit(project)


def experiments(projects: Sequence[Path], repeats: int) -> list[float]:
    """Median seconds of `dvc exp run` with another fusion weight, in each project in turn."""
    seconds: list[list[float]] = [[] for _ in projects]
    for number in range(repeats):
        weight = f"fusion.w_ori={0.3 + 0.01 * number:.2f}"
        for project, of_project in zip(projects, seconds, strict=True):
            of_project.append(call(project, "dvc", "exp", "run", "-S", weight)[0])
    return [statistics.median(of_project) for of_project in seconds]


def main() -> None:
    """Measure and print one line per figure: NAME VALUE UNIT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a tiny pipeline instead of the demo")
    parser.add_argument(
        "--cached", action="store_true", help="take the stages from this project's cache"
    )
    parser.add_argument("--repeats", type=int, default=5, help="experiments of each kind")
    arguments = parser.parse_args()
    print(f"# {platform.processor() or platform.machine()}, {os.cpu_count()} cores", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        project = Path(folder) / "project"
        subprocess.run(["git", "clone", "-q", ROOT, project], check=True)
        if arguments.quick:
            edit(project / "params.yaml", QUICK)
        if arguments.cached:
            cache = str(ROOT / ".dvc" / "cache")
            call(project, "dvc", "cache", "dir", "--local", cache)
            call(project, "dvc", "checkout")
        else:
            seconds, memory = call(project, "dvc", "repro", "--force")
            print(f"pipeline.repro {seconds:.0f} s")
            print(f"pipeline.repro_peak_memory {memory:.2f} GiB", flush=True)
        commit(project)
        twin, single = Path(folder) / "twin", Path(folder) / "bare"
        doing_nothing(project, twin)
        bare(single)
        fuse, nothing, least = experiments([project, twin, single], arguments.repeats)
    print(f"pipeline.exp_run_fuse {fuse:.2f} s")
    print(f"pipeline.exp_run_true {nothing:.2f} s")
    print(f"pipeline.exp_run_bare {least:.2f} s")
    print(f"pipeline.exp_run_ratio {fuse / least:.2f} x")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
