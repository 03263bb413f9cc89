"""torchreid's OSNet (Zhou et al., ICCV 2019), and its file format."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as packed
from torch import Tensor, nn

from pyramid_reid.core.errors import DAMAGED, UserError, reason
from pyramid_reid.reid.network import definitions
from pyramid_reid.reid.network.blocks import replace_blocks


def build(name: str, num_classes: int, seed: int) -> nn.Module:
    """A fresh OSNet whose weights depend on the seed alone.

    Args:
        name: of torchreid, such as osnet_x0_25.
        num_classes: number of training identities.

    Returns:
        (B, 3, H, W) to logits (B, num_classes) in training mode, to features (B, 512) in
        evaluation mode.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        construct = definitions.constructor(name)
        model = construct(num_classes=num_classes, loss="softmax", pretrained=False)
    replace_blocks(model)
    return model.to(memory_format=torch.channels_last)


def open_layers(model: nn.Module, *, classifier_alone: bool) -> None:
    """Set training mode: of all layers, or of the classifier alone while the others stay as is."""
    for name, layer in model.named_children():
        learns = not classifier_alone or name == "classifier"
        layer.train(learns)
        layer.requires_grad_(learns)


def save(
    path: Path,
    model: nn.Module,
    name: str,
    height: int,
    width: int,
    start: Mapping[str, str] | None = None,
    *,
    trained: bool = True,
) -> None:
    """Write weights as safetensors, with what rebuilds the network in the metadata.

    Args:
        height, width: of the images the network was trained on, in pixels.
        start: what trained the weights that training started from, and their licence; None:
            random weights.
        trained: whether training changed those of `start`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {key: value.contiguous().cpu() for key, value in model.state_dict().items()}
    told: dict[str, object] = {"name": name, "height": height, "width": width}
    if start is not None:
        told["start"] = dict(sorted(start.items()))
    if not trained:
        told["trained"] = False
    # one key alone: safetensors writes several in an order that differs from run to run
    metadata = {"network": json.dumps(told)}
    path.write_bytes(packed(weights, metadata))


def load(path: Path) -> tuple[nn.Module, int, int]:
    """Read what `save` wrote: the network in evaluation mode, input height and width.

    Subnormal weights are read as 0: torchreid's of MSMT17 and Market-1501 have hundreds, with which
    an Intel processor takes three times as long for the same features.

    Raises:
        UserError: the file is missing, damaged, or no such network.
    """
    try:
        with safe_open(path, "pt") as file:
            network = json.loads((file.metadata() or {})["network"])
        weights = load_file(path)
        model = build(network["name"], len(weights["classifier.bias"]), seed=0)
        model.load_state_dict({key: _normal(value) for key, value in weights.items()})
        height, width = int(network["height"]), int(network["width"])
        if min(height, width) < 1:
            raise ValueError(f"input of {height}x{width} pixels")
    except (*DAMAGED, SafetensorError) as error:
        raise UserError(
            f"{path} is not a re-identification network ({reason(error)});"
            " run `dvc repro train_reid`"
        ) from error
    return model.eval(), height, width


def _normal(weights: Tensor) -> Tensor:
    """Weights of any shape; 0 in place of subnormal numbers."""
    if not weights.is_floating_point():
        return weights
    return weights.masked_fill(weights.abs() < torch.finfo(weights.dtype).tiny, 0.0)
