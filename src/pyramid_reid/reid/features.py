"""Features of crops."""

from __future__ import annotations

import copy
import warnings
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]
from torch.nn import functional as F

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.single_threads import single_threads
from pyramid_reid.reid.network.preprocessing import normalize, to_float
from pyramid_reid.retrieval.distance import Floats

BATCH_PIXELS = 25 * 256 * 128
"""Pixels of a batch: what a layer writes is still in the cache when the next one reads it."""


class _Whole(nn.Module):
    """A network without parts: torch.jit.trace would describe each of an OSNet's 400 for itself.

    The trace holds the weights as constants, as freezing would have them. It is the same program,
    in half the time.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        object.__setattr__(self, "_network", network)  # not registered as a part

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self._network(images)  # type: ignore[operator]
        return features


class Extractor:
    """A network that gives features, frozen: batch normalisation is folded into the convolutions.

    On the CPU, convolutions are also fused with the activation that follows them, and pass oneDNN's
    own layout on to each other. TorchScript does this. torch plans to replace it with
    torch.compile, which needs a C++ compiler and takes minutes for an OSNet. ONNX Runtime selects
    its instructions by the processor, which nothing we know of can pin.

    Args:
        model: stays as it is; a copy is put in evaluation mode.
        height, width: of the images, in pixels.
        mirrored: features are the mean of those of an image and of its mirror image, each of length
            1 before.

    Attributes:
        batch: crops in each batch; one that is not full repeats its last crop. The last bits of a
            feature depend on the batch size, and the first batch of a new size takes long.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        height: int,
        width: int,
        *,
        mirrored: bool = False,
    ) -> None:
        example = torch.zeros(2, 3, height, width, device=device)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
            # instance normalisation checks its input's shape, which is the same in every batch
            warnings.filterwarnings("ignore", category=TracerWarning)
            whole = _Whole(copy.deepcopy(model).eval().requires_grad_(False).to(device)).eval()
            traced = torch.jit.trace(whole, example, check_trace=False)  # type: ignore[no-untyped-call]
            frozen = torch.jit.freeze(traced)
            if device.type == "cpu":
                frozen = torch.jit.optimize_for_inference(frozen)
        self.batch = max(1, BATCH_PIXELS // (height * width))
        self._model = frozen
        self._device = device
        self._mirrored = mirrored

    def __call__(self, images: Annotated[Pixels, "N H W 3"]) -> Annotated[Floats, "N D"]:
        """Features of images, in order; not normalised.

        On the CPU each batch has one thread, and as many are under way as torch has threads: those
        that share a small network's layers wait for each other much of the time.
        """
        batches = [images[s : s + self.batch] for s in range(0, len(images), self.batch)]
        if self._device.type != "cpu" or len(batches) == 1:
            return np.concatenate([self._features(batch) for batch in batches])
        with single_threads(torch.get_num_threads()) as pool:
            return np.concatenate(list(pool.map(self._features, batches)))

    @torch.inference_mode()
    def _features(self, batch: Pixels) -> Floats:
        full = np.pad(batch, [(0, self.batch - len(batch)), *[(0, 0)] * 3], mode="edge")
        pixels = torch.from_numpy(full).to(self._device)
        features: Floats = _features(self._model, pixels, mirrored=self._mirrored)
        return features[: len(batch)]


@torch.inference_mode()
def few_features(
    model: nn.Module, images: Annotated[Pixels, "N H W 3"], *, mirrored: bool = False
) -> Annotated[Floats, "N D"]:
    """Features of a few images, without the preparation of an `Extractor`.

    Preparing takes seconds, which pay off from some hundred images on; features differ in their
    last bits.

    Args:
        model: in evaluation mode.
        mirrored: as of an `Extractor`.
    """
    pixels = torch.from_numpy(images).to(next(model.parameters()).device)
    return _features(model, pixels, mirrored=mirrored)


def _features(
    model: nn.Module, pixels: Annotated[Tensor, "N H W 3"], *, mirrored: bool
) -> Annotated[Floats, "N D"]:
    """Features of uint8 images on the model's device."""
    images = normalize(to_float(pixels))
    features: Tensor = model(images)
    if mirrored:
        features = (F.normalize(features) + F.normalize(model(images.flip(3)))) / 2
    found: Floats = features.cpu().numpy()
    return found
