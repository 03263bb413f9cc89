"""Quality of restored images: PSNR and SSIM per scale, compared with bicubic up-sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import pandas as pd
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.restoration.inference import restore
from pyramid_reid.restoration.network.reconstructor import Architecture, Reconstructor, build
from pyramid_reid.restoration.training.patches import Pair

SSIM_WINDOW = 7
"""Side of scikit-image's default window; smaller targets have no SSIM."""

BEST_PSNR = 100.0
"""dB that stand for the infinite PSNR of an exact copy, such as of a crop of one colour."""

CHUNK = 128
"""Pairs whose restored images are held at once."""

FIGURES = ["psnr", "ssim"]


def baseline(scales: tuple[int, ...]) -> Reconstructor:
    """The reconstructor that learns nothing: bicubic up-sampling at these scales."""
    return build(Architecture(size=None, head_dim=1, scales=scales), seed=0).eval()


def judged(pairs: Sequence[Pair], most: int | None = None) -> list[Pair]:
    """Pairs that are large enough to have an SSIM; with `most`, so many at even distances.

    Raises:
        UserError: none is.
    """
    fit = [pair for pair in pairs if min(min(t.shape[:2]) for t in pair.targets) >= SSIM_WINDOW]
    if not fit:
        raise UserError(
            "no crop of the people held out is large enough to judge the restoration: lower"
            " restoration.scales, or give a set with larger crops"
        )
    if most is None or len(fit) <= most:
        return fit
    return [fit[number * len(fit) // most] for number in range(most)]


def measure(model: Reconstructor, pairs: Sequence[Pair]) -> pd.DataFrame:
    """PSNR in dB and SSIM of every pair and scale, on RGB without cutting borders.

    Args:
        pairs: from `judged`.

    Returns:
        Columns pair (its number), height (of its input, pixels), scale, psnr, ssim; a row each.
    """
    rows = []
    for number, (pair, restored) in enumerate(
        zip(pairs, restore(model, [pair.low for pair in pairs]), strict=True)
    ):
        # without restoration all branches are one image at scale 1, which counts once
        compared = zip(pair.targets, restored, strict=True)
        for scale, (target, image) in dict(
            zip(model.architecture.scales, compared, strict=True)
        ).items():
            figures = psnr(target, image), _ssim(target, image)
            rows.append((number, pair.low.shape[0], scale, *figures))
    return pd.DataFrame(rows, columns=["pair", "height", "scale", *FIGURES])


def psnr(target: Annotated[Pixels, "H W 3"], image: Annotated[Pixels, "H W 3"]) -> float:
    """Peak signal-to-noise ratio in dB of (H, W, 3) uint8 images, at most `BEST_PSNR`."""
    with np.errstate(divide="ignore"):
        value = peak_signal_noise_ratio(target, image, data_range=255)
    return min(float(value), BEST_PSNR)


def _ssim(target: Pixels, image: Pixels) -> float:
    return float(structural_similarity(target, image, channel_axis=2, data_range=255))


def compare(model: Reconstructor, pairs: Sequence[Pair]) -> pd.DataFrame:
    """`measure` of a model beside that of bicubic up-sampling, with a progress bar.

    Returns:
        Columns pair, height, scale, psnr, ssim, psnr_bicubic, ssim_bicubic.
    """
    bicubic, tables = baseline(model.architecture.scales), []
    for start in progress(range(0, len(pairs), CHUNK), "PSNR and SSIM", f"x {CHUNK} crops"):
        chunk = pairs[start : start + CHUNK]
        table = beside(measure(model, chunk), measure(bicubic, chunk))
        tables.append(table.assign(pair=table.pair + start))
    return pd.concat(tables, ignore_index=True)


def beside(measured: pd.DataFrame, bicubic: pd.DataFrame) -> pd.DataFrame:
    """Rows of `measure` with those of the baseline on the same pairs as psnr_bicubic, ssim_…."""
    keys = ["pair", "height", "scale"]
    return measured.merge(bicubic, on=keys, suffixes=("", "_bicubic"), validate="one_to_one")


def summary(compared: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean per scale to four decimals: `{"x2": {"psnr": …, "psnr_bicubic": …, …}, …}`."""
    means = compared.drop(columns=["pair", "height"]).groupby("scale").mean()
    return {
        f"x{scale}": {str(name): round(float(value), 4) for name, value in row.items()}
        for scale, row in means.iterrows()
    }


def by_height(compared: pd.DataFrame, bins: int = 8) -> pd.DataFrame:
    """Mean PSNR of crops of about the same input height.

    Args:
        compared: from `beside`.
        bins: with about as many crops each; fewer where heights coincide.

    Returns:
        Columns height (mean, pixels), crops, and per scale x2, x2_bicubic, …; a row per bin.
    """
    edges = np.unique(np.quantile(compared.height, np.linspace(0, 1, bins + 1)))
    part = np.clip(np.searchsorted(edges, compared.height, side="right"), 1, max(1, len(edges) - 1))
    table = compared.assign(part=part)
    one = table[table.scale == table.scale.min()].groupby("part")
    columns = {"height": one.height.mean(), "crops": one.size()}
    for scale, rows in table.groupby("scale"):
        means = rows.groupby("part")[["psnr", "psnr_bicubic"]].mean()
        columns[f"x{scale}"], columns[f"x{scale}_bicubic"] = means.psnr, means.psnr_bicubic
    return pd.DataFrame(columns).reset_index(drop=True)
