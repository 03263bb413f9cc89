"""Starting a training from weights that are already there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pyramid_reid.core.errors import UserError
from pyramid_reid.restoration.network.reconstructor import Reconstructor
from pyramid_reid.training.weights_file import read


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
    weights = read(path)
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    for name, value in own.items():
        for theirs in (name, name.removeprefix("extractor.")):
            candidate = weights.get(theirs)
            if candidate is not None and candidate.shape == value.shape:
                found[name] = candidate
                break
    if not found:
        raise UserError(
            f"restoration.pretrained: none of the {len(weights)} entries of {path} fits this"
            f" network (its first is {next(iter(weights))!r}): give weights of the same"
            " restoration.extractor and size, or none"
        )
    model.load_state_dict(found, strict=False)
    return Match(tuple(found), tuple(name for name in own if name not in found))
