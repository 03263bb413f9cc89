"""Compare two experiments query by query: `python -m pyramid_reid.compare_queries A.csv B.csv`.

The files are `data/evaluation/queries.csv` of two experiments on the same queries; `dvc get . …
--rev NAME` fetches that of another one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from pyramid_reid.core.errors import UserError
from pyramid_reid.evaluation import queries


def _differ(ours: pd.DataFrame, theirs: pd.DataFrame, name: str) -> bool:
    columns = [f"{name}.{figure}" for figure in queries.FIGURES]
    return not ours[columns].equals(theirs[columns])


def main() -> None:
    """Print, per ranking that differs and figure, A minus B with its interval and p."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("a", type=Path)
    parser.add_argument("b", type=Path)
    parser.add_argument("--resamples", type=int, default=10_000, help="of identities and signs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        ours, theirs = (queries.read(path) for path in (arguments.a, arguments.b))
        rows = {
            f"{name} {figure}": row
            for name in queries.names(ours)
            if name in queries.names(theirs) and _differ(ours, theirs, name)
            for figure, row in queries.compare(
                ours, theirs, name, name, arguments.resamples, arguments.seed
            ).items()
        }
    except UserError as error:
        sys.exit(f"compare_queries: {error}")
    print(f"{arguments.a} minus {arguments.b}, points of percent, {ours.pid.nunique()} identities")
    print(pd.DataFrame(rows).T.to_string(float_format="%g") if rows else "no ranking differs")


if __name__ == "__main__":
    main()
