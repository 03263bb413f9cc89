"""Crops of many people to train one restorer and one start on, for all splits of all sets.

Nobody of them is a test person.

    python -m benchmarks.results.pool DATA OUT

DATA holds 3DPeS, iLIDS, TownCentre and CAVIAR4REID as the PETA collection lays them out. Of 3DPeS
every other crop is taken and of TownCentre every fourth, as neighbouring frames are alike; of
CAVIAR4REID the people whom one camera saw, who are in no split. OUT gets the files and a manifest
of them; a tenth of the people are its query and gallery, on whom PSNR is measured.
"""

from __future__ import annotations

import argparse
import csv
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from PIL import Image  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402

ONE_CAMERA = (
    *(1, 2, 5, 10, 11, 13, 14, 17, 25, 26, 39, 42, 43, 48, 49, 51, 53, 54, 56, 61, 63, 72),
)
"""People of CAVIAR4REID whom the corridor camera alone saw."""
HELD_OUT = 10
"""Every tenth person is held out."""


def crops(data: Path) -> Iterator[tuple[str, Path]]:
    """Person, by set, and file of each crop."""
    for path in sorted((data / "3DPeS").rglob("*.bmp"))[::2]:
        yield f"3dpes-{path.name.split('_')[0]}", path
    for path in sorted((data / "iLIDS").rglob("*.jpg")):
        yield f"ilids-{path.name[:4]}", path
    for path in sorted((data / "TownCentre").rglob("*.jpg"))[::4]:
        yield f"towncentre-{path.name.split('_')[0]}", path
    for path in sorted((data / "CAVIAR4REID").rglob("*.jpg")):
        if int(path.name[:4]) in ONE_CAMERA:
            yield f"caviar4reid-{path.name[:4]}", path


def main() -> None:
    """Write the images and the manifest."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    told = parser.parse_args()
    told.out.mkdir(parents=True)
    listed = list(crops(told.data))
    people = Counter(person for person, _ in listed)
    judged = {name for number, name in enumerate(people) if number % HELD_OUT == 0}
    asked = set[str]()
    with (told.out / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["path", "pid", "camid", "role"])
        for number, (person, path) in enumerate(listed):
            # cameras are unknown: the one of the gallery is that of the training crops
            held_out = person in judged and people[person] > 1
            role = "train" if not held_out else "gallery" if person in asked else "query"
            asked |= {person} if role == "query" else set()
            name = f"{number:05}{path.suffix.replace('bmp', 'png')}"
            if path.suffix == ".bmp":
                Image.open(path).convert("RGB").save(told.out / name, optimize=True)
            else:
                shutil.copyfile(path, told.out / name)
            table.writerow([name, person, 2 if role == "query" else 1, role])
    print(f"{len(listed)} crops of {len(people)} people in {told.out}")


if __name__ == "__main__":
    printing.survive()
    main()
