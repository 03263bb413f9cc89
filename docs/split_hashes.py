"""Print the SHA-256 of the splits of data sets, so that others can verify that they have the same.

    python docs/split_hashes.py caviar4reid=/path/to/CAVIAR4REID prid2011=/path/to/prid_2011

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

from pyramid_reid.datasets.registry import DATASETS  # noqa: E402
from pyramid_reid.protocol import roles  # noqa: E402 - needs the path above
from pyramid_reid.protocol.presets import PROTOCOLS  # noqa: E402


def hashes(name: str, root: Path, seed: int) -> pd.DataFrame:
    """A row per split: data, protocol, seed, split, sha256."""
    images = [(i.path, i.pid, i.camid, i.role, "") for i in DATASETS[name].read(root, None)]
    raw = pd.DataFrame(images, columns=["path", "pid", "camid", "role", "sha256"])
    rules = PROTOCOLS[name]
    rows = [
        (name, rules.name, seed, split, roles.digest(roles.assign(raw, rules, seed, split)))
        for split in range(rules.splits)
    ]
    return pd.DataFrame(rows, columns=["data", "protocol", "seed", "split", "sha256"])


def main() -> None:
    """Print a CSV table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="+", metavar="NAME=FOLDER")
    parser.add_argument("--seed", type=int, default=1, help="as in params.yaml (default 1)")
    arguments = parser.parse_args()
    pairs = [each.split("=", 1) for each in arguments.sets]
    tables = [hashes(name, Path(root), arguments.seed) for name, root in pairs]
    print(pd.concat(tables).to_csv(index=False, lineterminator="\n"), end="")


if __name__ == "__main__":
    main()
