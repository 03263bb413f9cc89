"""Split identities, give query and gallery roles, simulate low resolution, pack the crops."""

from _stage import image_folder, run

# isort: split

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from pyramid_reid.core import crops, protocol_record, raw_set
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params
from pyramid_reid.protocol import card, checks, of_sets, packing, roles

RAW, OUT = Path("data/raw"), Path("data/crops")
CARD, PICTURE = Path("metrics/dataset.json"), Path("plots/dataset.png")


def draw(name: str, split: Path) -> None:
    """Draw a split. Its library is loaded here: that takes as long as the card does."""
    from pyramid_reid.protocol import picture

    picture.draw(PICTURE, name, crops.CropStore(split).index)


def main(params: Params) -> str:
    """Write a crop store per split, the hash of each split, and the data card."""
    data, simulate = params.data, params.simulate
    if simulate.low_camera not in {None, "random"}:
        number = raw_set.camera_number(simulate.low_camera, RAW)
        simulate = simulate.model_copy(update={"low_camera": number})
    rules = of_sets.resolve(data.name, data.variant, data.splits, simulate)
    recorded = of_sets.record(rules)
    root, raw = image_folder(data.root), raw_set.read_images(RAW)
    rule = protocol_record.evaluation_rule(params.evaluation.rule, recorded)
    drawn = params.reid.validation_identities, raw_set.read_test_sets(RAW)
    numbers = range(data.first_split, data.first_split + rules.splits)
    problems, splits = checks.of_cameras(raw), dict[int, pd.DataFrame]()
    lost = list[dict[str, int]]()
    try:
        for split in numbers:
            decided = roles.decide(raw, rules, params.seed, split, *drawn)
            lost.append(roles.left_out(decided))
            splits[split] = roles.taking_part(decided)
            allow = rules.allow_duplicates
            found = checks.of_split(splits[split], rule, allow_duplicates=allow)
            if not (splits[split].role == "query").any():
                found.append(f"the protocol leaves out {roles.told(lost[-1])}")
            problems += [problem for problem in found if problem not in problems]
    except UserError as error:
        problems = [*(problems or [str(error)]), *packing.unreadable(root, raw)]
    else:
        problems += packing.pack(root, raw.path, splits, rules, params.seed, OUT)
    checks.raise_all(f"{rules.name} in {root}", problems)
    for note in checks.camera_notes(raw):
        print(f"simulate: note: {note}", flush=True)
    copies = [sum(map(len, checks.duplicates(assigned))) for assigned in splits.values()]
    if any(copies):
        print(
            f"simulate: note: {max(copies)} images of a split are copies of others with another"
            " person, camera or role; duplicate_images in the data card",
            flush=True,
        )
    names = crops.splits(OUT)
    hashes = pd.DataFrame({"split": names, "sha256": map(roles.digest, splits.values())})
    hashes.to_csv(OUT / "splits.csv", index=False, lineterminator="\n")
    protocol_record.write(OUT, recorded)
    with ThreadPoolExecutor() as pool:
        drawn_picture = pool.submit(draw, rules.name, OUT / names[0])
        cards = [
            card.describe(crops.CropStore(OUT / name), rule) | of_split
            for name, of_split in zip(names, lost, strict=True)
        ]
        drawn_picture.result()
    cards = [each | {"duplicate_images": n} for each, n in zip(cards, copies, strict=True)]
    means = card.mean(cards)
    figures = means | {"splits_sha256": roles.digest_of_all(hashes.sha256)}
    CARD.parent.mkdir(exist_ok=True)
    CARD.write_text(json.dumps(figures, indent=2, sort_keys=True) + "\n")
    crops_each = len(splits[numbers[-1]])
    untrained = not any((split.role == "train").any() for split in splits.values())
    note = "; none to train on: for networks that are there already" if untrained else ""
    return (
        f"{rules.name}, {len(names)} split(s) of {crops_each} crops from {root} in {OUT};"
        f" {card.sentence(means)}{note}"
    )


if __name__ == "__main__":
    run(main)
