"""Pictures. One colour per branch everywhere (Okabe and Ito's colour-blind-safe palette)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyramid_reid.core.crops import Pixels

COLORS = {
    "fused": "#000000",
    "ori": "#E69F00",
    "h1": "#56B4E9",
    "h2": "#009E73",
    "h3": "#CC79A7",
    "reranked": "#0072B2",
    "centred": "#D55E00",
    "whitened": "#882255",
}
NO_BRANCH = "#999999"
"""Grey of what belongs to no branch."""
DPI = 120


def plot(height: float, xlabel: str, ylabel: str, title: str) -> tuple[Figure, Axes]:
    """Empty axes in the style of all pictures; height in inches."""
    figure = Figure(figsize=(6.4, height))
    # fixed margins: to lay them out by what is drawn takes as long as drawing
    figure.subplots_adjust(left=0.12, right=0.97, bottom=0.55 / height, top=1 - 0.35 / height)
    axes = figure.add_subplot()
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.set_title(title, loc="left", fontsize="medium")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def save(figure: Figure, path: Path) -> None:
    """Write a picture whose bytes are the same in every run."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # no version of matplotlib in the file: its bytes say what it shows
    figure.savefig(path, dpi=DPI, metadata={"Software": None})


def restoration(path: Path, figures: Mapping[str, Mapping[str, float]]) -> None:
    """Draw PSNR per scale of the reconstructor beside bicubic up-sampling.

    Args:
        figures: psnr and psnr_bicubic (dB) of each scale, in the order of the branches.
    """
    title = "Unseen people: restored in the branch's colour, bicubic in grey"
    figure, axes = plot(3.2, "PSNR (dB), higher is better", "", title)
    names = list(figures)
    places = np.arange(len(names))
    colors = [COLORS[branch] for branch in ("h1", "h2", "h3")]
    bars = (("psnr", colors[: len(names)], -0.2), ("psnr_bicubic", NO_BRANCH, 0.2))
    for key, color, shift in bars:
        values = [figures[name][key] for name in names]
        axes.barh(places + shift, values, height=0.38, color=color)
        for place, value in zip(places + shift, values, strict=True):
            axes.text(value, place, f" {value:.2f}", va="center", fontsize="small")
    axes.set_yticks(places, [f"×{name[1:]}" for name in names])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    save(figure, path)


def contact_sheet(
    path: Path, columns: Sequence[str], rows: Sequence[Sequence[Annotated[Pixels, "H W 3"]]]
) -> None:
    """Draw rows of images side by side, each at its number of pixels under it.

    Args:
        columns: titles.
        rows: per row one image per column, of any size; shown at equal height.
    """
    figure = Figure(figsize=(1.25 * len(columns), 2.75 * len(rows)), layout="constrained")
    grid: NDArray[np.object_] = figure.subplots(len(rows), len(columns), squeeze=False)
    for row, images in zip(grid, rows, strict=True):
        for axes, image in zip(row, images, strict=True):
            # pixels as they are: smoothing would hide what restoration does
            axes.imshow(image, interpolation="nearest", aspect="equal")
            axes.set_xlabel(f"{image.shape[0]}×{image.shape[1]}", fontsize="small")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    for axes, title in zip(grid[0], columns, strict=True):
        axes.set_title(title, fontsize="medium")
    save(figure, path)


mpl.rcdefaults()  # pictures are hashed outputs: no user's own style may enter
