"""How good a restoration is: PSNR and SSIM per scale, beside bicubic up-sampling."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from pyramid_reid.crops import Pixels
from pyramid_reid.errors import UserError
from pyramid_reid.progress import progress
from pyramid_reid.restoration.inference import restore
from pyramid_reid.restoration.pairs import Pair, to_pixels, to_tensor
from pyramid_reid.restoration.pyramid import Reconstructor, upsample

SSIM_WINDOW = 7
"""Side of scikit-image's default window; smaller targets have no SSIM."""

BEST_PSNR = 100.0
"""dB that stand for the infinite PSNR of an exact copy, such as of a crop of one colour."""


def bicubic(low: Pixels, scale: int) -> Pixels:
    """Bicubic up-sampling of (H, W, 3) uint8 to (s H, s W, 3) uint8, as the heads start from."""
    with torch.inference_mode():
        images = to_pixels(upsample(to_tensor(low[None]), scale))
    return np.asarray(images[0])


def measure(model: Reconstructor, pairs: Sequence[Pair]) -> pd.DataFrame:
    """PSNR in dB and SSIM of every pair, scale and method, on RGB without cutting borders.

    Returns:
        Columns scale, method (`reconstructor` or `bicubic`), psnr, ssim; a row each.

    Raises:
        UserError: no target is as large as SSIM's window.
    """
    pairs = [pair for pair in pairs if min(min(t.shape[:2]) for t in pair.targets) >= SSIM_WINDOW]
    if not pairs:
        raise UserError(
            "no crop of the people held out is large enough to judge the restoration: lower"
            " restoration.scales, or give a set with larger crops"
        )
    rows = []
    images = restore(model, (pair.low for pair in pairs))
    for pair, restored in progress(
        zip(pairs, images, strict=True), "PSNR and SSIM", "crops", total=len(pairs)
    ):
        for scale, target, image in zip(
            model.architecture.scales, pair.targets, restored, strict=True
        ):
            for method, candidate in (
                ("reconstructor", image),
                ("bicubic", bicubic(pair.low, scale)),
            ):
                rows.append((scale, method, *_psnr_ssim(target, candidate)))
    return pd.DataFrame(rows, columns=["scale", "method", "psnr", "ssim"])


def _psnr_ssim(target: Pixels, image: Pixels) -> tuple[float, float]:
    with np.errstate(divide="ignore"):
        psnr = peak_signal_noise_ratio(target, image, data_range=255)
    ssim = structural_similarity(target, image, channel_axis=2, data_range=255)
    return min(float(psnr), BEST_PSNR), float(ssim)


def summary(measured: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Mean per scale to four decimals: `{"x2": {"psnr": …, "psnr_bicubic": …, …}, …}`."""
    means = measured.groupby(["scale", "method"])[["psnr", "ssim"]].mean()
    figures: dict[str, dict[str, float]] = {}
    for (scale, method), row in means.iterrows():
        suffix = "" if method == "reconstructor" else "_bicubic"
        of_scale = figures.setdefault(f"x{scale}", {})
        of_scale.update({f"{name}{suffix}": round(float(value), 4) for name, value in row.items()})
    return figures
