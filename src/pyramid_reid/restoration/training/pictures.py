"""Pictures of a restoration: crops side by side, PSNR against input height, curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.figures import COLORS, plot, save
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.restoration.inference import restore
from pyramid_reid.restoration.network.reconstructor import Reconstructor
from pyramid_reid.restoration.training.patches import Pair
from pyramid_reid.restoration.training.quality import bicubic, psnr


def sheet(path: Path, model: Reconstructor, pairs: Sequence[Pair]) -> None:
    """Draw a row per pair: LR, bicubic, each restored image, HR; with PSNR against its target."""
    scales = model.architecture.scales
    columns = ["LR", f"bicubic ×{scales[-1]}"]
    columns += [f"{branch} (×{scale})" for branch, scale in zip(BRANCHES[1:], scales, strict=True)]
    figure = Figure(figsize=(7.8, 2.9 * len(pairs)), layout="constrained")
    grid: NDArray[np.object_] = figure.subplots(len(pairs), len(columns) + 1, squeeze=False)
    restored = restore(model, [pair.low for pair in pairs])
    for row, pair, images in zip(grid, pairs, restored, strict=True):
        shown: list[tuple[Pixels, Pixels | None]] = [(pair.low, None)]
        shown.append((bicubic(pair.low, scales[-1]), pair.targets[-1]))
        shown += zip(images, pair.targets, strict=True)
        shown.append((pair.targets[-1], None))
        for axes, (image, target) in zip(row, shown, strict=True):
            # pixels as they are: smoothing would hide what restoration does
            axes.imshow(image, interpolation="nearest", aspect="equal")
            figures = "" if target is None else f"\n{psnr(target, image):.2f} dB"
            axes.set_xlabel(f"{image.shape[0]}×{image.shape[1]}{figures}", fontsize="small")
            axes.set(xticks=[], yticks=[])
            axes.spines[:].set_visible(False)
    for axes, title in zip(grid[0], [*columns, "HR"], strict=True):
        axes.set_title(title, fontsize="medium")
    save(figure, path)


def psnr_by_height(path: Path, table: pd.DataFrame) -> None:
    """Draw PSNR against input height: the table of `quality.by_height`."""
    figure, axes = plot(3.6, "height of the input (pixels)", "PSNR (dB)", "Unseen people")
    names = [name for name in table.columns.drop(["height", "crops"]) if "_" not in name]
    for name, branch in zip(names, BRANCHES[1:], strict=False):
        axes.plot(table.height, table[name], "o-", color=COLORS[branch], label=f"×{name[1:]}")
        axes.plot(table.height, table[f"{name}_bicubic"], "o:", color=COLORS[branch], alpha=0.6)
    axes.plot([], [], ":", color="#666666", label="bicubic")
    axes.legend(frameon=False, ncols=2)
    save(figure, path)


def psnr_curve(path: Path, table: pd.DataFrame, people: str) -> None:
    """Draw PSNR of held-out crops over a training: columns iteration, psnr_x2, psnr_x2_bicubic, ….

    Args:
        people: whose crops they are.
    """
    figure, axes = plot(3.2, "iteration", "PSNR (dB)", people)
    names = [name for name in table.columns if name.startswith("psnr") and "bicubic" not in name]
    for name, branch in zip(names, BRANCHES[1:], strict=False):
        label = f"×{name.removeprefix('psnr_x')}"
        axes.plot(table.iteration, table[name], "o-", color=COLORS[branch], label=label)
        axes.plot(table.iteration, table[f"{name}_bicubic"], ":", color=COLORS[branch])
    axes.plot([], [], ":", color="#666666", label="bicubic")
    axes.legend(frameon=False, ncols=2)
    save(figure, path)
