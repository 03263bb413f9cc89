"""How the features of a real gallery spread, by which benchmarks.search.million makes up its own.

    python -m benchmarks.search.spread STORE     # a store whose crops have a column `pid`

Prints parts of the features' squared length, of all four branches together: of their mean, of
people around it, and of a person's crops around their own; and in how many dimensions the last two
spread, (sum of variances)^2 / sum of squared variances along principal axes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.search.store import Store  # noqa: E402
from pyramid_reid.search.store.vectors import unit  # noqa: E402


def dimensions(deviations: NDArray[np.float32]) -> float:
    """In how many dimensions rows spread around zero."""
    variances = np.linalg.svd(deviations, compute_uv=False) ** 2
    return float(variances.sum() ** 2 / (variances**2).sum())


def main() -> None:
    """Read and print."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    read, people = [], list[str]()
    for batch in Store.open(parser.parse_args().store).batches(["pid", "vector"]):
        read.append(unit(batch["vector"]).reshape(len(batch), -1) / 2)
        people += batch["pid"].to_pylist()
    features = np.concatenate(read)
    _, numbers, counts = np.unique(np.array(people), return_inverse=True, return_counts=True)
    centres = np.zeros((len(counts), features.shape[1]), np.float32)
    np.add.at(centres, numbers, features)
    centres /= counts[:, None]
    mean = features.mean(axis=0)
    within = features - centres[numbers]
    print(f"spread.crops {len(features)}")
    print(f"spread.people {len(centres)}")
    print(f"spread.mean {np.square(mean).sum():.2f}")
    print(f"spread.between {np.square(centres - mean).sum(axis=1)[numbers].mean():.2f}")
    print(f"spread.within {np.square(within).sum(axis=1).mean():.2f}")
    print(f"spread.between_dimensions {dimensions(centres - centres.mean(axis=0)):.0f}")
    print(f"spread.within_dimensions {dimensions(within):.0f}")


if __name__ == "__main__":
    main()
