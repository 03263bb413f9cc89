"""What a gallery costs as it grows: a table and a plot of what benchmarks.search.million recorded.

    python -m benchmarks.search.growth           # prints the table
    python -m benchmarks.search.growth --draw    # and draws docs/scale/growth.png

The records, docs/scale/growth.csv, are those of

    for crops in 10000 100000; do
      python -m benchmarks.search.million --crops $crops --no-faiss --record docs/scale/growth.csv
    done
    python -m benchmarks.search.million --record docs/scale/growth.csv
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from pyramid_reid.core import figures, printing  # noqa: E402

FOLDER = ROOT / "docs" / "scale"
PANELS = {
    "Time to take in, µs per crop": {
        "write": ("write.time", "h2", 1e6),
        "index": ("index.build", "h1", 1e6),
    },
    "Peak memory, GiB": {
        "write": ("write.peak_memory", "h2", 1.0),
        "index": ("index.peak_memory", "h1", 1.0),
        "search": ("search.peak_memory", "fused", 1.0),
    },
    "Median latency of a query, ms": {
        "exact": ("search.exact.median", "ori", 1.0),
        "whole gallery": ("search.equal.median", "fused", 1.0),
        "a tenth of it": ("search.a_tenth.median", "h3", 1.0),
    },
    "Disk, bytes per crop": {
        "table": ("table.size", "fused", 1.0),
        "index": ("index.size", "h1", 1.0),
    },
}
"""Per panel its lines: name, figure, colour, and what the figure is multiplied with."""
PER_CROP = ("write.time", "index.build")
RECALLS = {
    "equal": "search.equal.recall_at_10",
    "ori alone": "search.w_ori_1.recall_at_10",
    "a tenth": "search.a_tenth.recall_at_10",
}

Records = dict[int, dict[str, float]]
"""Per number of crops, each figure."""


def read(file: Path) -> Records:
    """The records."""
    records: Records = {}
    with file.open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            records.setdefault(int(row["crops"]), {})[row["figure"]] = float(row["value"])
    return records


def value(records: Records, crops: int, figure: str, scale: float) -> float:
    """A figure as a panel shows it."""
    found = records[crops][figure] * scale
    return found / crops if figure in PER_CROP else found


def lines(records: Records) -> list[str]:
    """A table: a line per figure, a column per number of crops."""
    head = ["crops", *(f"{crops:,}" for crops in records)]
    rows = [head]
    for title, panel in PANELS.items():
        for name, (figure, _, scale) in panel.items():
            cells = [shown(value(records, crops, figure, scale)) for crops in records]
            rows.append([f"{title}: {name}", *cells])
    for name, figure in RECALLS.items():
        rows.append([f"Recall@10: {name}", *(f"{each[figure]:.3f}" for each in records.values())])
    widths = [max(len(row[place]) for row in rows) for place in range(len(head))]
    return [
        "  ".join([row[0].ljust(widths[0]), *(map(str.rjust, row[1:], widths[1:]))]) for row in rows
    ]


def shown(number: float) -> str:
    """A number with three digits at least where they mean anything."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def draw(records: Records, path: Path) -> None:
    """Draw the panels over the number of crops."""
    figure = Figure(figsize=(8.4, 6.0), layout="constrained")
    for axes, (title, panel) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        _panel(axes, title, panel, records)
    figures.save(figure, path)


def _panel(
    axes: Axes, title: str, panel: dict[str, tuple[str, str, float]], records: Records
) -> None:
    sizes = list(records)
    for name, (figure, color, scale) in panel.items():
        values = [value(records, crops, figure, scale) for crops in sizes]
        axes.plot(sizes, values, marker="o", color=figures.COLORS[color], label=name)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.set(xscale="log", xlabel="crops")
    if title.startswith("Median"):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)


def main() -> None:
    """Print, and draw."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draw", action="store_true", help="write docs/scale/growth.png, too")
    given = parser.parse_args()
    records = read(FOLDER / "growth.csv")
    print("\n".join(lines(records)))
    if given.draw:
        draw(records, FOLDER / "growth.png")


if __name__ == "__main__":
    main()
