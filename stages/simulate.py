"""Split identities, give query and gallery roles, simulate low resolution, pack the crops."""

from _stage import image_folder, run

# isort: split

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from pyramid_reid.core import crops, raw_set
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.protocol import card, checks, packing, presets, roles

RAW, OUT = Path("data/raw"), Path("data/crops")
CARD, PICTURE = Path("metrics/dataset.json"), Path("plots/dataset.png")


def draw(name: str, split: Path) -> None:
    """Draw a split. Its library is loaded here: that takes as long as the card does."""
    from pyramid_reid.protocol import picture

    picture.draw(PICTURE, name, crops.CropStore(split).index)


def main(params: Params) -> str:
    """Write a crop store per split, the hash of each split, and the data card."""
    rules = presets.resolve(params.data.name, params.data.splits, params.simulate)
    root, raw = image_folder(params.data.root), raw_set.read_images(RAW)
    rule = params.evaluation.rule or rules.rule
    drawn = params.reid.validation_identities, raw_set.read_test_sets(RAW)
    numbers = range(params.data.first_split, params.data.first_split + rules.splits)
    problems, splits = checks.of_cameras(raw), dict[int, pd.DataFrame]()
    try:
        for split in numbers:
            splits[split] = roles.assign(raw, rules, params.seed, split, *drawn)
            found = checks.of_split(splits[split], rule)
            problems += [problem for problem in found if problem not in problems]
    except UserError as error:
        problems += [str(error), *packing.unreadable(root, raw)]
    else:
        problems += packing.pack(root, raw.path, splits, rules, params.seed, OUT)
    checks.raise_all(f"{rules.name} in {root}", problems)
    names = crops.splits(OUT)
    hashes = pd.DataFrame({"split": names, "sha256": map(roles.digest, splits.values())})
    hashes.to_csv(OUT / "splits.csv", index=False, lineterminator="\n")
    with ThreadPoolExecutor() as pool:
        drawn_picture = pool.submit(draw, rules.name, OUT / names[0])
        cards = [
            card.describe(
                crops.CropStore(OUT / name),
                rule,
                params.evaluation.draws,
                derive_seed(params.seed, "gallery", name),  # the galleries that evaluation draws
            )
            for name in names
        ]
        drawn_picture.result()
    figures = card.mean(cards) | {"splits_sha256": roles.digest_of_all(hashes.sha256)}
    CARD.parent.mkdir(exist_ok=True)
    CARD.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    crops_each = len(splits[numbers[-1]])
    return f"{rules.name}, {len(names)} split(s) of {crops_each} crops from {root} in {OUT}"


if __name__ == "__main__":
    run(main)
