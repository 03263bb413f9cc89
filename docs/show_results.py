"""Print the tables of docs/results.md from the recorded experiments, and draw its pictures.

python docs/show_results.py tables caviar4reid
python docs/show_results.py pictures caviar4reid prid2011
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from benchmarks.results import pictures, plan, records  # noqa: E402
from benchmarks.results.comparison import (  # noqa: E402
    COST,
    Records,
    Row,
    aligned,
    differences,
    of_experiments,
    reasons,
    table,
)

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import BRANCHES  # noqa: E402

RECORDS = ROOT / "docs" / "results"
RANKS = ("Rank-1", "Rank-5", "Rank-10")


def recorded(data: str, folder: Path) -> Records:
    """The records of a set's experiments that were run, of the splits that all of these have."""
    names = [name for name in plan.EXPERIMENTS if (folder / data / name).is_dir()]
    control = plan.CONTROL.experiment
    if control not in names:
        raise UserError(
            f"{folder / data / control} is missing: record it by benchmarks/results/rows.py"
        )
    return aligned({name: records.read(folder / data / name) for name in names})


def tables(data: str, folder: Path) -> None:
    """Print the tables of a set."""
    found = recorded(data, folder)
    card = found["seeds"][0].about["dataset"]
    numbers = ", ".join(str(record.split) for record in found["seeds"])
    splits = f"{'split' if len(found['seeds']) == 1 else 'splits'} {numbers}"
    used = {each.about["hardware"] for of in found.values() for each in of}
    asked = f"{card['query_images']:.0f} queries of {card['query_identities']:.0f} people"
    print(f"{data}: {splits}, {asked} in each; {'; '.join(sorted(used))}", end="\n\n")
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
    fused = [name for name in plan.PYRAMIDS if name in found]
    show(reasons(found, fused).rename(columns={"experiment": "row"}), "why")


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
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    parser.add_argument("what", choices=["tables", "pictures"], help="pictures lie by the records")
    parser.add_argument("data", choices=plan.SETS, nargs="+")
    arguments = parser.parse_args()
    try:
        if arguments.what == "pictures":
            draw(arguments.data, arguments.records, arguments.records)
            return
        for data in arguments.data:
            tables(data, arguments.records)
    except UserError as error:
        sys.exit(f"show_results: {error}")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
