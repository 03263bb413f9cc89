"""From image files to crop stores: each file is read once, whatever the number of splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd

from pyramid_reid.core.crops import Crop, CropWriter, Pixels
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.core.raw_set import load_pixels
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.core.threads import in_order
from pyramid_reid.protocol.degradation import camera, downsample
from pyramid_reid.protocol.of_sets import Protocol


@dataclass(frozen=True, slots=True)
class _Image:
    """A file, and the crop that each split makes of it, by number of the split."""

    path: str
    sha256: str
    crops: tuple[tuple[int, Crop], ...]


def pack(
    root: Path,
    paths: Sequence[str],
    splits: Mapping[int, pd.DataFrame],
    protocol: Protocol,
    seed: int,
    out: Path,
) -> list[str]:
    """Decode, degrade and write the crops of all splits, `out/split_N` each.

    Args:
        root: folder of the raw images.
        paths: of all images below it, in the order that the stores shall have.
        splits: as `roles.assign` returns them, by number.
        seed: of the camera degradation.

    Returns:
        What is wrong with the images, a line each; the stores are whole when there is nothing.
    """
    images = _images(paths, splits)
    problems = []
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(CropWriter(out / f"split_{split}")) for split in splits
        }
        results = in_order(partial(_crops, root, protocol, seed), images)
        for image, made in zip(
            images, progress(results, "reading images", "images", len(images)), strict=True
        ):
            if isinstance(made, UserError):
                problems.append(str(made))
                continue
            for (split, crop), pixels in zip(image.crops, made, strict=True):
                writers[split].add(crop, pixels)
    return problems


def unreadable(root: Path, raw: pd.DataFrame) -> list[str]:
    """What is wrong with the images of a table with columns path and sha256, a line each."""

    def problem(file: tuple[str, str]) -> str | None:
        try:
            load_pixels(root, *file)
        except UserError as error:
            return str(error)
        return None

    found = in_order(problem, list(zip(raw.path, raw.sha256, strict=True)))
    return [each for each in progress(found, "checking images", "images", len(raw)) if each]


def degrade(
    pixels: Annotated[Pixels, "H W 3"], ratio: int, protocol: Protocol, seed: int
) -> Annotated[Pixels, "h w 3"]:
    """A crop at the low resolution of the protocol; ratio 1 changes nothing."""
    if ratio > 1 and protocol.degradation == "camera":
        return camera(pixels, ratio, np.random.default_rng(seed))
    return downsample(pixels, ratio, protocol.interpolation)


def _images(paths: Sequence[str], splits: Mapping[int, pd.DataFrame]) -> list[_Image]:
    """Every file that takes part in a split, in the order of `paths`."""
    files: dict[str, tuple[str, list[tuple[int, Crop]]]] = {}
    columns = ["sha256", "pid", "camid", "role", "ratio", "path"]
    for split, assigned in splits.items():
        values = zip(*(assigned[name].tolist() for name in columns), strict=True)
        for sha256, pid, camid, role, ratio, path in values:
            crop = Crop(pid, camid, role, ratio, path)
            files.setdefault(path, (sha256, []))[1].append((split, crop))
    return [_Image(path, files[path][0], tuple(files[path][1])) for path in paths if path in files]


def _crops(root: Path, protocol: Protocol, seed: int, image: _Image) -> list[Pixels] | UserError:
    try:
        pixels = load_pixels(root, image.path, image.sha256)
    except UserError as error:
        return error
    return [
        degrade(pixels, crop.ratio, protocol, derive_seed(seed, "degrade", str(split), image.path))
        for split, crop in image.crops
    ]
