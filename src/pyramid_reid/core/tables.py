"""Figures as files whose bytes depend only on the figures: sorted keys, LF, fixed digits.

Files are written whole or not at all. Records of experiments use the same functions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from pyramid_reid.core.whole_files import write_whole


def write_json(path: Path, figures: Mapping[str, object]) -> None:
    """Write figures as JSON, one to a line."""
    write_whole(path, f"{json.dumps(figures, indent=2, sort_keys=True)}\n".encode())


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index, numbers to six digits."""
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_whole(path, text.encode())
