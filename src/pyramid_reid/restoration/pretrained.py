"""Starting a training from weights that are already there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pyramid_reid.errors import UserError
from pyramid_reid.restoration.pyramid import Reconstructor

NESTED = ("params_ema", "params", "state_dict")
"""Keys under which published checkpoints hold their weights, the best first."""


@dataclass(frozen=True, slots=True)
class Match:
    """Names of the network's weights that a checkpoint gave, and of those that it did not."""

    taken: tuple[str, ...]
    fresh: tuple[str, ...]

    def __str__(self) -> str:
        fresh = f"; fresh: {', '.join(self.fresh)}" if self.fresh else ""
        return f"{len(self.taken)} of {len(self.taken) + len(self.fresh)} weights taken{fresh}"


def start_from(model: Reconstructor, path: Path) -> Match:
    """Copy those weights of a checkpoint that fit by name and shape, in place.

    A name fits as it is (a model file of this project) or below `extractor.` (the trunk in a
    published SwinIR or HAN, whose modules bear the same names here).

    Args:
        path: `.safetensors`, or a `.pth` that holds tensors and nothing else.

    Raises:
        UserError: the file is missing or damaged, holds more than tensors, or nothing fits.
    """
    weights = _read(path)
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    for name, value in own.items():
        for theirs in (name, name.removeprefix("extractor.")):
            candidate = weights.get(theirs)
            if isinstance(candidate, Tensor) and candidate.shape == value.shape:
                found[name] = candidate
                break
    if not found:
        raise UserError(
            f"restoration.pretrained: none of the {len(weights)} entries of {path} fits this"
            f" network (its first is {next(iter(weights), None)!r}): give weights of the same"
            " restoration.extractor and size, or none"
        )
    model.load_state_dict(found, strict=False)
    return Match(tuple(found), tuple(name for name in own if name not in found))


def _read(path: Path) -> Mapping[str, Any]:
    """All tensors of a file by name."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"restoration.pretrained: {path} cannot be read as weights ({reason})"
        ) from error
    for key in NESTED:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    return content if isinstance(content, Mapping) else {}
