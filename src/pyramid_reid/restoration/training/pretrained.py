"""Training from existing weights, or evaluating a network without training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from torch import Tensor

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import HanSize, SwinSize
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.restoration.network.extractors import PUBLISHED
from pyramid_reid.restoration.network.reconstructor import Reconstructor
from pyramid_reid.training.foreign_pickle import some
from pyramid_reid.training.weights_file import metadata, of_split, read

TRUNK = "extractor."
"""Prefix of the extractor in a model file of this project; published networks have none."""

ENOUGH = 0.5
"""Share of the extractor's weights that must fit. In one of another width some do by chance."""


@dataclass(frozen=True, slots=True)
class Match:
    """Names of the network's weights that a checkpoint gave, and of those that it did not.

    `ema` is where the running mean of its weights stood, if it had one.
    """

    taken: tuple[str, ...]
    fresh: tuple[str, ...]
    ema: str = ""

    def __str__(self) -> str:
        means = f", running means of {self.ema}" if self.ema else ""
        fresh = f"; fresh: {', '.join(self.fresh)}" if self.fresh else ""
        return (
            f"{len(self.taken)} of {len(self.taken) + len(self.fresh)} weights taken{means}{fresh}"
        )


def start_from(model: Reconstructor, path: Path) -> Match:
    """Copy those weights of a checkpoint that fit by name and shape, in place.

    A name fits as it is (a model file of this project) or below `extractor.` (the trunk in a
    published SwinIR or HAN, whose modules bear the same names here).

    Raises:
        UserError: as for `weights_file.read`; or fewer than `ENOUGH` of the extractor's fit.
    """
    checkpoint = read(path)
    weights = checkpoint.weights
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    for name, value in own.items():
        for theirs in (name, name.removeprefix(TRUNK)):
            candidate = weights.get(theirs)
            if candidate is not None and candidate.shape == value.shape:
                found[name] = candidate
                break
    trunk = {name for name in own if name.startswith(TRUNK)}
    if len(trunk & found.keys()) < ENOUGH * len(trunk):
        raise UserError(
            f"restoration.pretrained: {len(trunk & found.keys())} of {len(trunk)} weights of the"
            f" extractor, {_size(model.architecture.size)}, are found in {path} by name and shape,"
            f" too few: {_of(weights)}"
        )
    model.load_state_dict(found, strict=False)
    return Match(tuple(found), tuple(name for name in own if name not in found), checkpoint.ema)


def finished(start: Path, split: str) -> Reconstructor:
    """The reconstructor of another run, judged as it is, for `restoration.iterations: 0`.

    It brings its own extractor and scales.

    Args:
        start: `restoration.pretrained`.

    Raises:
        UserError: it is none, or damaged.
    """
    path = of_split(start, split, "restoration")
    if "architecture" not in metadata(path):
        raise UserError(
            f"restoration.iterations: 0 needs a finished reconstructor, which {path} is not: give"
            " data/models/reconstructor of another run, or train from this one"
        )
    model = reconstructor.load(path)
    if model.extractor is not None:  # bicubic up-sampling has no weights
        read(path)
    return model


def published_size(weights: Mapping[str, Annotated[Tensor, "..."]]) -> SwinSize | HanSize | None:
    """The size of the SwinIR or HAN whose trunk these weights are; None of anything else.

    Args:
        weights: by the names that the authors give them, with or without `extractor.`.
    """
    bare = {name.removeprefix(TRUNK): value for name, value in weights.items()}
    if "conv_first.weight" in bare:
        places = [name.split(".") for name in bare if ".residual_group.blocks." in name]
        blocks = {(int(parts[1]), int(parts[4])) for parts in places if parts[0] == "layers"}
        table = bare.get("layers.0.residual_group.blocks.0.attn.relative_position_bias_table")
        if not blocks or table is None:
            return None
        of_blocks = [group for group, _ in blocks]
        depths = tuple(of_blocks.count(group) for group in sorted(set(of_blocks)))
        return SwinSize(depths=depths, dim=len(bare["conv_first.weight"]), num_heads=table.shape[1])
    if "csa.gamma" in bare and "head.0.weight" in bare:
        inner = {tuple(name.split(".")[:4]) for name in bare if name.startswith("body.0.body.")}
        groups = {name.split(".")[1] for name in bare if name.startswith("body.")}
        return HanSize(
            groups=len(groups) - 1, blocks=len(inner) - 1, dim=len(bare["head.0.weight"])
        )
    return None


def _size(size: SwinSize | HanSize | None) -> str:
    """A size in words."""
    if isinstance(size, SwinSize):
        return f"a SwinIR of depths {list(size.depths)}, dim {size.dim}, num_heads {size.num_heads}"
    return f"a HAN of groups {size.groups}, blocks {size.blocks}, dim {size.dim}" if size else "-"


def _of(weights: Mapping[str, Tensor]) -> str:
    """What a checkpoint that does not fit is, and what to set for it."""
    size = published_size(weights)
    if size is None:
        return (
            f"it has {some(sorted(weights))}; give weights of the same restoration.extractor and"
            " size, or none"
        )
    names = [name for name, published in PUBLISHED.items() if published == size]
    if not names:
        name = "swinir_light" if isinstance(size, SwinSize) else "han_light"
        values = ", ".join(f"{key}: {value}" for key, value in size.model_dump(mode="json").items())
        remedy = f"restoration.extractor: {name} with restoration.{name}: {{{values}}}"
    elif names[0].endswith("_light"):
        remedy = f"restoration.extractor: {names[0]} with restoration.{names[0]}: null"
    else:
        remedy = f"restoration.extractor: {names[0]}"
    return f"it is {_size(size)}; set {remedy}, or give another file"
