"""Print the SHA-256 of the splits of data sets, so that others can verify that they have the same.

    python docs/split_hashes.py caviar4reid=/path/to/CAVIAR4REID prid2011=/path/to/prid_2011
    python docs/split_hashes.py cuhk03:labeled_new=/path/to/cuhk03

A hash is that of the lines `role,ratio,pid,camid,path` of a split, sorted by path, as CSV; the
`simulate` stage writes the same ones to data/crops/splits.csv. `splits.csv` beside this file holds
those of the sets that we have, with the protocols' own settings and seed 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402 - need the path above
from pyramid_reid.datasets.registry import DATASETS  # noqa: E402
from pyramid_reid.protocol import roles  # noqa: E402 - needs the path above
from pyramid_reid.protocol.of_sets import of_set  # noqa: E402


def hashes(name: str, variant: str | None, root: Path, seed: int) -> pd.DataFrame:
    """A row per split: data, protocol, seed, split, sha256."""
    dataset, rules = DATASETS[name], of_set(name, variant)
    images = [(i.path, i.pid, i.camid, i.role, "") for i in dataset.read(root, variant)]
    raw = pd.DataFrame(images, columns=["path", "pid", "camid", "role", "sha256"])
    test_sets = [set(pids) for pids in dataset.test_sets(root)] if dataset.test_sets else []
    rows = []
    for split in range(rules.splits):
        crops = roles.assign(raw, rules, seed, split, test_sets=test_sets)
        rows.append((name, rules.name, seed, split, roles.digest(crops)))
    return pd.DataFrame(rows, columns=["data", "protocol", "seed", "split", "sha256"])


def main() -> None:
    """Print a CSV table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME[:VARIANT]=FOLDER")
    parser.add_argument("--seed", type=int, default=1, help="as in params.yaml (default 1)")
    arguments = parser.parse_args()
    pairs = [each.split("=", 1) for each in arguments.sets]
    tables = []
    for named, root in pairs:
        name, _, variant = named.partition(":")
        tables.append(hashes(name, variant or None, Path(root), arguments.seed))
    print(pd.concat(tables).to_csv(index=False, lineterminator="\n"), end="")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
