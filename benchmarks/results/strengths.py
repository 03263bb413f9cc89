"""How strongly whitening is shrunk towards the identity: tried on validation identities alone.

    python -m benchmarks.results.strengths caviar4reid=FOLDER prid2011=FOLDER --start START

Networks as their start left them: nothing is trained, so all ten splits take minutes. Each split's
held-out people (those of `recipes`) are ranked by features whitened within its other training
people. No test person of a split is looked at there, but a held-out person of one split is a test
person of another: what is chosen from all ten is free of test data split by split, not over all.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core.runtime import pin_environment  # noqa: E402

pin_environment(threads=2)

import pandas as pd  # noqa: E402
from benchmarks.results import recipes  # noqa: E402
from benchmarks.results.records import CENTRED, WHITENED  # noqa: E402
from benchmarks.results.validation import AS_THEY_ARE, between, people  # noqa: E402
from benchmarks.results.workspace import check_committed, with_params  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import Params  # noqa: E402
from pyramid_reid.core.runtime import start_torch  # noqa: E402
from pyramid_reid.reid.network import osnet  # noqa: E402
from pyramid_reid.reid.training import pretrained  # noqa: E402
from pyramid_reid.training import weights_file  # noqa: E402

STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)


def tried(data: str, split: int, start: str, folder: Path) -> dict[str, dict[str, float]]:
    """Rank-1 and mAP in percent of a split's held-out people, by what was done to the features.

    Args:
        start: a name that `reid.pretrained` takes, or a file.
        folder: holds the split's crops, as `recipes.prepare` leaves them.
    """
    params = Params.model_validate(with_params(recipes.settings(data, recipes.CHOSEN)))
    reid = params.reid.of_branch("ori")
    start_torch("cpu", 2)
    network = osnet.build(reid.model, 1, seed=0).eval()
    pretrained.apply(network, weights_file.read(pretrained.find(start, reid.model, None, folder)))
    of_split = people(folder, split, reid.input_size("ori"))
    features = of_split.features(network, mirrored=True)
    less = of_split.centred(features)
    ways = {AS_THEY_ARE: features, CENTRED: less}
    for strength in STRENGTHS:
        ways[f"{WHITENED}, {strength:g}"] = of_split.whitened(less, strength)
    return {way: of_split.figures(between(of)) for way, of in ways.items()}


def run(sets: dict[str, Path], splits: Sequence[int], starts: Sequence[str]) -> None:
    """Try all strengths on each split of each set from each start, and print the means."""
    for data, root in sets.items():
        found: dict[tuple[str, str], list[dict[str, float]]] = {}
        with tempfile.TemporaryDirectory() as scratch:
            for split in splits:
                folder = Path(scratch) / str(split)
                recipes.prepare(data, root, split, folder)
                for start in starts:
                    with contextlib.redirect_stdout(sys.stderr):  # what is said of weights
                        by_way = tried(data, split, start, folder)
                    for way, figures in by_way.items():
                        found.setdefault((_named(start), way), []).append(figures)
        rows = {key: pd.DataFrame(of).mean() for key, of in found.items()}
        table = pd.DataFrame(rows).T.rename_axis(["start", "features"])
        print(f"{data}: validation people of {len(splits)} splits, networks as they are, mean")
        print(table.round(1).to_string(), end="\n\n", flush=True)


def _named(start: str) -> str:
    """A start as the tables call it."""
    return "pooled crops" if Path(start).is_file() else start


def main() -> None:
    """Do what the arguments ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--splits", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--start", type=Path, help="of recipe pooled (docs/results.md)")
    told = parser.parse_args()
    if told.start and not told.start.is_file():
        parser.error(f"--start: {told.start} is no file")
    sets = {name: Path(root).resolve() for name, root in (each.split("=") for each in told.sets)}
    try:
        check_committed()
        run(sets, told.splits, ["msmt17", *([str(told.start.resolve())] if told.start else [])])
    except UserError as error:
        sys.exit(f"strengths: {error}")


if __name__ == "__main__":
    printing.survive()
    main()
