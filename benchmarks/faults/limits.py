"""A machine that refuses: no room, folders that are read-only, another `dvc repro`."""

from __future__ import annotations

import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.faults.project import TINY, Done, Project, mounted
from benchmarks.faults.verdicts import Reference, Tried, follow, settle
from benchmarks.pipeline.cost import edit

START_KIB, STEP_KIB = 6400, 4000
"""Size of a small disk at first, and how much it grows each time that it was full."""
ROUNDS = 60
PARTS = ".dvc/cache/files/md5/*/.*.tmp"
"""Where DVC leaves the beginnings of files that no longer fitted into its cache."""


def full_disk(reference: Reference, folder: Path, *, quick: bool) -> Iterator[Tried]:
    """Run the pipeline on a disk that is too small, and grows a little each time that it is full.

    What DVC notes of files is on another disk: where that one is full, DVC itself (3.67.1) waits
    without a word until it is not. Yields nothing where this user may mount nothing.
    """
    size = START_KIB
    with mounted(folder, "-t", "tmpfs", "-o", f"size={size}k", "tmpfs") as allowed:
        if not allowed:
            return

        def grow() -> None:
            nonlocal size
            size += STEP_KIB
            # docs/robustness.md advises it: what DVC left of them fills all the room it is given
            for part in project.folder.glob(PARTS):
                part.unlink()
            subprocess.run(["mount", "-o", f"remount,size={size}k", str(folder)], check=True)

        project = Project.made(folder, TINY)
        yield from until_it_fits("full disk", project, reference, project.repro, grow, quick=quick)


def small_files(reference: Reference, folder: Path, *, quick: bool) -> Iterator[Tried]:
    """Run the pipeline where files may have some KiB only, and more each time that it failed."""
    project = Project.made(folder, TINY, last="train_reid@ori")
    blocks = 128

    def run() -> Done:
        return project.start("dvc", "repro", project.last, blocks=blocks).wait()

    def grow() -> None:
        nonlocal blocks
        blocks = blocks * 2

    yield from until_it_fits("file size limit", project, reference, run, grow, quick=quick)


def until_it_fits(
    fault: str,
    project: Project,
    reference: Reference,
    run: Callable[[], Done],
    grow: Callable[[], None],
    *,
    quick: bool,
) -> Iterator[Tried]:
    """Each failure must be clear, nothing corrupt noted, and the end must be right."""
    tried: list[Tried] = []
    for _ in range(ROUNDS):
        done = run()
        if done.code == 0:
            break
        noted = project.lock
        corrupt = [
            path
            for stage, outs in noted.items()
            for path, hash_ in outs.items()
            # a full disk may have cut off the last path or hash
            if not reference.lock.get(stage, {}).get(path, hash_).startswith(hash_)
        ]
        tried.append(Tried(fault, "wrong" if corrupt or not done.clear else "clear", done.said))
        follow(done.said, project.folder)
        grow()
        if quick and "train_reconstructor" in noted:
            yield from tried
            return
    right = reference.equals(project)
    yield from (each if right else Tried(fault, "wrong", each.said) for each in tried)


def read_only(reference: Reference) -> Iterator[Tried]:
    """Folders of the project that nothing can be written to; nothing where this user may not."""
    for place, stage in (("data", "simulate"), (".dvc/cache", "train_reid@h1")):
        project = reference.project.copy(f"read-only-{place.replace('/', '-')}")
        path = project.folder / place
        with mounted(path, "-o", "bind,ro", str(path)) as allowed:
            if not allowed:
                return
            done = project.repro("--force", "--single-item", stage)
        yield settle(f"read-only {place}", project, reference, done)


def read_only_set(reference: Reference) -> Iterator[Tried]:
    """The user's own crops on a read-only disk, which the pipeline has no reason to write to."""
    project = reference.project.copy("own-set")
    images = project.folder.parent / "crops"
    shutil.copytree(project.folder / "data/raw/images", images)
    table = (project.folder / "data/raw/images.csv").read_text(encoding="utf-8").splitlines()
    rows = [",".join(line.split(",")[:3]) for line in table]
    (images / "manifest.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    own = {"data": {"name": "manifest", "root": str(images)}, "simulate": {"low_camera": 2}}
    edit(project.folder / "params.yaml", own)
    made = []
    for limited in (False, True):
        options = ("-o", "bind,ro", str(images)) if limited else ("-o", "bind", str(images))
        with mounted(images, *options) as allowed:
            if not allowed:
                return
            done = project.repro("--force", "simulate")
        made.append((done.code, project.lock["simulate"]))
    right = made[0] == made[1] and made[0][0] == 0
    yield Tried("read-only data.root", "right" if right else "wrong", done.said)


def two_at_once(reference: Reference, rng: random.Random) -> Iterator[Tried]:
    """Two `dvc repro` of the same stage, the second started some moments after the first."""
    for stage in ("simulate", "train_reid@h1", "fuse"):
        project = reference.project.copy(f"two-{stage}")
        command = ("dvc", "repro", "--force", "--single-item", stage)
        first = project.start(*command)
        time.sleep(rng.uniform(0, 1.2) * reference.seconds[stage])
        second = project.start(*command).wait()
        ends = [first.wait(), second]
        bad = [done for done in ends if done.code and not done.clear]
        last = project.repro()
        right = not bad and last.code == 0 and reference.equals(project)
        said = "\n".join(done.said for done in (*ends, last))
        clear = any(done.code for done in ends)
        verdict = ("clear" if clear else "right") if right else "wrong"
        yield Tried("two `dvc repro` at once", verdict, said)
