"""A trained model as one object: crops in, restored images and features out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import cached_property
from itertools import chain
from pathlib import Path
from threading import RLock
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.core.resize import resize
from pyramid_reid.reid.features import Extractor, few_features
from pyramid_reid.reid.network import osnet
from pyramid_reid.restoration.inference import BATCH_PIXELS, plan, restore, restore_batches
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.retrieval.distance import normalize
from pyramid_reid.search import description as described
from pyramid_reid.search.description import AGAIN, BRANCH_NAMES
from pyramid_reid.search.images import Crop, as_pixels, cut, to_boxes

CHUNK = 300
"""Crops whose inputs of the networks are in memory at once."""
FEW = 25
"""Crops up to which networks are used as they are: to freeze them takes seconds."""


def load(folder: str | Path, device: str = "cpu") -> Model:
    """Open a model folder.

    Args:
        folder: as the stage `pack_model` or `pyramid-reid pack` writes it; hashes are checked.
        device: of torch: cpu, cuda, cuda:1, ….

    Raises:
        UserError: the folder is missing, damaged, or of another version; or there is no such
            device.
    """
    return Model(Path(folder), there(device))


def there(device: str) -> torch.device:
    """A device of torch, if this machine has it.

    Raises:
        UserError: it has none, or torch cannot use it.
    """
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise UserError(f"device {device}: torch knows none of this name: give cpu") from error
    if found.type == "cuda":
        number = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if number <= (found.index or 0):
            gpus = ", ".join(f"cuda:{gpu}" for gpu in range(number)) or "no GPU"
            raise UserError(
                f"device {device}: torch finds {gpus}: give another device, or cpu"
                " (`pyramid-reid doctor` prints what torch sees)"
            )
    return found


class Model:
    """A restorer and four OSNets, read from a model folder.

    Threads may share one: its networks take one call at a time, which uses all cores, and other
    calls wait.

    Attributes:
        description: what `model.json` says: scales, input sizes, origin, licences, calibration.
        weights: of the branches in the fusion.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.description = described.read(folder)
        # in the order of the branches; a file's keys are sorted
        self.weights = {str(name): self.description.weights[name] for name in BRANCH_NAMES}
        self._folder, self._device = folder, device
        # of whatever builds or runs a network: torch's number of threads changes meanwhile
        self._one_call = RLock()

    @cached_property
    def _restorer(self) -> reconstructor.Reconstructor:
        told = self.description.restorer
        model = reconstructor.load(self._folder / told.file)
        if (found := tuple(model.architecture.scales)) != told.scales:
            listed, other = (", ".join(map(str, scales)) for scales in (found, told.scales))
            raise UserError(
                f"{self._folder / told.file} restores at {listed}, not {other}: {AGAIN}"
            )
        return model.to(self._device)

    @cached_property
    def _networks(self) -> dict[str, tuple[nn.Module, int, int]]:
        """Per branch the network, and its input's height and width."""
        networks, shared = {}, dict[str, tuple[nn.Module, int, int]]()
        for branch, network in self.description.branches.items():
            if network.sha256 not in shared:  # one network may serve several branches
                model, height, width = osnet.load(self._folder / network.file)
                if (height, width) != (network.height, network.width):
                    raise UserError(
                        f"{self._folder / network.file} is a {network.network} at {height}x{width},"
                        f" not at {network.height}x{network.width} as model.json says: {AGAIN}"
                    )
                shared[network.sha256] = model.to(self._device), height, width
            networks[str(branch)] = shared[network.sha256]
        return networks

    @cached_property
    def _extractors(self) -> dict[str, Extractor]:
        """Per branch what gives features of many crops."""
        prepared = {
            model: Extractor(model, self._device, height, width, mirrored=self.description.mirrored)
            for model, height, width in set(self._networks.values())
        }
        return {branch: prepared[model] for branch, (model, *_) in self._networks.items()}

    def restore(self, image: Crop) -> list[Annotated[Pixels, "s*H s*W 3"]]:
        """The restored images of a crop, rising in resolution.

        Args:
            image: path, Pillow image, or (H, W, 3) uint8 RGB, of any size.

        Returns:
            One image for each scale s of h1, h2 and h3.

        Raises:
            ValueError: it is no such image.
        """
        return self.restore_all([image])[0]

    def restore_all(self, images: Iterable[Crop]) -> list[list[Annotated[Pixels, "s*H s*W 3"]]]:
        """`restore` of many crops: crops of about one size are restored together."""
        crops = [as_pixels(image) for image in images]
        with self._one_call:
            return restore(self._restorer, crops)

    def embed(self, images: Iterable[Crop]) -> Annotated[NDArray[np.float32], "N 4 D"]:
        """Features of crops.

        Args:
            images: paths, Pillow images, or (H, W, 3) uint8 RGB, of any sizes.

        Returns:
            float32: for ori, h1, h2 and h3 a feature of length 1, whose inner product
            with another crop's is the cosine of their angle.

        Raises:
            ValueError: one is no such image; or the network gives no number (it is damaged).
        """
        crops = [as_pixels(image) for image in images]
        parts = [self._embed(crops[start : start + CHUNK]) for start in range(0, len(crops), CHUNK)]
        return (
            np.concatenate(parts) if parts else np.empty((0, len(BRANCHES), self.dim), np.float32)
        )

    def embed_boxes(self, frame: Crop, boxes: object) -> Annotated[NDArray[np.float32], "N 4 D"]:
        """Features of the people in a frame, as `embed` gives them.

        Args:
            frame: path, Pillow image, or (H, W, 3) uint8 RGB.
            boxes: (N, 4) of x1, y1, x2, y2 in pixels, or anything with such an array as `.xyxy`
                (`supervision.Detections`). What lies outside the frame is cut off.

        Raises:
            ValueError: a box is empty, outside the frame, or no box.
        """
        pixels = as_pixels(frame)
        return self.embed([cut(pixels, box) for box in to_boxes(boxes)])

    @cached_property
    def dim(self) -> int:
        """Numbers of a branch's feature."""
        with self._one_call:
            model, height, width = self._networks[BRANCHES[0]]
            return int(few_features(model, np.zeros((1, height, width, 3), np.uint8)).shape[1])

    def _embed(self, crops: Sequence[Pixels]) -> NDArray[np.float32]:
        with self._one_call:
            return self._of_chunk(crops)

    def _of_chunk(self, crops: Sequence[Pixels]) -> NDArray[np.float32]:
        inputs = [
            np.empty((len(crops), height, width, 3), np.uint8)
            for _, height, width in (self._networks[branch] for branch in BRANCHES)
        ]

        def resized(row: int, images: Sequence[Pixels]) -> None:
            for of_branch, image in zip(inputs, (crops[row], *images), strict=True):
                height, width = of_branch.shape[1:3]
                of_branch[row] = resize(image, height, width, Image.Resampling.BILINEAR)

        # restored images are many times as large as what the networks see: they go at once
        sizes = [crop.shape[:2] for crop in crops]
        batches = dict(enumerate(plan(sizes, BATCH_PIXELS, self._restorer.batch_multiple)))
        threads = torch.get_num_threads()
        runs = restore_batches(self._restorer, batches, crops.__getitem__, threads)
        under_way = deque[list[Future[None]]]()
        with ThreadPoolExecutor(threads) as pool, closing(runs):
            for number, images in runs:
                rows = zip(batches[number], images, strict=True)
                under_way.append([pool.submit(resized, row, of_crop) for row, of_crop in rows])
                if len(under_way) > threads:
                    for each in under_way.popleft():
                        each.result()
            for each in chain.from_iterable(under_way):
                each.result()
        if len(crops) <= FEW:
            features = [
                few_features(
                    self._networks[branch][0], of_branch, mirrored=self.description.mirrored
                )
                for branch, of_branch in zip(BRANCHES, inputs, strict=True)
            ]
        else:
            features = [
                self._extractors[branch](of_branch)
                for branch, of_branch in zip(BRANCHES, inputs, strict=True)
            ]
        return np.stack([normalize(of_branch) for of_branch in features], axis=1)
