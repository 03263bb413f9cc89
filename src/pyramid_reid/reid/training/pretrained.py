"""Weights to start from: torchreid's published ones, or any checkpoint of the same network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pooch
from torch import Tensor, nn

from pyramid_reid.core.errors import UserError
from pyramid_reid.reid.training import starts

CLASSIFIER = "classifier."
"""Prefix of the layer that knows the identities of another set."""

ENOUGH = 0.5
"""Share of the network's weights that must fit. In a network of another width some do by chance."""


def find(pretrained: str, model: str, sha256: str | None, folder: Path) -> Path | None:
    """The file of `reid.pretrained`, fetched first if it is torchreid's and not there yet.

    torchreid publishes no checksums: where none is pinned, the file's own is printed, and held
    against `reid.pretrained_sha256` once that is set.

    Args:
        pretrained: none, a named start, or a path.
        model: name of the network.
        sha256: what the file must have, in hexadecimal; None takes the pinned one, or any.
        folder: where fetched files are kept.

    Returns:
        The file; None for none.

    Raises:
        UserError: there is no such file, it cannot be fetched, or it is another.
    """
    if pretrained == "none":
        return None
    named = pretrained in starts.ORIGINS
    path = starts.locate(pretrained, model, folder) if named else Path(pretrained)
    if not path.is_file():
        raise UserError(
            f"reid.pretrained: {path} is no file, and none of {', '.join(starts.ORIGINS)}"
        )
    whose = "reid.pretrained_sha256" if sha256 else f"the {pretrained} that is known"
    sha256 = sha256 or starts.pinned(pretrained, model)
    found = pooch.file_hash(path)
    if sha256 is None:
        print(f"{path} is not checked; to pin it, set reid.pretrained_sha256: {found}", flush=True)
    elif found != sha256.lower():
        raise UserError(
            f"{path} has SHA-256 {found}, not that of {whose}, {sha256}: remove the file to fetch"
            " it again, or set reid.pretrained_sha256 to what you mean to use"
        )
    return path


def matching(model: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights that have a place in the network, by name and shape; not the classifier's."""
    own = model.state_dict()
    return {
        name: value
        for name, value in weights.items()
        if name in own and value.shape == own[name].shape and not name.startswith(CLASSIFIER)
    }


def apply(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put weights into a network, and say which were used.

    Raises:
        UserError: fewer than `ENOUGH` have a place in it.
    """
    fitting = matching(model, weights)
    places = [name for name in model.state_dict() if not name.startswith(CLASSIFIER)]
    skipped = sorted(weights.keys() - fitting.keys())
    fresh = sorted(set(places) - fitting.keys())
    counters = {name for name in places if name.endswith("num_batches_tracked")}  # always fit
    if len(fitting.keys() - counters) < ENOUGH * len(set(places) - counters):
        raise UserError(
            f"reid.pretrained: {len(fitting)} of {len(places)} weights of reid.model are found in"
            f" it by name and shape, too few; missing {_some(fresh)}, unknown {_some(skipped)}"
        )
    model.load_state_dict(dict(fitting), strict=False)
    print(
        f"pretrained: {len(fitting)} of {len(places)} weights loaded"
        f"; left as they were: {_some(fresh)}; not used: {_some(skipped)}",
        flush=True,
    )


def _some(names: list[str]) -> str:
    """The first names of a list."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "-"
