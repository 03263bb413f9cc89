"""Restoring folders of images: from whatever names they have to PNG files of the same names."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import torch
from PIL import Image

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.decode import decode
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.datasets.folders import OTHER_IMAGES
from pyramid_reid.datasets.layout import SUFFIXES
from pyramid_reid.search.description import Description
from pyramid_reid.search.gallery import UNREAD, images_below
from pyramid_reid.search.model import Model

LARGEST = 2**18
"""Pixels of an image that is restored, 512x512: a crop of a person is far smaller, and at scale 4
the features of a larger one fill gigabytes."""

TOGETHER = 2**18
"""Pixels of the images that are in memory at once, before they are restored."""


@dataclass(slots=True)
class Report:
    """What a run did.

    Attributes:
        restored: images of which all files were written.
        problems: images that could not be read, with the reason.
    """

    scales: list[int]
    restored: int = 0
    problems: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "restored": self.restored,
            "scales": self.scales,
            "unreadable": dict(sorted(self.problems.items())),
        }

    def lines(self, out: Path) -> list[str]:
        """For people."""
        folders = ", ".join(f"{out}/x{scale}" for scale in self.scales)
        lines = [f"{self.restored:,} images restored, in {folders}"]
        if self.problems:
            lines.append(f"{len(self.problems):,} files could not be read:")
            lines += [f"  {path}: {problem}" for path, problem in sorted(self.problems.items())]
        return lines


@dataclass(slots=True)
class Done:
    """What became of some images that were read together: as `Report`, and how many were read."""

    read: int
    restored: int = 0
    problems: dict[str, str] = field(default_factory=dict)


def restore(
    model: Model, inputs: Sequence[Path], out: Path, scales: Sequence[int] | None = None
) -> Report:
    """Restore images and write them as `OUT/xSCALE/NAME.png`.

    Args:
        inputs: images, and folders of which every image is taken with its path inside.
        scales: of the model's; None for all.

    Raises:
        UserError: an input is not there, `out` is inside one, two images have the same name, the
            model has no such scale, or a file cannot be written. All but the last before any work.
    """

    def here(named: Mapping[PurePath, Path], wanted: Sequence[int]) -> Iterator[Done]:
        return written(model, named, out, wanted)

    return run(here, model.description, inputs, out, scales)


Work = Callable[[Mapping[PurePath, Path], Sequence[int]], Iterator[Done]]
"""Restores images at some scales and writes them: this process, or those of a cluster."""


def run(
    work: Work,
    described: Description,
    inputs: Sequence[Path],
    out: Path,
    scales: Sequence[int] | None,
) -> Report:
    """`restore`, by whatever reads, restores and writes.

    Args:
        described: the model.
    """
    of_model = list(dict.fromkeys(described.restorer.scales))
    wanted = of_model if scales is None else sorted(set(scales))
    if unknown := [scale for scale in wanted if scale not in of_model]:
        raise UserError(
            f"--scales: the model restores at {', '.join(map(str, of_model))}, not at"
            f" {', '.join(map(str, unknown))}"
        )
    report = Report(wanted)
    named = listed(inputs, out, report)
    with progress(named, "restore", "images") as bar:
        for done in work(named, wanted):
            report.restored += done.restored
            report.problems |= done.problems
            bar.update(done.read)
    return report


def written(
    model: Model, named: Mapping[PurePath, Path], out: Path, scales: Sequence[int]
) -> Iterator[Done]:
    """Restore images and write them, some at a time.

    Raises:
        UserError: a file cannot be written.
    """
    places = [list(model.description.restorer.scales).index(scale) for scale in scales]
    with ThreadPoolExecutor(torch.get_num_threads()) as threads:
        for done, chunk in _chunks(named):
            images = model.restore_all([pixels for _, pixels in chunk])
            jobs = [
                threads.submit(_write, out / f"x{scale}" / name, of_image[place])
                for (name, _), of_image in zip(chunk, images, strict=True)
                for scale, place in zip(scales, places, strict=True)
            ]
            try:
                for job in jobs:
                    job.result()
            except OSError as error:
                raise UserError(
                    f"{out}: {error.strerror or error}: make room or make it writable, and run the"
                    " same command again; what was written is whole"
                ) from error
            done.restored = len(chunk)
            yield done


Named = tuple[PurePath, Pixels]


def listed(inputs: Sequence[Path], out: Path, report: Report) -> dict[PurePath, Path]:
    """Image of each name that is written, in order; images of other kinds go to the report.

    Raises:
        UserError: as `restore`.
    """
    named: dict[PurePath, Path] = {}
    target = out.resolve()
    for given in inputs:
        if not given.exists():
            raise UserError(f"{given} is neither a file nor a folder")
        if given.is_dir() and target.is_relative_to(given.resolve()):
            raise UserError(
                f"--out {out} lies inside {given}, whose images are read: choose another"
            )
        found = [given] if given.is_file() else map(Path, images_below(given, report.problems))
        for path in found:
            if path.suffix.lower() in OTHER_IMAGES:
                report.problems[str(path)] = UNREAD
                continue
            inside = PurePath(path.name) if path == given else path.relative_to(given)
            name = inside.with_suffix(".png")
            if other := named.get(name):
                raise UserError(
                    f"{other} and {path} would both become {name}: restore them in two runs, or"
                    " rename one"
                )
            named[name] = path
    if not named and not report.problems:
        raise UserError(f"{', '.join(map(str, inputs))}: no image ({', '.join(SUFFIXES)})")
    return named


def _chunks(named: Mapping[PurePath, Path]) -> Iterator[tuple[Done, list[Named]]]:
    """Images, some at a time, with what could not be read of them."""
    chunk: list[Named] = []
    done, pixels = Done(0), 0
    for name, path in named.items():
        done.read += 1
        try:
            image = _read(path)
        except ValueError as error:
            done.problems[str(path)] = str(error)
            continue
        chunk.append((name, image))
        pixels += image.shape[0] * image.shape[1]
        if pixels >= TOGETHER:
            yield done, chunk
            chunk, pixels, done = [], 0, Done(0)
    yield done, chunk


def _read(path: Path) -> Pixels:
    """An image's pixels.

    Raises:
        ValueError: with the reason why not.
    """
    try:
        image = decode(path.read_bytes())
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from error
    height, width = image.shape[:2]
    if height * width > LARGEST:
        raise ValueError(f"is {width}x{height} pixels, too large for a crop of a person")
    return image


def _write(path: Path, pixels: Pixels) -> None:
    """Write a PNG, which has its name only when it is whole, whoever else writes it meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{socket.gethostname()}-{os.getpid()}.part")
    try:
        Image.fromarray(pixels).save(part, format="PNG")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
