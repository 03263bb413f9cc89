"""Weights in files of whatever origin, read without running any code that is in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pyramid_reid.core.errors import DAMAGED, UserError, reason

NESTED = ("params_ema", "params", "state_dict")
"""Keys under which published checkpoints hold their weights, the best first."""

_SCALAR = np.float64(0).__reduce__()[0]
NUMBERS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    *(np.dtype, np.dtypes.Float32DType, np.dtypes.Float64DType),
]
"""What a checkpoint may hold beside weights: torchreid's has its Rank-1 as a NumPy number."""


def read(path: Path) -> dict[str, Tensor]:
    """Weights of a checkpoint (.safetensors, or .pth and .pth.tar as torch writes them).

    Returns:
        By name, without the prefix that DataParallel adds.

    Raises:
        UserError: the file is missing or damaged, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            with torch.serialization.safe_globals(NUMBERS):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (*DAMAGED, SafetensorError, pickle.UnpicklingError) as error:
        raise UserError(
            f"{path} is no checkpoint that holds weights only ({reason(error)})"
        ) from error
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    weights = content if isinstance(content, Mapping) else {}
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in weights.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise UserError(f"{path} holds no weights by name")
    return tensors
