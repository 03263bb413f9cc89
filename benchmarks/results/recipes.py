"""Recipes for fine-tuning branch ori from a named start, tried on validation identities alone.

    python -m benchmarks.results.recipes run OUT.csv caviar4reid=FOLDER --splits 0 1 2 --start START
    python -m benchmarks.results.recipes table OUT.csv

Each recipe differs from the plain one in the params that are named, and in luck: its name is in
its seed, so the classifier's first weights, order and augmentation are others, too. A difference
includes the luck of a training; it is a mean over splits.

Of each split's training identities some are held out (`HELD_OUT`); no network sees them, and nobody
sees a test identity of the split. A network is judged as it is, moved towards its start by several
shares, with the mean of each crop's and its mirror image's features, re-ranked, centred, and
whitened: those cost no training.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import io
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core.runtime import derive_seed, pin_environment  # noqa: E402

pin_environment(threads=1)

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from benchmarks.results import plan, rivals  # noqa: E402
from benchmarks.results.records import CENTRED, RERANKED, WHITENED  # noqa: E402
from benchmarks.results.validation import (  # noqa: E402
    AS_THEY_ARE,
    SIDES,
    People,
    between,
    people,
)
from benchmarks.results.workspace import Workspace, check_committed, with_params  # noqa: E402
from torch import nn  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import Params  # noqa: E402
from pyramid_reid.core.runtime import start_torch  # noqa: E402
from pyramid_reid.core.whole_files import write_whole  # noqa: E402
from pyramid_reid.reid.features import few_features  # noqa: E402
from pyramid_reid.reid.training import pretrained  # noqa: E402
from pyramid_reid.reid.training.loop import train  # noqa: E402
from pyramid_reid.retrieval.distance import normalize  # noqa: E402
from pyramid_reid.training import weights_file  # noqa: E402
from pyramid_reid.training.checkpoints import Checkpoints  # noqa: E402
from pyramid_reid.training.weights_file import Checkpoint  # noqa: E402

HELD_OUT = {"caviar4reid": 8, "prid2011": 30}
"""Validation identities, of 25 and 100 that train."""

RECIPES: dict[str, dict[str, object]] = {
    "plain": {},
    "epochs 15": {"reid.epochs": 15},
    "lr 3e-4": {"reid.lr": 3.0e-4},
    "batch 64": {"reid.batch_size": 64},
    "ema 0.98": {"reid.ema": 0.98},
    "mixed 0.5": {"reid.mixed_resolution": 0.5},
    "instances 4": {"reid.instances": 4},
    "market1501": {"reid.pretrained": "market1501"},
    "triplet": {"reid.instances": 4},
}
"""What each changes of `plan.START`."""
TRIPLET = "triplet"
"""The one whose loss is not the pipeline's."""
CHOSEN = "chosen"
"""The recipe of `plan.MSMT17`: what each set's people prefer, together."""
POOLED = "pooled"
"""The same from `--start`: a network from MSMT17 that pooled crops trained further."""
CENTRED_SHARES = (0.0, 0.4, 1.0)
"""Shares of the start for which centring and whitening are tried, as they take the features of all
training crops: the chosen ones, and zero-shot."""
OF_TRAINED = {RERANKED: "re-ranking", CENTRED: "centring", WHITENED: "centring with whitening"}
"""Rankings that cost no training, and what makes them."""
INSTANCES = {"prid2011": 2}
"""Where people have two crops each, so many make up a batch."""

ORDER = ["data", "recipe", "split", "share", "mirrored"]
"""Columns by which the rows are sorted."""

SHARES = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 1.0)
"""Of the start in the weights that are judged; 1 is zero-shot."""


def settings(data: str, recipe: str) -> dict[str, object]:
    """Params of a recipe that differ from the committed ones, but for folder and splits."""
    given = {"data.name": data, "reid.validation_identities": HELD_OUT[data]}
    if recipe in (CHOSEN, POOLED):  # its share of the start is one of those that are judged
        together = {**plan.MSMT17.shared, **plan.MSMT17.sets[data], "reid.start_weight": 0.0}
        return given | together
    given |= {**plan.START, **RECIPES[recipe]}
    if given.get("reid.instances"):
        given["reid.instances"] = INSTANCES.get(data, given["reid.instances"])
    return given


@dataclass(frozen=True, slots=True)
class Trial:
    """A recipe that is tried on a split.

    Attributes:
        folder: holds the split's crops, as `prepare` leaves them.
        device: `cpu` or `cuda`.
        pooled: the start of recipe `POOLED`.
    """

    data: str
    split: int
    recipe: str
    folder: Path
    pooled: Path | None = None
    device: str = "cpu"
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """A network that a recipe trained on a split.

    Attributes:
        network: its weights as training left them, none of the start's mixed in.
        start: what it started from.
        accuracy: of the last epoch, in percent; NaN where none is noted.
    """

    network: nn.Module
    start: Checkpoint
    people: People
    accuracy: float


def trained(trial: Trial) -> Trained:
    """Train with a recipe on a split."""
    split, seed, folder = trial.split, trial.seed, trial.folder
    given = settings(trial.data, trial.recipe) | {"device": trial.device, "seed": seed}
    params = Params.model_validate(with_params(given))
    device = start_torch(params.device, params.threads)
    reid = params.reid.of_branch("ori")
    of_split = people(folder, split, reid.input_size("ori"), seed)
    named = str(trial.pooled if trial.recipe == POOLED else reid.pretrained)
    start = weights_file.read(pretrained.find(named, reid.model, None, folder))
    told = (
        *(of_split.images["train"], of_split.tables["train"].pid.to_numpy(), reid),
        *(derive_seed(seed, "recipes", trial.recipe, str(split)), device),
    )
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        if trial.recipe == TRIPLET:
            return Trained(rivals.triplet(*told, start), start, of_split, float("nan"))
        network, curve = train(*told, Checkpoints(Path(scratch), "key"), start)
    return Trained(network, start, of_split, float(curve.accuracy.iloc[-1]))


def attempt(trial: Trial) -> list[dict[str, object]]:
    """Train with a recipe on a split; rows of data, split, recipe, share, mirrored and figures.

    Returns:
        Figures are `rank1` and `mAP` in percent, `reranked_rank1` and `reranked_mAP`, and for
        `CENTRED_SHARES` those of `centred` and `whitened`.
    """
    done = trained(trial)
    of_split, images = done.people, {role: done.people.images[role] for role in SIDES}
    found = []
    for share in SHARES:
        network = copy.deepcopy(done.network)
        pretrained.blend(network, done.start, share)
        plain = {role: normalize(few_features(network, of)) for role, of in images.items()}
        other = {
            role: normalize(few_features(network, np.ascontiguousarray(of[:, :, ::-1])))
            for role, of in images.items()
        }
        both = {role: normalize(plain[role] + other[role]) for role in images}
        for mirrored, features in (("no", plain), ("yes", both)):
            ways = {AS_THEY_ARE: between(features)}
            if share in CENTRED_SHARES:
                seen = few_features(network, of_split.images["train"], mirrored=mirrored == "yes")
                ways = of_split.distances({**features, "train": normalize(seen)})
            figures = {way: of_split.figures(of) for way, of in ways.items()}
            found.append(
                {
                    "data": trial.data,
                    "split": trial.split,
                    "recipe": trial.recipe,
                    "seed": trial.seed,
                    "share": share,
                    "mirrored": mirrored,
                    **figures.pop(AS_THEY_ARE),
                    "accuracy": done.accuracy,
                    **{
                        f"{ranking}_{name}": figure
                        for ranking, of in {
                            RERANKED: of_split.reranked(features),
                            **figures,
                        }.items()
                        for name, figure in of.items()
                    },
                }
            )
    return found


def prepare(data: str, root: Path, split: int, folder: Path) -> None:
    """Leave the crops of a split, with its validation identities held out, in a folder."""
    place = {"data.root": str(root), "data.splits": 1, "data.first_split": split}
    Workspace(folder).run(settings(data, "plain") | place, "simulate")


def run(
    sets: dict[str, Path],
    splits: Sequence[int],
    out: Path,
    jobs: int,
    device: str,
    names: Sequence[str],
    pooled: Path | None = None,
) -> None:
    """Try the recipes on each split of each set, several at once, and add rows as they come.

    Args:
        out: what is in it already is not tried again.
        pooled: the start of recipe `POOLED`.
    """
    rows = pd.read_csv(out).to_dict("records") if out.exists() else []
    there = {(row["data"], row["split"], row["recipe"]) for row in rows}
    with tempfile.TemporaryDirectory() as scratch, get_context("fork").Pool(jobs) as pool:
        todo = [
            Trial(data, split, name, Path(scratch) / f"{data}_{split}", pooled, device)
            for name in names
            for data in sets
            for split in splits
            if (data, split, name) not in there
        ]
        places = {(each.data, sets[each.data], each.split, each.folder) for each in todo}
        pool.starmap(prepare, sorted(places))
        for number, found in enumerate(pool.imap_unordered(attempt, todo), 1):
            rows += found
            text = (
                pd.DataFrame(rows)
                .sort_values(ORDER)
                .to_csv(index=False, float_format="%.4f", lineterminator="\n")
            )
            write_whole(out, text.encode())
            print(f"{number} of {len(todo)}", flush=True)


def table(path: Path, splits: Sequence[int] | None = None) -> None:
    """Print what each recipe gains over the plain one's last weights, on the same splits.

    A share of the start makes a column; further tables tell what mirror images, re-ranking,
    centring, and centring with whitening add.

    Args:
        splits: that alone count, so that recipes tried on other splits can be compared; None: all.
    """
    rows = pd.read_csv(path)
    rows = rows if splits is None else rows[rows.split.isin(splits)]
    for data, of_data in rows.groupby("data"):
        once = of_data[of_data.mirrored == "no"]
        plain = once[(once.recipe == "plain") & (once["share"] == 0)].set_index("split")
        for figure in ("rank1", "mAP"):
            print(f"{data}, validation {figure}: plain {plain[figure].mean():.1f}; gain of each")
            gains = once.assign(gain=once[figure] - once.split.map(plain[figure]))
            told = gains.pivot_table(index="recipe", columns="share", values="gain").round(1)
            told.insert(0, "splits", once.groupby("recipe").split.nunique())
            print(told.sort_values("recipe").to_string(), end="\n\n")
        both = of_data.pivot_table(index="share", columns="mirrored", values=["rank1", "mAP"])
        added = {figure: both[figure]["yes"] - both[figure]["no"] for figure in ("rank1", "mAP")}
        print(f"{data}, what mirror images add, mean over recipes")
        print(pd.DataFrame(added).T.round(1).to_string(), end="\n\n")
        for prefix, called in OF_TRAINED.items():
            if f"{prefix}_rank1" not in once or once[f"{prefix}_rank1"].isna().all():
                continue  # trials of before are not judged so
            judged = once.dropna(subset=f"{prefix}_rank1")
            for figure in ("rank1", "mAP"):
                gains = judged.assign(gain=judged[f"{prefix}_{figure}"] - judged[figure])
                told = gains.pivot_table(index="recipe", columns="share", values="gain").round(1)
                told.insert(0, "splits", judged.groupby("recipe").split.nunique())
                print(f"{data}, what {called} adds to validation {figure}")
                print(told.to_string(), end="\n\n")


def main() -> None:
    """Do what the arguments ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    actions = parser.add_subparsers(dest="action", required=True)
    running = actions.add_parser("run")
    running.add_argument("out", type=Path)
    running.add_argument("sets", nargs="+", help="NAME=FOLDER")
    running.add_argument("--splits", type=int, nargs="+", default=list(range(10)))
    running.add_argument("--recipes", nargs="+", help="default: all, but pooled without a start")
    running.add_argument("--start", type=Path, help="of recipe pooled (docs/results.md)")
    running.add_argument("--jobs", type=int, default=1)
    running.add_argument("--device", default="cpu")
    printing_ = actions.add_parser("table")
    printing_.add_argument("out", type=Path)
    printing_.add_argument("--splits", type=int, nargs="+", help="that alone count; default: all")
    told = parser.parse_args()
    if told.action == "table":
        table(told.out, told.splits)
        return
    try:
        check_committed()
    except UserError as error:
        sys.exit(f"recipes: {error}")
    sets = {name: Path(root).resolve() for name, root in (each.split("=") for each in told.sets)}
    names = told.recipes or [*RECIPES, CHOSEN, *([POOLED] if told.start else [])]
    if POOLED in names and not told.start:
        parser.error("recipe pooled: --start is missing; docs/results.md says how to make one")
    if told.start and not told.start.is_file():
        parser.error(f"--start: {told.start} is no file")
    pooled = told.start.resolve() if told.start else None
    run(sets, told.splits, told.out.resolve(), told.jobs, told.device, names, pooled)


if __name__ == "__main__":
    printing.survive()
    main()
