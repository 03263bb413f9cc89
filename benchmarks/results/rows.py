"""The experiments behind docs/results.md: run and record them, or print their commands.

    python -m benchmarks.results.rows commands msmt17 caviar4reid   # one command per row
    python -m benchmarks.results.rows run msmt17 caviar4reid=FOLDER --splits 0 1 2 --jobs 2
    python docs/show_results.py tables msmt17 caviar4reid          # what was recorded

`run` runs the stages of each experiment and split in a folder of its own, `--jobs` at once, each on
one core. It can be stopped at any time: what is recorded already is not run again.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import cast

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing, provenance  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import BRANCHES, Params, load  # noqa: E402
from pyramid_reid.core.provenance import sha256  # noqa: E402
from pyramid_reid.core.runtime import pin_environment, start_torch  # noqa: E402

pin_environment(threads=1)

from benchmarks.results import plan, records, rivals  # noqa: E402
from benchmarks.results.workspace import (  # noqa: E402
    Workspace,
    check_committed,
    read_option,
    stages,
    with_params,
)

RECORDS = ROOT / "docs" / "results"


def command(params: dict[str, object]) -> list[str]:
    """The experiment as DVC is told to run it."""
    given = [["-S", f"{key}={value}"] for key, value in params.items()]
    return ["dvc", "exp", "run", *(part for pair in given for part in pair)]


@dataclass(frozen=True, slots=True)
class Task:
    """Experiments on one split, one after the other in a workspace that they share."""

    block: str
    data: str
    root: Path
    split: int
    names: tuple[str, ...]
    folder: Path
    records: Path
    given: tuple[tuple[str, object], ...]
    size: plan.Size
    restorers: tuple[tuple[str, Path], ...]
    start: Path | None
    revision: str | None
    clean: bool

    def run(self) -> str:
        """Run and record what is not recorded yet; returns what was, in a line.

        Raises:
            UserError: an experiment failed, or was recorded with other params.
        """
        done = []
        for name in self.names:
            target = self.records / self.block / self.data / name
            if (target / f"split_{self.split}.json").exists():
                plan.check(self.block, self.data, name, records.read_one(target, self.split).about)
            else:
                records.write(target, self._run(name))
                done.append(name)
        return f"{self.data}, split {self.split}: {', '.join(done) or 'nothing left to do'}"

    def _run(self, name: str) -> records.Record:
        experiment = plan.BLOCKS[self.block].experiments[name]
        planned = plan.settings(self.block, self.data, name, self.size)
        params = planned | dict(self.given)
        params |= taken_over(
            self.block, self.data, name, self.size, dict(self.restorers), self.start
        )
        place = {"data.root": str(self.root), "data.splits": 1, "data.first_split": self.split}
        workspace = Workspace(self.folder / f"{self.data}_{self.split}_{self.names[0]}")
        used, split = params | place, f"split_{self.split}"
        begun = time.process_time()
        if experiment.trained or experiment.seed != 1:
            wanted = "simulate" if experiment.alone else "generate_pyramid"
            workspace.run(used, wanted)
            out = workspace.folder / name
            train = (
                getattr(rivals, experiment.trained)
                if experiment.trained
                else partial(rivals.again, seed=experiment.seed)
            )
            started = time.process_time()
            train(workspace.folder, split, Params.model_validate(with_params(used)), out)
            workspace.seconds[records.BY_HAND] = round(time.process_time() - started, 1)
            shutil.rmtree(out / "checkpoints", ignore_errors=True)
            used |= {
                "reid.epochs": 0,
                "reid.fixed_epochs": 0,
                "reid.pretrained": str(out),
                "reid.pretrained_sha256": sha256(out),
            }
        branches = ["ori"] if experiment.alone else list(BRANCHES)
        ends = ["distances ori"] if experiment.alone else ["sweep_weights"]
        workspace.run(used, *ends)
        if experiment.aligned:
            read = Params.model_validate(with_params(used))
            started = time.process_time()
            rivals.align(workspace.folder, split, read, experiment.aligned)
            workspace.seconds[records.BY_HAND] = round(time.process_time() - started, 1)
            workspace.forget("distances ori")
        about = {
            "cpu_seconds": workspace.seconds | {"all": round(time.process_time() - begun, 1)},
            "clean": self.clean,
            "hardware": records.hardware(str(params.get("device", "cpu"))),
            "params": {key: value for key, value in params.items() if key != RESTORER[0]}
            | {key: value for key, value in planned.items() if key == START[0]},
            "revision": self.revision,
            "size": self.size,
            "torch": version("torch"),
        }
        read = load(workspace.folder / "params.yaml")
        return records.collect(
            workspace.folder, read, self.split, about, workspace.output, branches
        )


RESTORER = ("restoration.pretrained", "restoration.pretrained_sha256")
START = ("reid.pretrained", "reid.pretrained_sha256")
OPTIONS = {"pooled": "--restorer", "features": "--feature-restorer"}
"""That name the restorers."""


def restorer(found: Mapping[str, Path], name: str) -> dict[str, object]:
    """The params that take a restorer over.

    Raises:
        UserError: it is not among those found.
    """
    if name not in found:
        raise UserError(f"{OPTIONS[name]} is missing: docs/results.md says how to make one")
    path = found[name]
    return dict(zip(RESTORER, (str(path), sha256(path)), strict=True))


def pooled_start(planned: Mapping[str, object], path: Path | None) -> dict[str, object]:
    """The params that start from a network which pooled crops trained, where the plan has it.

    Raises:
        UserError: the plan has it, and none was named.
    """
    if plan.POOLED_START not in str(planned.get(START[0])):
        return {}
    if path is None:
        raise UserError("--start is missing: docs/results.md says how to make one")
    return with_start(planned, str(path), sha256(path))


def with_start(planned: Mapping[str, object], path: str, hashed: str) -> dict[str, object]:
    """Path and hash where the plan has `POOLED_START`: for all branches, or some of them."""
    given = planned[START[0]]
    if given == plan.POOLED_START:
        return dict(zip(START, (path, hashed), strict=True))
    starts = read_option(str(given))
    pooled = {branch for branch, start in starts.items() if start == plan.POOLED_START}
    paths = {branch: path if branch in pooled else start for branch, start in starts.items()}
    hashes = {branch: hashed if branch in pooled else "null" for branch in starts}
    return {START[0]: _option(paths), START[1]: _option(hashes)}


def _option(values: Mapping[str, str]) -> str:
    """A mapping as it stands after -S."""
    return f"{{{','.join(f'{key}:{value}' for key, value in values.items())}}}"


def taken_over(
    block: str,
    data: str,
    name: str,
    size: plan.Size,
    restorers: Mapping[str, Path],
    start: Path | None,
) -> dict[str, object]:
    """The params of an experiment that name a restorer and a start of others, where it needs them.

    Raises:
        UserError: one that it needs was not named.
    """
    planned, given = plan.settings(block, data, name, size), dict[str, object]()
    if planned.get("restoration.iterations") == 0:
        given |= restorer(restorers, plan.BLOCKS[block].experiments[name].restorer)
    given |= pooled_start(planned, start)
    return given


def work(task: Task) -> tuple[str, bool]:
    """Run a task in a process of a pool; returns a line about it, and whether it succeeded."""
    start_torch("cpu", 1)
    try:
        return task.run(), True
    except UserError as error:
        return f"{task.data}, split {task.split}: {error}", False
    except Exception:  # noqa: BLE001 - whatever it was, the other tasks are worth their hours
        return traceback.format_exc(), False


def run(tasks: Sequence[Task], jobs: int) -> None:
    """Run tasks, several at once, the first ones first.

    Raises:
        UserError: some failed.
    """
    stages()  # read before others are started: they have the code of now
    with get_context("fork").Pool(jobs, maxtasksperchild=1) as pool:
        failed = 0
        for number, (said, succeeded) in enumerate(pool.imap_unordered(work, tasks), 1):
            print(f"{number} of {len(tasks)}: {said}", flush=True)
            failed += not succeeded
    if failed:
        raise UserError(f"{failed} of {len(tasks)} failed, as said above; the others are recorded")


def tasks(
    block: str,
    sets: Mapping[str, Path],
    splits: Sequence[int],
    names: Sequence[str],
    folder: Path,
    told: argparse.Namespace,
) -> list[Task]:
    """All tasks, in order of the plan: first what all splits have.

    Raises:
        UserError: a restorer or start does not exist, or none is named where one is needed.
    """
    usual = "cuda" if told.size == "paper" else "cpu"
    given: dict[str, object] = {"device": told.device or usual}
    named = {"pooled": told.restorer, "features": told.feature_restorer}
    restorers = tuple((name, path.resolve()) for name, path in named.items() if path)
    start = told.start.resolve() if told.start else None
    for option, path in (*((OPTIONS[name], path) for name, path in restorers), ("--start", start)):
        if path and not path.exists():
            raise UserError(f"{option}: {path} does not exist")
    checkout = provenance.revision(ROOT)  # the code of now, whatever is checked out meanwhile
    of_now = cast("str | None", checkout["commit"]), bool(checkout["clean"])
    experiments = plan.BLOCKS[block].experiments
    alone = [(name,) for name in experiments if not any(name in group for group in plan.GROUPS)]
    found = []
    for group in (*plan.GROUPS, *alone):
        for data, root in sets.items():
            for split in splits:
                taken = tuple(
                    name
                    for name in group
                    if name in names
                    and name in experiments
                    and data in experiments[name].sets
                    and split < experiments[name].splits
                )
                for name in taken:
                    record = told.records / block / data / name / f"split_{split}.json"
                    if not record.exists():
                        taken_over(block, data, name, told.size, dict(restorers), start)
                if taken:
                    place = block, data, root.resolve(), split, taken, folder.resolve()
                    used = told.records.resolve(), tuple(given.items()), told.size, restorers, start
                    found.append(Task(*place, *used, *of_now))
    return found


def commands(block: str, data: str, splits: int, size: plan.Size) -> None:
    """Print the command of each experiment that DVC runs, and where it leaves the figures."""
    for name, experiment in plan.BLOCKS[block].experiments.items():
        own = experiment.trained or experiment.aligned or experiment.seed != 1
        own = own or experiment.restorer != "pooled"
        if own or data not in experiment.sets:
            continue
        params = plan.settings(block, data, name, size)
        if params.get("restoration.iterations") == 0:
            params |= dict(zip(RESTORER, ("$RESTORER", "$SHA256"), strict=True))
        if plan.POOLED_START in str(params.get(START[0])):
            params |= with_start(params, "$START", "$START_SHA256")
        place = {"data.root": f"$PYRAMID_REID_DATA/{plan.FOLDERS[data]}", "data.splits": splits}
        where = "`ori`" if experiment.alone else "`fused` and the branches"
        print(f"# {name}: {where} in metrics/fusion.json")
        print(quoted(command(params | place)), end="\n\n")


def quoted(words: list[str]) -> str:
    """A command for the shell; the variables are left to it, but no braces."""
    left = {word: f'"{word}"' if "{" in word else word for word in words if "$" in word}
    return " ".join(left.get(word) or shlex.quote(word) for word in words)


def budgets(block: str) -> None:
    """Print what the experiments of a block have in common and what differs between them."""
    of = plan.BLOCKS[block]
    both = {data: {**of.shared, **params} for data, params in of.sets.items()}
    for name in sorted({key for params in both.values() for key in params}):
        told = [f"{data} {params[name]}" for data, params in both.items() if name in params]
        values = {str(params.get(name)) for params in both.values()}
        print(f"{name}: {values.pop() if len(values) == 1 else ', '.join(told)}")
    print()
    for name, experiment in of.experiments.items():
        told = [f"{key}={value}" for key, value in experiment.params.items()]
        extra = [f"trained by rivals.{experiment.trained}"] if experiment.trained else []
        extra += [f"moved by rivals.{experiment.aligned}"] if experiment.aligned else []
        extra += [f"trained by seed {experiment.seed}"] if experiment.seed != 1 else []
        extra += [f"restorer={experiment.restorer}"] if experiment.restorer != "pooled" else []
        print(f"{name}: {' '.join(told + extra)}")


def main() -> None:
    """Do what the arguments ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    sizes = parser.add_mutually_exclusive_group()
    for size, what in (
        ("quick", "tiny networks that learn nothing"),
        ("paper", "the paper's size, on a GPU"),
    ):
        sizes.add_argument(f"--{size}", dest="size", action="store_const", const=size, help=what)
    parser.set_defaults(size="given")
    actions = parser.add_subparsers(dest="action", required=True)
    printing = actions.add_parser("commands", help="print the command of each row")
    printing.add_argument("block", choices=plan.BLOCKS)
    printing.add_argument("data", choices=plan.FOLDERS)
    printing.add_argument("--splits", type=int, default=10, help="number of splits")
    running = actions.add_parser("run", help="run and record experiments")
    running.add_argument("block", choices=plan.BLOCKS)
    running.add_argument("sets", nargs="+", help="NAME=FOLDER of each set")
    running.add_argument(
        "--records", type=Path, help="folder of the records; default: docs/results"
    )
    running.add_argument("--splits", type=int, nargs="+", default=[0], help="their numbers")
    running.add_argument("--experiments", nargs="+", help="only these")
    running.add_argument("--restorer", type=Path, help="trained on pooled crops (docs/results.md)")
    running.add_argument("--feature-restorer", type=Path, help="the same, by `feature_loss`")
    running.add_argument("--start", type=Path, help="trained on pooled crops (docs/results.md)")
    running.add_argument("--jobs", type=int, default=1, help="at once")
    running.add_argument(
        "--device", choices=("cpu", "cuda"), help="default: cpu, with --paper cuda"
    )
    running.add_argument("--scratch", type=Path, help="folder for workspaces, kept; default: none")
    telling = actions.add_parser("params", help="print the params of a block")
    telling.add_argument("block", choices=plan.BLOCKS)
    told = parser.parse_args()
    try:
        if told.action == "commands":
            commands(told.block, told.data, told.splits, told.size)
        elif told.action == "run":
            check_committed()
            if told.size != "given" and told.records is None:
                parser.error(
                    f"--{told.size}: give --records a folder of its own, as docs/results holds the"
                    " experiments at the size of their plan"
                )
            told.records = told.records or RECORDS
            sets = {name: Path(root) for name, root in (each.split("=") for each in told.sets)}
            names = told.experiments or list(plan.BLOCKS[told.block].experiments)
            with tempfile.TemporaryDirectory() as temporary:
                folder = told.scratch or Path(temporary)
                run(tasks(told.block, sets, told.splits, names, folder, told), told.jobs)
        else:
            budgets(told.block)
    except UserError as error:
        sys.exit(f"rows: {error}")
    except KeyboardInterrupt:
        sys.exit("rows: stopped; the same command goes on with what is not recorded")


if __name__ == "__main__":
    printing.survive()
    main()
