"""Features of crops."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.fx import symbolic_trace
from torch.fx.experimental.optimization import fuse

from pyramid_reid.crops import Pixels
from pyramid_reid.reid.images import normalize, to_float
from pyramid_reid.retrieval.distance import Floats

BATCH = 100
"""Crops in a batch; the same everywhere, as the last bits of a feature depend on it."""


class Extractor:
    """A network that gives features, with its batch normalisation folded into the convolutions.

    Args:
        model: in evaluation mode; stays as it is.
    """

    def __init__(self, model: nn.Module, device: torch.device) -> None:
        graph = symbolic_trace(model, concrete_args={"return_featuremaps": False})
        folded: nn.Module = fuse(graph, no_trace=True)
        self._model = folded.to(device).to(memory_format=torch.channels_last)
        self._device = device

    @torch.inference_mode()
    def __call__(self, images: Pixels) -> Floats:
        """Features (N, D) float32 of images (N, H, W, 3) uint8, in order; not normalised."""
        batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
        return np.concatenate([self._features(batch) for batch in batches])

    def _features(self, batch: Pixels) -> Floats:
        pixels = torch.from_numpy(batch).to(self._device)
        features: Floats = self._model(normalize(to_float(pixels))).float().cpu().numpy()
        return features
