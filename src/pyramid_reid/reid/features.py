"""Features of crops."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pyramid_reid.crops import Pixels
from pyramid_reid.reid.images import normalize, to_float
from pyramid_reid.retrieval.distance import Floats

BATCH = 100
"""Crops in a batch; the same everywhere, as the last bits of a feature depend on it."""


@torch.inference_mode()
def extract(model: nn.Module, images: Pixels, device: torch.device) -> Floats:
    """Features (N, D) float32 of images (N, H, W, 3) uint8, in order; not normalised."""
    model = model.to(device)
    batches = [images[start : start + BATCH] for start in range(0, len(images), BATCH)]
    features = [
        model(normalize(to_float(torch.from_numpy(batch).to(device)))).cpu().numpy()
        for batch in batches
    ]
    return np.concatenate(features)
