"""Print the protocols as a table, whom each follows, and what its figures may stand beside."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from pyramid_reid.core import printing
from pyramid_reid.core.params import VARIANTS
from pyramid_reid.datasets.registry import DATASETS
from pyramid_reid.protocol.of_sets import PROTOCOLS, VARIANT_PROTOCOLS, Protocol

printing.end_when_lost()


def protocols() -> dict[str, Protocol]:
    """Each protocol by the set, or by the kind of variant, that it is of."""
    found = {}
    for name, protocol in PROTOCOLS.items():
        for variant in VARIANTS.get(name, ("",)):
            kind = f"{name} *_{variant.partition('_')[2]}" if variant else name
            found[kind] = VARIANT_PROTOCOLS.get((name, variant), protocol)
    return found


def identities(name: str, protocol: Protocol) -> str:
    """Where the people of training and test come from."""
    if protocol.official:
        return "official"
    return "authors'" if DATASETS[name].test_sets else "half"


rows = [
    {
        "data.name": name,
        "protocol": protocol.name,
        "identities": identities(name.split()[0], protocol),
        "splits": protocol.splits,
        "low camera": protocol.low_camera or "-",
        "ratios": ",".join(map(str, protocol.ratios)) or "natural",
        "per": protocol.ratio_per,
        "filter": protocol.interpolation if protocol.ratios else "-",
        "rule": protocol.rule,
    }
    for name, protocol in protocols().items()
]
print(pd.DataFrame(rows).to_string(index=False))
for protocol in protocols().values():
    print(f"\n{protocol.name}: {protocol.follows}.\n  Comparable with: {protocol.comparable}.")
