"""Features of crops."""

from __future__ import annotations

import warnings
from typing import Annotated

import numpy as np
import torch
from torch import nn
from torch.jit import TracerWarning  # type: ignore[attr-defined]

from pyramid_reid.core.crops import Pixels
from pyramid_reid.reid.network.preprocessing import normalize, to_float
from pyramid_reid.retrieval.distance import Floats

BATCH_PIXELS = 25 * 256 * 128
"""Pixels of a batch: what a layer writes is still in the cache when the next one reads it."""


class Extractor:
    """A network that gives features, frozen: batch normalisation is folded into the convolutions.

    On the CPU, convolutions are also fused with the activation that follows them, and pass oneDNN's
    own layout on to each other. TorchScript does this. torch plans to replace it with
    torch.compile, which needs a C++ compiler and takes minutes for an OSNet. ONNX Runtime selects
    its instructions by the processor, which nothing we know of can pin.

    Args:
        model: in evaluation mode; stays as it is.
        height, width: of the images, in pixels.

    Attributes:
        batch: crops in each batch; one that is not full repeats its last crop. The last bits of a
            feature depend on the batch size, and the first batch of a new size takes long.
    """

    def __init__(self, model: nn.Module, device: torch.device, height: int, width: int) -> None:
        example = torch.zeros(2, 3, height, width, device=device)
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.filterwarnings("ignore", "`torch.jit", FutureWarning)
            # instance normalisation checks its input's shape, which is the same in every batch
            warnings.filterwarnings("ignore", category=TracerWarning)
            traced = torch.jit.trace(model.to(device), example, check_trace=False)  # type: ignore[no-untyped-call]
            frozen = torch.jit.freeze(traced)
            if device.type == "cpu":
                frozen = torch.jit.optimize_for_inference(frozen)
        self.batch = max(1, BATCH_PIXELS // (height * width))
        self._model = frozen
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: Annotated[Pixels, "N H W 3"]) -> Annotated[Floats, "N D"]:
        """Features of images, in order; not normalised."""
        starts = range(0, len(images), self.batch)
        return np.concatenate([self._features(images[s : s + self.batch]) for s in starts])

    def _features(self, batch: Pixels) -> Floats:
        full = np.pad(batch, [(0, self.batch - len(batch)), *[(0, 0)] * 3], mode="edge")
        pixels = torch.from_numpy(full).to(self._device)
        features: Floats = self._model(normalize(to_float(pixels))).cpu().numpy()
        return features[: len(batch)]


@torch.inference_mode()
def few_features(
    model: nn.Module, images: Annotated[Pixels, "N H W 3"]
) -> Annotated[Floats, "N D"]:
    """Features of a few images, without the preparation of an `Extractor`.

    Preparing takes seconds, which pay off from some hundred images on; features differ in their
    last bits.

    Args:
        model: in evaluation mode.
    """
    pixels = torch.from_numpy(images).to(next(model.parameters()).device)
    features: Floats = model(normalize(to_float(pixels))).cpu().numpy()
    return features
