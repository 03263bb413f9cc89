"""Initial weights, or weights to evaluate: torchreid's, another run's, or a checkpoint's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import torch
from torch import Tensor, nn

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Reid
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.training import starts
from pyramid_reid.training.foreign_pickle import some
from pyramid_reid.training.weights_file import Checkpoint, check_hash, metadata, of_split, read

CLASSIFIER = "classifier."
"""Prefix of the layer that knows the identities of another set."""

ENOUGH = 0.5
"""Share of the network's weights that must fit. In a network of another width some do by chance."""


def find(pretrained: str, model: str, sha256: str | None, folder: Path) -> Path:
    """The file or folder of `reid.pretrained`; torchreid's file is fetched if it is not there yet.

    torchreid publishes no checksums: where none is known, the file's own is printed, and held
    against `reid.pretrained_sha256` once that is set.

    Args:
        pretrained: a named start, or a path.
        model: name of the network.
        sha256: `reid.pretrained_sha256`, in hexadecimal; None takes what `starts` knows, or any.
        folder: where fetched files are kept.

    Raises:
        UserError: there is no such file, it cannot be fetched, or it is another.
    """
    named = pretrained in starts.ORIGINS
    path = starts.locate(pretrained, model, folder) if named else Path(pretrained)
    if not path.exists():
        raise UserError(f"reid.pretrained: {path} is neither a file nor a folder")
    if sha256 is None and named and starts.check_pinned(path, pretrained, model):
        return path
    check_hash(path, sha256, "reid")
    return path


def finished(start: Path, branch: str, split: str, params: Reid) -> tuple[nn.Module, str, int, int]:
    """A network that is judged as it is, for `reid.epochs: 0`.

    A network of another run brings its name and input size; any other checkpoint has those of
    params, and a classifier that nothing reads.

    Args:
        start: from `find`.
        params: of the branch.

    Returns:
        The network in evaluation mode, its name, and the height and width of its input (pixels).

    Raises:
        UserError: the file is damaged, or lacks weights.
    """
    path = of_split(start, split, "reid", branch)
    checkpoint = read(path)
    if network := metadata(path).get("network"):
        model, height, width = osnet.load(path)
        return model, json.loads(network)["name"], height, width
    height, width = params.input_size(branch)
    model = osnet.build(params.model, 1, seed=0)
    apply(model, checkpoint, enough=1.0)
    return model.eval(), params.model, height, width


def matching(
    model: nn.Module, weights: Mapping[str, Annotated[Tensor, "..."]]
) -> dict[str, Annotated[Tensor, "..."]]:
    """Weights that have a place in the network, by name and shape; not the classifier's."""
    own = model.state_dict()
    return {
        name: value
        for name, value in weights.items()
        if name in own and value.shape == own[name].shape and not name.startswith(CLASSIFIER)
    }


def apply(model: nn.Module, checkpoint: Checkpoint, enough: float = ENOUGH) -> None:
    """Put weights into a network, and say which were used.

    Args:
        enough: share of the network's weights that must be there.

    Raises:
        UserError: fewer have a place in it.
    """
    fitting = matching(model, checkpoint.weights)
    places = [name for name in model.state_dict() if not name.startswith(CLASSIFIER)]
    skipped = sorted(checkpoint.weights.keys() - fitting.keys())
    fresh = sorted(set(places) - fitting.keys())
    counters = {name for name in places if name.endswith("num_batches_tracked")}  # always fit
    if len(fitting.keys() - counters) < enough * len(set(places) - counters):
        few = "too few" if enough < 1 else "and reid.epochs: 0 needs all"
        raise UserError(
            f"reid.pretrained: {len(fitting)} of {len(places)} weights of reid.model are found in"
            f" it by name and shape, {few}; missing {some(fresh)}, unknown {some(skipped)}"
        )
    model.load_state_dict(dict(fitting), strict=False)
    means = f", running means of {checkpoint.ema}" if checkpoint.ema else ""
    print(
        f"pretrained: {len(fitting)} of {len(places)} weights loaded{means}"
        f"; left as they were: {some(fresh)}; not used: {some(skipped)}",
        flush=True,
    )


@torch.no_grad()
def blend(model: nn.Module, checkpoint: Checkpoint, share: float) -> None:
    """Move a fine-tuned network towards the weights it started from; the classifier stays.

    Wortsman et al., "Robust fine-tuning of zero-shot models" (CVPR 2022): the mean of the two
    generalises better than either, at no cost at test time.

    Args:
        share: weight of the start, in [0, 1].
    """
    own = model.state_dict()
    for name, value in matching(model, checkpoint.weights).items():
        if own[name].is_floating_point():
            own[name].lerp_(value.to(own[name]), share)
