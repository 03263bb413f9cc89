"""The demo by several seeds, beside its control: four networks on the crops as they are.

    python -m benchmarks.results.demo run --seeds 1 2 3    # half an hour on two idle cores
    python -m benchmarks.results.demo table

Another seed draws other people, other weights and another order. The params are the committed ones.
`run` can be stopped at any time: what is recorded already is not run again.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import params, printing, provenance  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.runtime import pin_environment, start_torch  # noqa: E402

DEMO = params.load(ROOT / "params.yaml")
pin_environment(threads=DEMO.threads)

import pandas as pd  # noqa: E402
from benchmarks.results import records  # noqa: E402
from benchmarks.results.comparison import (  # noqa: E402
    Records,
    Row,
    aligned,
    compared,
    figures,
    mean_and_deviation,
    per_query,
)
from benchmarks.results.workspace import Workspace, check_committed  # noqa: E402

RECORDS = ROOT / "docs" / "results" / "demo"
EXPERIMENTS = {"seeds": {"restoration.extractor": "identity"}, "pyramid": {}}
"""What each changes of the committed params."""
QUICK = {
    "data.identities": 6,
    "data.images_per_camera": 2,
    "restoration.iterations": 2,
    "restoration.batch_size": 2,
    "reid.height": 32,
    "reid.width": 16,
    "reid.epochs": 2,
    "reid.warmup_epochs": 1,
    "reid.batch_size": 4,
    "sweep.step": 0.25,
}
"""Tiny networks that learn nothing."""
CONTROL = Row("four seeds of ori", "seeds", "equal")
ROWS = (
    Row("ori alone", "pyramid", "ori"),
    *(Row(f"h{n} alone", "pyramid", f"h{n}") for n in (1, 2, 3)),
    CONTROL,
    Row("pyramid", "pyramid", "equal"),
)


def run(seeds: list[int], folder: Path, scratch: Path, changes: dict[str, object]) -> None:
    """Run what is not recorded yet.

    Args:
        folder: of the records.
        scratch: for a workspace per seed, where experiments share what they have in common.
        changes: further params that differ from the committed ones.
    """
    start_torch("cpu", DEMO.threads)
    checkout = provenance.revision(ROOT)
    for seed in seeds:
        for name, of_experiment in EXPERIMENTS.items():
            if (folder / name / f"split_{seed}.json").exists():
                continue
            workspace = Workspace(scratch / f"seed_{seed}")
            workspace.run({"seed": seed, **of_experiment, **changes}, "sweep_weights")
            read = params.load(workspace.folder / "params.yaml")
            about = {
                "clean": checkout["clean"],
                "cpu_seconds": workspace.seconds,
                "hardware": records.hardware("cpu"),
                "params": {"seed": seed, **of_experiment, **changes},
                "revision": checkout["commit"],
            }
            record = records.collect(workspace.folder, read, 0, about, workspace.output)
            # its one split has number 0 whatever the seed
            records.write(folder / name, replace(record, split=seed))
            print(f"seed {seed}: {name}", flush=True)


def table(found: Records) -> pd.DataFrame:
    """Rank-1 / mAP of each row, by seed and as mean ± deviation over seeds, in percent."""
    told = []
    width = max(len(row.name) for row in ROWS)
    for row in ROWS:
        of_seeds = figures(found, row)
        texts = {"Rank-1 / mAP (%)".ljust(width): row.name.ljust(width)}
        for record, (_, one) in zip(found[row.experiment], of_seeds.iterrows(), strict=True):
            texts[f"seed {record.split}"] = f"{one.rank1:.1f} / {one.mAP:.1f}"
        texts["mean ± deviation"] = " / ".join(
            mean_and_deviation(of_seeds[name]) for name in ("rank1", "mAP")
        )
        told.append(texts)
    return pd.DataFrame(told)


def with_new_people(queries: pd.DataFrame) -> pd.DataFrame:
    """A table of `per_query` whose people are named by seed and number.

    Each seed draws its own people, so person 6 of seed 1 and person 6 of seed 2 are two.
    """
    return queries.assign(pid=queries["split"].astype(str) + "/" + queries.pid.astype(str))


def against_control(found: Records) -> str:
    """The pyramid minus its control over the queries of all seeds, with interval and p."""
    ours, theirs = (with_new_people(per_query(found, row)) for row in (ROWS[-1], CONTROL))
    told = compared(ours, theirs)
    return f"{ROWS[-1].name} − {CONTROL.name}: Rank-1 {told['rank1']}; mAP {told['mAP']}"


def main() -> None:
    """Do what the arguments ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    running = actions.add_parser("run", help="run and record")
    running.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    running.add_argument("--scratch", type=Path, help="folder for workspaces, kept; default: none")
    running.add_argument("--quick", action="store_true", help="tiny networks that learn nothing")
    actions.add_parser("table", help="print what was recorded")
    for action in actions.choices.values():
        action.add_argument("--records", type=Path, help="their folder; default: docs/results/demo")
    told = parser.parse_args()
    if told.action == "run" and told.quick and told.records is None:
        parser.error("--quick: give --records a folder of its own, as its figures mean nothing")
    try:
        told.records = told.records or RECORDS
        if told.action == "run":
            check_committed()
            with tempfile.TemporaryDirectory() as temporary:
                changes = QUICK if told.quick else {}
                run(told.seeds, told.records, (told.scratch or Path(temporary)).resolve(), changes)
        else:
            found = aligned({name: records.read(told.records / name) for name in EXPERIMENTS})
            print(table(found).to_string(index=False), end="\n\n")
            print(against_control(found))
    except UserError as error:
        sys.exit(f"demo: {error}")
    except KeyboardInterrupt:
        sys.exit("demo: stopped; the same command goes on with what is not recorded")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
