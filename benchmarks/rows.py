"""The experiments behind docs/results.md: run them, and print what they say.

    python benchmarks/rows.py commands                      # one command per row, to run by hand
    python benchmarks/rows.py run caviar4reid FOLDER --splits 0 1 2
    python benchmarks/rows.py table caviar4reid             # from the records in docs/results
    python benchmarks/rows.py pictures

`run` goes through the splits one by one and runs every experiment on each, so that it can be
stopped after any of them; what is recorded already is not run again. DVC's run cache gives the
networks of `ori`, which all experiments share, to the later ones. It changes params.yaml and the
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.errors import UserError  # noqa: E402
from pyramid_reid.params import BRANCHES, load  # noqa: E402
from pyramid_reid.runtime import pin_environment  # noqa: E402

pin_environment(threads=1)

import pandas as pd  # noqa: E402
from stage_costs import StageCosts  # noqa: E402

from pyramid_reid.results import pictures, plan, records  # noqa: E402
from pyramid_reid.results.comparison import (  # noqa: E402
    COST,
    Records,
    Row,
    aligned,
    differences,
    of_experiments,
    reasons,
    table,
)

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
                "revision": shown(["git", "rev-parse", "HEAD"]).strip(),
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
        words, cwd=ROOT, env=os.environ | {"PATH": path}, stdout=subprocess.PIPE, text=True
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


def recorded(data: str, folder: Path) -> Records:
    """The records of a set's experiments that were run, of the splits that all of these have."""
    names = [name for name in plan.EXPERIMENTS if (folder / data / name).is_dir()]
    if plan.CONTROL.experiment not in names:
        raise UserError(f"{folder / data / plan.CONTROL.experiment} is missing: `run {data}` first")
    return aligned({name: records.read(folder / data / name) for name in names})


def tables(data: str, folder: Path) -> None:
    """Print the tables of a set."""
    found = recorded(data, folder)
    card = found["seeds"][0].about["dataset"]
    splits = ", ".join(str(record.split) for record in found["seeds"])
    used = {each.about["hardware"] for of in found.values() for each in of}
    asked = f"{card['query_images']:.0f} queries of {card['query_identities']:.0f} people"
    print(f"{data}: split(s) {splits}, {asked} in each; {'; '.join(sorted(used))}", end="\n\n")
    published = [
        {"row": f"published: {name}", **dict(zip(RANKS, map(_cell, ranks), strict=True))}
        for name, ranks in plan.PUBLISHED[data].items()
    ]
    rows = of_experiments(found, plan.ROWS)
    show(pd.concat([table(found, rows), pd.DataFrame(published)]).fillna("-"))
    show(differences(found, rows, {"ori": plan.ORI, "four seeds": plan.CONTROL}))
    for scheme, of_scheme in plan.WEIGHTED.items():
        rows = of_experiments(found, of_scheme)
        told = table(found, rows).drop(columns=["95 % of mAP", COST])
        against = differences(found, rows, {"four seeds": rows[0]}).drop(columns="row")
        given = [_weights(found, row) for row in rows]
        show(pd.concat([told, against], axis=1).assign(weights=given), f"weights: {scheme}")
    show(
        reasons(found, [name for name in plan.PYRAMIDS if name in found]).rename(
            columns={"experiment": "row"}
        ),
        "why",
    )


RANKS = ("Rank-1", "Rank-5", "Rank-10")


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _weights(found: Records, row: Row) -> str:
    """Mean over splits of the weights of a fusion, in the order of the branches."""
    used = pd.DataFrame([each.about["weights"][row.ranking] for each in found[row.experiment]])
    return " ".join(f"{used[branch].mean():.2f}" for branch in BRANCHES)


def show(frame: pd.DataFrame, title: str = "row") -> None:
    """Print a table with its rows' names on the left, under a title."""
    width = max(len(title), int(frame["row"].str.len().max()))
    names = frame["row"].str.ljust(width)
    frame = frame.drop(columns="row")
    frame.insert(0, title.ljust(width), names)
    print(frame.to_string(index=False), end="\n\n")


def draw(sets: list[str], folder: Path, out: Path) -> None:
    """Draw the pictures of all recorded sets."""
    found = {data: recorded(data, folder) for data in sets}
    pictures.by_height(out / "height.png", found, [plan.ORI, plan.MIXED, *plan.FUSED])
    pictures.psnr_and_rank1(out / "psnr.png", found, plan.ALONE, plan.ORI, plan.SEEDS)
    pictures.agreements(out / "agreement.png", found, list(plan.PYRAMIDS))


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
    actions.add_parser("table", help="print the tables of a set").add_argument(
        "data", choices=plan.SETS
    )
    drawing = actions.add_parser("pictures", help="draw the pictures")
    drawing.add_argument("data", choices=plan.SETS, nargs="+")
    arguments = parser.parse_args()
    folder: Path = arguments.records.resolve()
    try:
        if arguments.action == "commands":
            commands(arguments.data, arguments.splits, arguments.size)
        elif arguments.action == "run":
            root = arguments.root.resolve()
            run(arguments.data, root, arguments.splits, folder, arguments.size)
        elif arguments.action == "params":
            budgets()
        elif arguments.action == "table":
            tables(arguments.data, folder)
        else:
            draw(arguments.data, folder, folder)
    except UserError as error:
        sys.exit(f"rows: {error}")


if __name__ == "__main__":
    main()
