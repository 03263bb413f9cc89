"""Weights to start from: torchreid's published ones, or any checkpoint of the same network."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gdown
import pooch
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchreid.reid.models import osnet, osnet_ain

from pyramid_reid.errors import UserError

CLASSIFIER = "classifier."
"""Prefix of the layer that knows the identities of another set."""


def find(pretrained: str, model: str, sha256: str | None, folder: Path) -> Path | None:
    """The file of `reid.pretrained`, fetched first if it is torchreid's and not there yet.

    torchreid publishes no checksums: the file's own is printed, and held against
    `reid.pretrained_sha256` once that is set.

    Args:
        pretrained: none, imagenet, or a path.
        model: name of the network.
        sha256: what the file must have, in hexadecimal; None takes any.
        folder: where fetched files are kept.

    Returns:
        The file; None for none.

    Raises:
        UserError: there is no such file, it cannot be fetched, or it is another.
    """
    if pretrained == "none":
        return None
    path = Path(pretrained)
    if pretrained == "imagenet":
        path = folder / f"{model}_imagenet.pth"
        if not path.exists():
            _fetch(_address(model), path)
    if not path.is_file():
        raise UserError(f"reid.pretrained: {path} is no file")
    found = pooch.file_hash(path)
    if sha256 is None:
        print(f"{path} is not checked; to pin it, set reid.pretrained_sha256: {found}", flush=True)
    elif found != sha256.lower():
        raise UserError(
            f"{path} has SHA-256 {found}, not that of reid.pretrained_sha256: remove the file to"
            " fetch it again, or correct the param"
        )
    return path


def _address(model: str) -> str:
    """Where torchreid publishes the network's ImageNet weights."""
    published = {**osnet.pretrained_urls, **osnet_ain.pretrained_urls}
    if model not in published:
        raise UserError(
            f"torchreid publishes no ImageNet weights of {model}; they are there for"
            f" {', '.join(sorted(published))}"
        )
    address: str = published[model]
    return address


def _fetch(address: str, path: Path) -> None:
    """Download a file of Google Drive; it appears under its name only when it is whole."""

    def download(url: str, file: str, _: object) -> None:
        gdown.download(url, file)

    try:
        pooch.retrieve(address, None, path.name, path.parent, downloader=download)
    # whatever the connection raised
    except Exception as error:
        raise UserError(
            f"reid.pretrained: imagenet could not be fetched ({type(error).__name__}): download"
            f" {address} where there is a network, and put it at {path}, or give its path as"
            " reid.pretrained"
        ) from error


def read(path: Path) -> dict[str, Tensor]:
    """Weights of a checkpoint (.safetensors, or .pth and .pth.tar as torchreid writes them).

    Returns:
        By name, without the prefix that DataParallel adds.

    Raises:
        UserError: the file is damaged, or holds something else; code in it is never run.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = str(error).split(".")[0]
        raise UserError(f"{path} is no checkpoint that holds weights only ({reason})") from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else {}
    tensors = {
        str(name).removeprefix("module."): value
        for name, value in weights.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise UserError(f"{path} holds no weights by name")
    return tensors


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
        UserError: none of them has a place in it.
    """
    fitting = matching(model, weights)
    places = [name for name in model.state_dict() if not name.startswith(CLASSIFIER)]
    skipped = [name for name in weights if name not in fitting]
    fresh = [name for name in places if name not in fitting]
    if not any(name.endswith(".weight") for name in fitting):
        raise UserError(
            f"reid.pretrained: none of its {len(weights)} weights, such as {next(iter(weights))},"
            f" has the name and shape of one of reid.model's, such as {places[0]}"
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
