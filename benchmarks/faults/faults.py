"""What a disturbed pipeline does: kills, full disks, damaged files, two runs at once.

Runs a tiny pipeline undisturbed, then again and again with a fault each time, in DVC repositories
of their own. After each, `dvc repro` must end with the same bytes (ended right), or stop with a
sentence and, once its advice is followed, end with the same bytes (clear error). What else happens
is a bug (ended wrong), printed in full, and the exit status is 1.

Mounts small and read-only disks where this user may (root); where not, those faults are left out.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

from benchmarks.faults.damage import damage
from benchmarks.faults.kills import ALL, DVC, STAGE, STOP, kills
from benchmarks.faults.limits import full_disk, read_only, read_only_set, small_files, two_at_once
from benchmarks.faults.project import POLL_S, STARTS, TINY, Project
from benchmarks.faults.verdicts import Reference, Tried, metrics_of

from pyramid_reid.core import printing

PARTS = ["kills", "damage", "limits"]
LONGEST = {"train_reconstructor", "generate_pyramid"}
MOUNTED = ("full disk", "read-only data", "read-only data.root")


def undisturbed(folder: Path) -> Reference:
    """Run the pipeline, and note when each stage begins."""
    project = Project.made(folder, TINY)
    running, begun = project.start("dvc", "repro"), dict[str, float]()
    while running.process.poll() is None:
        for stage in STARTS.findall(running.said):
            begun.setdefault(stage, time.monotonic())
        time.sleep(POLL_S)
    done = running.wait()
    if done.code:
        sys.exit(f"the undisturbed pipeline failed:\n{done.said}")
    moments = [*begun.values(), time.monotonic()]
    seconds = {
        stage: after - moment
        for (stage, moment), after in zip(begun.items(), moments[1:], strict=True)
    }
    return Reference(project, project.lock, metrics_of(project), seconds)


def plan(stages: Iterable[str], *, quick: bool) -> dict[str, list[str]]:
    """What is done to each stage: two kills in turn of three kinds, a third to the longest.

    Every third stage is stopped with Ctrl-C, too.
    """
    kinds = itertools.cycle((ALL, STAGE, DVC))
    disturbed = {}
    for number, stage in enumerate(itertools.islice(stages, 3 if quick else None)):
        kills_of = 3 if stage in LONGEST else 2
        disturbed[stage] = [next(kinds) for _ in range(kills_of)] + [STOP] * (number % 3 == 0)
    return disturbed


def tried(
    folder: Path, parts: Collection[str], rng: random.Random, *, quick: bool
) -> Iterator[Tried]:
    """The faults of the parts."""
    reference = undisturbed(folder / "reference/project")
    if "kills" in parts:
        striking = plan(reference.seconds, quick=quick)
        yield from kills(reference, striking, rng, folder / "kills/project", quick=quick)
    if "damage" in parts:
        yield from damage(reference, rng, quick=quick)
    if "limits" in parts:
        yield from two_at_once(reference, rng)
        yield from read_only(reference)
        yield from read_only_set(reference)
        yield from full_disk(reference, folder / "disk/project", quick=quick)
        yield from small_files(reference, folder / "files/project", quick=quick)


def table(counts: dict[str, Counter[str]]) -> str:
    """A row per fault, and their sums."""
    total = sum(counts.values(), Counter[str]())
    rows = [("fault", "tried", "ended right", "clear error", "ended wrong")]
    for name, count in {**counts, "all": total}.items():
        columns = (count["right"], count["clear"], count["wrong"])
        rows.append((name, str(count.total()), *map(str, columns)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])])
        for cells in rows
    )


def main() -> None:
    """Try the faults, print the table and one line per figure: NAME VALUE UNIT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, "all"], default="all")
    parser.add_argument("--quick", action="store_true", help="only the first stages, some faults")
    parser.add_argument("--seed", type=int, default=0, help="of moments and places")
    arguments = parser.parse_args()
    parts = PARTS if "all" in arguments.parts else arguments.parts
    rng = random.Random(arguments.seed)  # noqa: S311 (no secret)
    counts: dict[str, Counter[str]] = {}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for each in tried(Path(folder).resolve(), parts, rng, quick=arguments.quick):
            counts.setdefault(each.fault, Counter())[each.verdict] += 1
            took = time.monotonic() - begun
            print(f"{took:.0f} s: {each.fault}: {each.verdict}", file=sys.stderr, flush=True)
            if each.verdict == "wrong":
                print(f"{each.fault} ended wrong:\n{each.said}", file=sys.stderr, flush=True)
    for name in MOUNTED:
        if "limits" in parts and name not in counts:
            print(f"# {name}: left out, as only root may mount disks")
    print(table(counts))
    total = sum(counts.values(), Counter[str]())
    struck = sum(counts.get(name, Counter()).total() for name in (ALL, STAGE, DVC))
    print(f"faults.tried {total.total()} faults")
    print(f"faults.kills {struck} kills")
    print(f"faults.ended_right {total['right']} faults")
    print(f"faults.clear_error {total['clear']} faults")
    print(f"faults.ended_wrong {total['wrong']} faults")
    print(f"faults.time {time.monotonic() - begun:.0f} s")
    sys.exit(1 if total["wrong"] else 0)


if __name__ == "__main__":
    printing.end_when_lost()
    main()
