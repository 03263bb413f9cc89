"""The experiments behind docs/results.md: run and record them, or print their commands.

    python -m benchmarks.results.rows commands caviar4reid   # one command per row, to run by hand
    python -m benchmarks.results.rows run caviar4reid FOLDER --splits 0 1 2
    python docs/show_results.py tables caviar4reid          # what was recorded in docs/results

`run` goes through the splits one by one and runs every experiment on each, so that it can be
stopped after any of them; what is recorded already is not run again. It changes params.yaml and the
results in the workspace, so run it in a clone of its own; --records names the folder to write to.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import BRANCHES, load  # noqa: E402
from pyramid_reid.core.runtime import pin_environment  # noqa: E402

pin_environment(threads=1)

import pandas as pd  # noqa: E402
from benchmarks.results import plan, records  # noqa: E402
from benchmarks.results.stage_costs import StageCosts  # noqa: E402

RECORDS = ROOT / "docs" / "results"


def command(params: dict[str, object]) -> list[str]:
    """The experiment as DVC is told to run it."""
    given = [["-S", f"{key}={value}"] for key, value in params.items()]
    return ["dvc", "exp", "run", *(part for pair in given for part in pair)]


def hardware() -> str:
    """Processor and number of cores."""
    name = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        name = models[0].partition(":")[2].strip() if models else name
    return f"{name}, {os.cpu_count()} cores"


def run(data: str, root: Path, splits: list[int], folder: Path, size: plan.Size) -> None:
    """Run and record what is not recorded yet, split by split."""
    for split in splits:
        for experiment in plan.EXPERIMENTS:
            target = folder / data / experiment
            if (target / f"split_{split}.json").exists():
                continue
            params = plan.settings(data, experiment, size)
            place = {"data.root": str(root), "data.splits": 1, "data.first_split": split}
            print(f"{data}, split {split}, {experiment}", flush=True)
            with StageCosts() as costs:
                output = shown(command(params | place))
            about = {
                "cpu_seconds": costs.seconds,
                "hardware": hardware(),
                "params": params,
                "revision": subprocess.check_output(
                    ["git", "rev-parse", "HEAD"], cwd=ROOT, encoding="utf-8"
                ).strip(),
                "torch": version("torch"),
            }
            used = load(ROOT / "params.yaml")
            records.write(target, records.collect(ROOT, used, split, about, output))


def shown(words: list[str]) -> str:
    """Run a command in the project's root and show what it prints; returns that.

    Raises:
        UserError: it failed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    lines = []
    with subprocess.Popen(
        words, cwd=ROOT, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            lines.append(line)
    if process.returncode:
        raise UserError(f"`{' '.join(words)}` failed: see what it printed")
    return "".join(lines)


def commands(data: str, splits: int, size: plan.Size) -> None:
    """Print the command of each row, and where it leaves the row's figures."""
    weighted = [row for of_scheme in plan.WEIGHTED.values() for row in of_scheme]
    rows = [*plan.ROWS, *(row for row in weighted if row.ranking != "equal")]
    told: dict[str, list[str]] = {}
    for row in rows:
        params = plan.settings(data, row.experiment, size)
        place = {"data.root": f"$PYRAMID_REID_DATA/{plan.FOLDERS[data]}", "data.splits": splits}
        if row.ranking in records.FIXED_WEIGHTS and row.ranking != "equal":
            fixed = records.FIXED_WEIGHTS[row.ranking]
            params |= {f"fusion.w_{branch}": fixed[branch] for branch in BRANCHES}
        words = command(params | place)
        chosen = row.ranking in records.CHOSEN_WEIGHTS
        key = row.ranking if chosen or row.ranking in BRANCHES else "fused"
        file = "metrics/weights.json" if chosen else "metrics/fusion.json"
        weights = "" if row.ranking in BRANCHES else f", weights {row.ranking}"
        told.setdefault(quoted(words), []).append(f"# {row.name}{weights}: `{key}` in {file}")
    for line, names in told.items():
        print("\n".join([*names, line, ""]))


def budgets() -> None:
    """Print what the rows of each set have in common and what differs between experiments."""
    of_sets = {data: plan.SHARED | of_set for data, of_set in plan.SETS.items()}
    print(pd.DataFrame(of_sets).to_string(), end="\n\n")
    print(pd.DataFrame(plan.EXPERIMENTS).T.to_string())


def quoted(words: list[str]) -> str:
    """A command for the shell; the variable of the folder is left to it."""
    return " ".join(word if "$" in word else shlex.quote(word) for word in words)


def main() -> None:
    """Do what the arguments ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    sizes = parser.add_mutually_exclusive_group()
    for size, what in (
        ("quick", "tiny networks that learn nothing"),
        ("paper", "the paper's size, on a GPU"),
    ):
        sizes.add_argument(f"--{size}", dest="size", action="store_const", const=size, help=what)
    parser.set_defaults(size="cpu")
    actions = parser.add_subparsers(dest="action", required=True)
    printing = actions.add_parser("commands", help="print the command of each row")
    printing.add_argument("data", choices=plan.SETS)
    printing.add_argument("--splits", type=int, default=10, help="number of splits")
    running = actions.add_parser("run", help="run and record all experiments")
    running.add_argument("data", choices=plan.SETS)
    running.add_argument("root", type=Path, help="folder of the set")
    running.add_argument("--splits", type=int, nargs="+", default=[0], help="their numbers")
    actions.add_parser("params", help="print the params of all rows that are not committed ones")
    arguments = parser.parse_args()
    try:
        if arguments.action == "commands":
            commands(arguments.data, arguments.splits, arguments.size)
        elif arguments.action == "run":
            root = arguments.root.resolve()
            folder = arguments.records.resolve()
            run(arguments.data, root, arguments.splits, folder, arguments.size)
        else:
            budgets()
    except UserError as error:
        sys.exit(f"rows: {error}")
    except KeyboardInterrupt:
        sys.exit("rows: stopped; the same command goes on with what is not recorded")


if __name__ == "__main__":
    printing.survive()
    main()
