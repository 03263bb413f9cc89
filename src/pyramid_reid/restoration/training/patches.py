"""Training pairs: from each high-resolution crop the low-resolution input and three targets.

The input is the crop down-sampled by the largest scale S; the target of the head of scale s is
the crop down-sampled by S / s. So every head has a real target of its own resolution; the target of
the largest head is the crop itself. All pairs are made once and kept in memory as uint8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pyramid_reid.core.crops import CropStore, Pixels
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.resize import resize
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.protocol.degradation import camera
from pyramid_reid.restoration.network.images import to_tensor

TRAIN, VALIDATION, TEST = ("train",), ("val_query", "val_gallery"), ("query", "gallery")
"""Roles of the crops that train the reconstructor, that it is watched on, and that judge it."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One crop: low (h, w, 3) and a target (s h, s w, 3) per scale, all uint8."""

    low: Pixels
    targets: tuple[Pixels, ...]


def make_pair(
    pixels: Annotated[Pixels, "H W 3"],
    scales: Sequence[int],
    ratio: int | None = None,
    rng: np.random.Generator | None = None,
) -> Pair:
    """Build a pair from (H, W, 3) uint8; H and W are first cut to multiples of the ratio.

    Args:
        ratio: by which the input is down-sampled; by default the largest scale, so that no target
            is larger than the crop.
        rng: makes the input as a cheap camera would (`protocol.degradation.camera`); without, it is
            only down-sampled.

    Raises:
        ValueError: the crop is smaller than the ratio.
    """
    ratio = ratio or max(scales)
    height, width = pixels.shape[0] // ratio, pixels.shape[1] // ratio
    if not height or not width:
        raise ValueError(f"a crop of {pixels.shape[:2]} has no input at 1/{ratio} of its size")
    whole = np.ascontiguousarray(pixels[: height * ratio, : width * ratio])

    def at(scale: int) -> Pixels:
        if scale == ratio:
            return whole
        return resize(whole, height * scale, width * scale, Image.Resampling.BICUBIC)

    low = at(1) if rng is None else camera(whole, ratio, rng)
    return Pair(low, tuple(at(scale) for scale in scales))


def high_resolution(
    store: CropStore, roles: Sequence[str], least: int
) -> list[Annotated[Pixels, "H W 3"]]:
    """The high-resolution crops of these roles, (H, W, 3) uint8 each.

    High resolution are the crops of the gallery's cameras that were not down-sampled: in a set
    with natural resolutions the other camera's crops are no target to aim at. Where cameras are
    unknown, each image has one of its own: then all count that were not down-sampled.

    Args:
        roles: `TRAIN`, `VALIDATION` or `TEST`.
        least: crops with a shorter side are left out (pixels).
    """
    index = store.index
    cameras = index.camid[index.role == "gallery"].unique()
    wanted = index[index.role.isin(roles) & (index.ratio == 1)]
    if index.camid.duplicated().any():  # cameras are known
        wanted = wanted[wanted.camid.isin(cameras)]
    chosen = wanted[wanted[["height", "width"]].min(axis=1) >= least]
    return [store[int(row)] for row in chosen.index]


def of_roles(
    store: CropStore, roles: Sequence[str], scales: Sequence[int], camera_seed: int | None = None
) -> list[Pair]:
    """Pairs of the high-resolution crops of these roles that are as large as the largest scale.

    Args:
        camera_seed: of inputs degraded as by a cheap camera, which are drawn for each of the roles
            apart; None only down-samples them.
    """
    rng = None
    if camera_seed is not None:
        rng = np.random.default_rng(derive_seed(camera_seed, "degrade", *roles))
    crops = high_resolution(store, roles, max(scales))
    return [make_pair(pixels, scales, rng=rng) for pixels in crops]


class PatchSampler:
    """Random aligned patches of the same size from many pairs.

    Args:
        pairs: candidates; those smaller than the patch are left out.
        patch: height and width of the low-resolution patch.
        scales: of the targets.

    Attributes:
        pairs: those that are large enough.

    Raises:
        UserError: there is no pair, or none is large enough.
    """

    def __init__(
        self, pairs: Sequence[Pair], patch: tuple[int, int], scales: Sequence[int]
    ) -> None:
        if not pairs:
            raise UserError(
                "no training crop has a high resolution to aim at, as those have that the gallery's"
                " cameras took and nobody down-sampled: set restoration.extractor=bicubic, or add"
                " training crops of these cameras"
            )
        self.patch, self.scales = patch, tuple(scales)
        self.pairs = [
            pair
            for pair in pairs
            if pair.low.shape[0] >= patch[0] and pair.low.shape[1] >= patch[1]
        ]
        if not self.pairs:
            height, width = (side * max(scales) for side in patch)
            raise UserError(
                f"no training crop is as large as {height}x{width} pixels: lower"
                " restoration.patch_height and restoration.patch_width"
            )

    def batch(
        self, size: int, generator: torch.Generator
    ) -> tuple[Annotated[Tensor, "B 3 H W"], list[Annotated[Tensor, "B 3 s*H s*W"]]]:
        """Draw patches, each mirrored at random.

        Returns:
            Inputs (size, 3, h, w) and per scale targets (size, 3, s h, s w), float32 in [0, 1].
        """
        lows, targets = [], []
        for _ in range(size):
            pair = self.pairs[self._draw(len(self.pairs), generator)]
            top = self._draw(pair.low.shape[0] - self.patch[0] + 1, generator)
            left = self._draw(pair.low.shape[1] - self.patch[1] + 1, generator)
            step = -1 if self._draw(2, generator) else 1
            lows.append(self._cut(pair.low, top, left, 1)[:, ::step])
            targets.append(
                [
                    self._cut(target, top, left, scale)[:, ::step]
                    for target, scale in zip(pair.targets, self.scales, strict=True)
                ]
            )
        return to_tensor(np.stack(lows)), [
            to_tensor(np.stack(of_scale)) for of_scale in zip(*targets, strict=True)
        ]

    @staticmethod
    def _draw(below: int, generator: torch.Generator) -> int:
        return int(torch.randint(below, (), generator=generator))

    def _cut(self, pixels: Pixels, top: int, left: int, scale: int) -> Pixels:
        rows = slice(top * scale, (top + self.patch[0]) * scale)
        columns = slice(left * scale, (left + self.patch[1]) * scale)
        return pixels[rows, columns]
