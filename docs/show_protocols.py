"""Print the protocols as a table."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from pyramid_reid.protocol.presets import PROTOCOLS

rows = []
for name, protocol in PROTOCOLS.items():
    rows.append(
        {
            "data.name": name,
            "protocol": protocol.name,
            "identities": "official" if protocol.official else "half",
            "splits": protocol.splits,
            "low camera": protocol.low_camera or "-",
            "ratios": ",".join(map(str, protocol.ratios)) or "natural",
            "per": protocol.ratio_per,
            "filter": protocol.interpolation if protocol.ratios else "-",
            "rule": protocol.rule,
        }
    )
print(pd.DataFrame(rows).to_string(index=False))
print()
for protocol in PROTOCOLS.values():
    print(f"{protocol.name}: {protocol.follows}.")
