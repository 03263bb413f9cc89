"""Print the tables of docs/results.md from the recorded experiments, and draw its pictures.

python docs/show_results.py tables msmt17 caviar4reid
python docs/show_results.py pictures scratch
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from benchmarks.results import heights, pictures, plan, records  # noqa: E402
from benchmarks.results.comparison import (  # noqa: E402
    COST,
    Records,
    Row,
    agreement,
    aligned,
    by_group,
    by_seed,
    compared,
    differences,
    figures,
    groups_of_queries,
    mean_of_seeds,
    of_experiments,
    per_query,
    reached,
    reasons,
    table,
)
from benchmarks.results.records import Record  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import BRANCHES  # noqa: E402

RECORDS = ROOT / "docs" / "results"
RANKS = ("Rank-1", "Rank-5", "Rank-10")
RERANKED = {"equal": records.RERANKED, records.WHITENED: records.WHITENED_RERANKED}
"""Rankings that are shown re-ranked, and their names then."""


def read(block: str, data: str, name: str, folder: Path) -> list[Record]:
    """The records of an experiment.

    Raises:
        UserError: there is none, or one is of other params than the experiment has.
    """
    found = records.read(folder / data / name)
    for each in found:
        plan.check(block, data, name, each.about)
    return found


def recorded(block: str, data: str, folder: Path) -> list[Records]:
    """The records of a set's experiments, in groups of the same splits, most splits first.

    Each group has the control of these splits, too; or what a block has in its place.

    Raises:
        UserError: it is missing, or a record is of other params than its experiment has, or
            of another size than the others.
    """
    names = [name for name in plan.BLOCKS[block].experiments if (folder / data / name).is_dir()]
    control = control_of(block)
    if control not in names:
        raise UserError(
            f"{folder / data / control} is missing: record it by benchmarks/results/rows.py"
        )
    found = {name: read(block, data, name, folder) for name in names}
    if len(sizes := {each.about.get("size", "given") for of in found.values() for each in of}) > 1:
        raise UserError(f"{folder / data} mixes records of several sizes: {', '.join(sizes)}")
    groups: dict[tuple[int, ...], dict[str, list[Record]]] = {}
    for name, of in found.items():
        splits = tuple(each.split for each in of)
        groups.setdefault(splits, {control: found[control]})[name] = of
    return [
        aligned(groups[splits])
        for splits in sorted(groups, key=len, reverse=True)
        if set(groups[splits]) != {plan.CEILING.experiment, control}
    ]


def control_of(block: str) -> str:
    """The experiment whose splits a table of the block has."""
    return plan.COMPARED.get(block, plan.CONTROL).experiment


def splits_of(found: Records) -> tuple[int, ...]:
    """Numbers of the splits of aligned records."""
    return tuple(each.split for each in next(iter(found.values())))


def tables(block: str, data: str, folder: Path) -> None:
    """Print the tables of a set."""
    for number, found in enumerate(recorded(block, data, folder)):
        card = found[control_of(block)][0].about["dataset"]
        rows = of_experiments(found, plan.ROWS[block])
        shown = {row.experiment for row in rows}
        used = {each.about["hardware"] for name in shown for each in found[name]}
        asked = f"{card['query_images']:.0f} queries of {card['query_identities']:.0f} people"
        splits = _splits(splits_of(found))
        print(f"{data}: {splits}, {asked} in each; {'; '.join(sorted(used))}", end="\n\n")
        if number:  # what the first tables have is not told again
            rows = [row for row in rows if row.experiment != "seeds" or row in BASELINES]
        published = [
            {"row": f"published: {name}", **dict(zip(RANKS, map(_cell, ranks), strict=True))}
            for name, ranks in ({} if number else plan.PUBLISHED[data]).items()
        ]
        show(pd.concat([table(found, rows), pd.DataFrame(published)]).fillna("-"))
        fused = {"four seeds": plan.CONTROL} if plan.PYRAMIDS[block] else {}
        others = {"ori": plan.ORI} if plan.ORI.experiment in found else {}
        others |= {"zero-shot": plan.COMPARED[block]} if block in plan.COMPARED else {}
        show(differences(found, rows, others | fused))
        if fused and not number:
            _first_only(block, found)


def _first_only(block: str, found: Records) -> None:
    """Tables of weights, ratios and reasons."""
    names = {"seeds": plan.CONTROL.name, **plan.PYRAMIDS[block]}
    for scheme in plan.SCHEMES:
        rows = of_experiments(found, [Row(name, each, scheme) for each, name in names.items()])
        if not all(
            scheme in each.about["weights"] for row in rows for each in found[row.experiment]
        ):
            continue
        told = table(found, rows).drop(columns=["95 % of mAP", COST])
        against = differences(found, rows, {"four seeds": rows[0]}).drop(columns="row")
        given = [_weights(found, row) for row in rows]
        show(pd.concat([told, against], axis=1).assign(weights=given), f"weights: {scheme}")
    fused = of_experiments(found, [Row(name, each, "equal") for each, name in names.items()])
    for what, groups in groups_of_queries(per_query(found, plan.CONTROL)).items():
        show(by_group(found, fused, plan.CONTROL, groups), f"mAP by {what}")
    show(
        reasons(found, [row.experiment for row in fused]).rename(columns={"experiment": "row"}),
        "why",
    )


BASELINES = (plan.ORI, plan.CONTROL)


def ceiling(block: str, data: str, folder: Path) -> None:
    """Print what the queries' low resolution costs, and how much of that a pyramid wins back."""
    whole = {plan.CEILING.experiment: read(block, data, plan.CEILING.experiment, folder)}
    splits = tuple(each.split for each in whole[plan.CEILING.experiment])
    names = ("seeds", *plan.PYRAMIDS[block])
    others = {
        name: [each for each in read(block, data, name, folder) if each.split in splits]
        for name in names
        if (folder / data / name).is_dir()
    }
    rows = [plan.CEILING, plan.ORI, plan.CONTROL]
    rows += [row for row in plan.ROWS[block] if row.experiment in others and row.ranking == "equal"]
    rows = [row for place, row in enumerate(rows) if row not in rows[:place]]
    print(f"{data}: {_splits(splits)}; share: of the gap between ori and the ceiling", end="\n\n")
    found = {**whole, **others}
    means = {
        row: figures(found, row).mean() for row in rows if len(found[row.experiment]) == len(splits)
    }
    top, bottom = means[plan.CEILING], means[plan.ORI]
    told = [
        {"row": row.name}
        | {column: f"{of[figure]:.1f}" for figure, column in (("rank1", "Rank-1"), ("mAP", "mAP"))}
        | {"share of mAP": f"{100 * (of.mAP - bottom.mAP) / (top.mAP - bottom.mAP):.0f} %"}
        for row, of in means.items()
    ]
    show(pd.DataFrame(told), "row")


def seeds(block: str, data: str, folder: Path) -> None:
    """Print a row beside its control by the time that they were trained."""
    repeated = plan.REPEATED.get(block)
    if repeated is None:
        raise UserError(f"the networks of {block} were trained once")
    names = {row.experiment for pair in repeated.pairs for row in pair}
    if not all(data in plan.BLOCKS[block].experiments[name].sets for name in names):
        raise UserError(f"the networks of {block} were trained once on {data}")
    found = aligned({name: read(block, data, name, folder) for name in sorted(names)})
    print(f"{data}: {_splits(splits_of(found))}; Rank-1 / mAP, and what {repeated.gains} gains\n")
    show(by_seed(found, repeated.pairs, repeated.called), "trained by")


def reranked(block: str, data: str, folder: Path) -> None:
    """Print what re-ranking adds to fused rankings, in records that were judged with it."""
    told = []
    for row in plan.ROWS[block]:
        if row.ranking not in RERANKED or not (folder / data / row.experiment).is_dir():
            continue
        name, own = RERANKED[row.ranking], row.experiment
        of = read(block, data, own, folder)
        of = [each for each in of if name in each.about["metrics"]]
        for also in (
            row,
            Row(f"{row.name}, re-ranked", own, name),
            Row(f"{row.name}, re-ranked one by one", own, name + records.ALONE),
        ):
            having = {own: [each for each in of if also.ranking in each.about["metrics"]]}
            if not having[own]:
                continue
            splits = " ".join(str(each.split) for each in having[own])
            after = per_query(having, also)
            texts = {"row": also.name, "splits": splits, "Rank-1 / mAP": _both(after)}
            if also != row:
                before = per_query(having, row)
                gained = compared(after, before)
                texts |= {"before": _both(before)}
                texts |= {"Rank-1 gained": gained["rank1"], "mAP gained": gained["mAP"]}
            told.append(texts)
    if not told:
        raise UserError(f"{folder / data} holds no record that was judged with re-ranking")
    print(f"{data}: what re-ranking gains", end="\n\n")
    show(pd.DataFrame(told).fillna(""))


def start(block: str, data: str, folder: Path) -> None:
    """Print a block's rows beside those from MSMT17 alone, on the splits that both have."""
    other = plan.BESIDE[data]
    if block == other:
        raise UserError(f"{block} is what other blocks are compared with")
    name = plan.CONTROL.experiment
    before = read(other, data, name, folder.parent / other)
    found = aligned({"before": before, "after": read(block, data, name, folder)})
    told = []
    for called, rows in (
        ("one network, mean of seeds", plan.SINGLE),
        (plan.CONTROL.name, [plan.CONTROL]),
    ):
        sides = [
            mean_of_seeds([per_query(found, Row(row.name, side, row.ranking)) for row in rows])
            for side in found
        ]
        gained = compared(sides[1], sides[0])
        told.append(
            {"row": called}
            | dict(zip(("from MSMT17", "from this start"), map(_both, sides), strict=True))
            | {"Rank-1 gained": gained["rank1"], "mAP gained": gained["mAP"]}
        )
    print(f"{data}: {_splits(splits_of(found))}; Rank-1 / mAP", end="\n\n")
    show(pd.DataFrame(told))
    alike = [f"{agreement(found, side).correlation.mean():.3f}" for side in found]
    print("correlation of the four: {} from MSMT17, {} from this start".format(*alike))
    mixed = plan.TWO_STARTS.experiment
    planned = plan.BLOCKS[block].experiments.get(mixed)
    if planned and data in planned.sets and (folder / data / mixed).is_dir():
        both = agreement({mixed: read(block, data, mixed, folder)}, mixed)
        print(f"of two from each: {both.correlation.mean():.3f}")


def pairs(block: str, data: str, folder: Path) -> None:
    """Print what rows gain over others than the tables compare them with."""
    told = []
    for row, other in plan.PAIRS.get(block, ()):
        names = {row.experiment, other.experiment}
        if not all(data in plan.BLOCKS[block].experiments[name].sets for name in names):
            continue
        found = aligned({name: read(block, data, name, folder) for name in sorted(names)})
        ours, theirs = (per_query(found, each) for each in (row, other))
        gained = compared(ours, theirs)
        told.append(
            {"row": f"{row.name} − {other.name}", "splits": " ".join(map(str, splits_of(found)))}
            | {"Rank-1": gained["rank1"], "mAP": gained["mAP"]}
        )
    if not told:
        raise UserError(f"{block} has no pairs beside its tables")
    print(f"{data}: differences of rows", end="\n\n")
    show(pd.DataFrame(told))


RESTORED = ("bicubic pyramid", "HAN pyramid")


def small_only(block: str, data: str, folder: Path) -> None:
    """Print what it brings to restore only crops up to a height."""
    found = recorded(block, data, folder)[0]
    restored = of_experiments(found, [row for row in plan.ROWS[block] if row.name in RESTORED])
    if not restored:
        raise UserError(f"{block} has no pyramid that restores small crops only")
    splits = splits_of(found)
    print(f"{data}: {_splits(splits)}", end="\n\n")
    told = []
    for pyramid in restored:
        ruled, chosen = heights.rule(found, pyramid, plan.CONTROL)
        whole = {"all": per_query(found, pyramid), "none": per_query(found, plan.CONTROL)}
        shown = reached(ruled)
        told.append(
            {"row": pyramid.name, "up to px": " ".join(f"{chosen[n]:.0f}" for n in splits)}
            | {"Rank-1": f"{shown['rank1']:.1f}", "mAP": f"{shown['mAP']:.1f}"}
            | {f"mAP − {name}": compared(ruled, of)["mAP"] for name, of in whole.items()}
        )
    show(pd.DataFrame(told), "restoring only small crops")


def _splits(numbers: tuple[int, ...]) -> str:
    if len(numbers) > 2 and numbers == tuple(range(numbers[0], numbers[-1] + 1)):
        return f"splits {numbers[0]} to {numbers[-1]}"
    return f"{'split' if len(numbers) == 1 else 'splits'} {', '.join(map(str, numbers))}"


def _both(table: pd.DataFrame) -> str:
    """Rank-1 and mAP of a table of `per_query`."""
    shown = reached(table)
    return f"{shown['rank1']:.1f} / {shown['mAP']:.1f}"


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


def draw(block: str, folder: Path, out: Path) -> None:
    """Draw the pictures of all recorded sets of a block."""
    if not plan.PYRAMIDS[block]:
        raise UserError(f"{block} has no pyramids to draw")
    sets = [data for data in plan.FOLDERS if (folder / data).is_dir()]
    found = {data: recorded(block, data, folder)[0] for data in sets}
    fused = [Row(name, each, "equal") for each, name in plan.PYRAMIDS[block].items()]
    mixed = [row for row in plan.ROWS[block] if row.experiment == "mixed"]
    alone = [
        row for row in plan.ROWS[block] if row.ranking in BRANCHES[1:] and row not in plan.SEEDS
    ]
    pictures.by_height(out / "height.png", found, [plan.ORI, *mixed, plan.CONTROL, *fused])
    pictures.psnr_and_rank1(out / "psnr.png", found, alone, plan.ORI, plan.SEEDS)
    pictures.agreements(out / "agreement.png", found, ["seeds", *plan.PYRAMIDS[block]])


SHOWN = {
    "tables": tables,
    "ceiling": ceiling,
    "heights": small_only,
    "pairs": pairs,
    "reranked": reranked,
    "seeds": seeds,
    "start": start,
}


def main() -> None:
    """Do what the arguments ask."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=Path, default=RECORDS, help="folder of the records")
    parser.add_argument("what", choices=[*SHOWN, "pictures"])
    parser.add_argument("block", choices=plan.BLOCKS)
    parser.add_argument("data", nargs="*", default=list(plan.FOLDERS), help="names of sets")
    told = parser.parse_args()
    folder = told.records / told.block
    try:
        if told.what == "pictures":
            draw(told.block, folder, folder)
        for data in told.data if told.what != "pictures" else ():
            SHOWN[told.what](told.block, data, folder)
    except UserError as error:
        sys.exit(f"show_results: {error}")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
