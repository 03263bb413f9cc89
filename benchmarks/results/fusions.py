"""What is worth fusing: seeds of one start, or of two; tried on validation identities alone.

    python -m benchmarks.results.fusions caviar4reid=FOLDER --start START --features FOLDER

Per split, networks from MSMT17 and from `--start` are trained by the recipes `chosen` and `pooled`
of `recipes`, twice each, and rank the people who are held out there: mirrored, and with the set's
share of the start; whitened features are also re-ranked, all queries at once. `--features` keeps
what the networks say of all crops: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core.runtime import pin_environment  # noqa: E402

pin_environment(threads=1)

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
from benchmarks.results import plan, recipes  # noqa: E402
from benchmarks.results.recipes import CHOSEN, POOLED  # noqa: E402
from benchmarks.results.records import CENTRED, WHITENED  # noqa: E402
from benchmarks.results.validation import (  # noqa: E402
    AS_THEY_ARE,
    SIDES,
    Features,
    between,
    people,
)
from benchmarks.results.workspace import check_committed, with_params  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import Params  # noqa: E402
from pyramid_reid.core.provenance import sha256  # noqa: E402
from pyramid_reid.core.whole_files import write_whole  # noqa: E402
from pyramid_reid.reid.training import pretrained  # noqa: E402
from pyramid_reid.retrieval.rerank import join  # noqa: E402

WAYS = (AS_THEY_ARE, CENTRED, WHITENED)
SEEDS = (1, 2)
STARTS = {"MSMT17": CHOSEN, "pooled crops": POOLED}
FUSIONS = {
    **{f"one from {start}": [[(start, seed)] for seed in SEEDS] for start in STARTS},
    **{f"two from {start}": [[(start, seed) for seed in SEEDS]] for start in STARTS},
    "one from each": [
        [(start, seed) for start, seed in zip(STARTS, seeds, strict=True)]
        for seeds in ((1, 1), (1, 2), (2, 1), (2, 2))
    ],
    "two from each": [[(start, seed) for start in STARTS for seed in SEEDS]],
}
"""Networks that are fused; the figures of fusions alike are averaged."""


def features(
    data: str, split: int, start: str, seed: int, folder: Path, pooled: Path, kept: Path
) -> Features:
    """Features by role from a network that is trained on a split, unless they are kept already.

    Args:
        folder: holds the split's crops, as `recipes.prepare` leaves them.
        pooled: the start from pooled crops.
        kept: a folder of such features.
    """
    recipe, share = STARTS[start], float(str(plan.MSMT17.sets[data].get("reid.start_weight", 0)))
    used = [recipes.settings(data, recipe), share, sha256(pooled) if recipe == POOLED else start]
    key = hashlib.sha256(json.dumps(used, sort_keys=True).encode()).hexdigest()[:12]
    file = kept / f"{data}_{split}_{recipe}_{seed}_{key}.npz"
    if not file.exists():
        done = recipes.trained(recipes.Trial(data, split, recipe, folder, pooled, seed=seed))
        pretrained.blend(done.network, done.start, share)
        content = io.BytesIO()
        np.savez(content, **done.people.features(done.network.eval(), mirrored=True))
        write_whole(file, content.getbuffer())
    with np.load(file) as told:
        return dict(told)


def run(sets: dict[str, Path], splits: Sequence[int], pooled: Path, kept: Path) -> None:
    """Train what is not kept, and print what fusions reach on held-out people, mean over splits."""
    for data, root in sets.items():
        rows = []
        with tempfile.TemporaryDirectory() as scratch:
            for split in splits:
                folder = Path(scratch) / str(split)
                recipes.prepare(data, root, split, folder)
                with contextlib.redirect_stdout(sys.stderr):  # what is said of weights
                    rows += judged(data, split, folder, pooled, kept)
                print(f"{data}, split {split}", file=sys.stderr, flush=True)
        table = pd.DataFrame(rows).groupby(["fused", "features"], sort=False).mean()
        print(f"{data}: validation people of {len(splits)} splits, mean")
        print(table.unstack().round(1).to_string(), end="\n\n")


def judged(
    data: str, split: int, folder: Path, pooled: Path, kept: Path
) -> list[dict[str, object]]:
    """Rows of fused, features (what was done to them), rank1 and mAP in percent."""
    reid = Params.model_validate(with_params(recipes.settings(data, CHOSEN))).reid
    of_split = people(folder, split, reid.input_size("ori"))
    by_network = {
        (start, seed): of_split.moved(features(data, split, start, seed, folder, pooled, kept))
        for start in STARTS
        for seed in SEEDS
    }
    rows = list[dict[str, object]]()
    for name, alike in FUSIONS.items():
        for members in alike:
            by_way = {way: [by_network[each][way] for each in members] for way in WAYS}
            for way, fused in by_way.items():
                distances = np.mean([between(of) for of in fused], axis=0)
                rows.append({"fused": name, "features": way} | of_split.figures(distances))
            again = of_split.reranked(joined(by_way[WHITENED]))
            rows.append({"fused": name, "features": f"{WHITENED}, re-ranked"} | again)
    return rows


def joined(fused: Sequence[Features]) -> Features:
    """Features whose products are mean similarities, of held-out queries and gallery crops."""
    equal = {str(place): 1 / len(fused) for place in range(len(fused))}
    return {
        role: join({place: fused[int(place)][role] for place in equal}, equal) for role in SIDES
    }


def main() -> None:
    """Do what the arguments ask."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sets", nargs="+", help="NAME=FOLDER")
    parser.add_argument("--splits", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--start", type=Path, required=True, help="of recipe pooled")
    parser.add_argument("--features", type=Path, required=True, help="where they are kept")
    told = parser.parse_args()
    if not told.start.is_file():
        parser.error(f"--start: {told.start} is no file")
    sets = {name: Path(root).resolve() for name, root in (each.split("=") for each in told.sets)}
    try:
        check_committed()
        run(sets, told.splits, told.start.resolve(), told.features.resolve())
    except UserError as error:
        sys.exit(f"fusions: {error}")


if __name__ == "__main__":
    printing.survive()
    main()
