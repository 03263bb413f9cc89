"""torchreid's OSNet blocks while they are trained on a CPU: the same sums in fewer operations."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyramid_reid.reid.network.definitions import osnet_modules
from pyramid_reid.reid.training.gates import gated_sum
from pyramid_reid.reid.training.streams import Stacked, streams_of

osnet, osnet_ain = osnet_modules()

SMALL = 2**18
"""Numbers in one stream's map of a batch up to which streams are stacked: 1 MiB at float32.

Larger maps come from memory more slowly together than one by one.
"""

REDUCTIONS = {"conv2": 4, "conv3": 8, "conv4": 16}
"""By how much the maps of OSNet's stages are smaller than the image."""


def fuse_blocks(
    model: nn.Module, batch: int, height: int, width: int, device: torch.device
) -> None:
    """Let blocks compute gated sums in one go, and streams with small maps side by side, on a CPU.

    What they compute is what torchreid's compute, up to rounding. Names and sizes of parameters
    and buffers are others until `unfuse_blocks`. On a GPU nothing changes.

    Args:
        model: an OSNet of torchreid.
        batch, height, width: of the images that it is trained on.
    """
    if device.type != "cpu":
        return
    for name, block in _blocks(model, FUSED).items():
        block.__class__ = FUSED[type(block)]
        reduction = REDUCTIONS[name.split(".")[0]]
        pixels = -(-height // reduction) * -(-width // reduction)
        if batch * pixels * block.gate.fc1.in_channels <= SMALL:
            block.stacked = Stacked(block)


def unfuse_blocks(model: nn.Module) -> None:
    """Make them torchreid's again, with the values that they have reached."""
    original = {fused: type_ for type_, fused in FUSED.items()}
    for block in _blocks(model, original).values():
        if hasattr(block, "stacked"):
            block.stacked.put_back(block)
            del block.stacked
        block.__class__ = original[type(block)]


class Block(osnet.OSBlock):  # type: ignore[misc, name-defined]
    """Omni-scale block, of IBN networks, too."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        y = self.conv3(_streams_together(self, x)).add_(_skip(self, x))
        return F.relu_(y if self.IN is None else self.IN(y))


class BlockAIN(osnet_ain.OSBlock):  # type: ignore[misc, name-defined]
    """Omni-scale block of AIN networks."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        return F.relu_(self.conv3(_streams_together(self, x)).add_(_skip(self, x)))


class BlockINin(osnet_ain.OSBlockINin):  # type: ignore[misc, name-defined]
    """Omni-scale block of AIN networks with instance normalisation."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C_in, H, W) to (B, C_out, H, W)."""
        return F.relu_(self.IN(self.conv3(_streams_together(self, x))).add_(_skip(self, x)))


FUSED: dict[type[nn.Module], type[nn.Module]] = {
    osnet.OSBlock: Block,
    osnet_ain.OSBlock: BlockAIN,
    osnet_ain.OSBlockINin: BlockINin,
}
"""What takes the place of which of torchreid's blocks."""


def _blocks(model: nn.Module, types: Collection[type[nn.Module]]) -> dict[str, Any]:
    """The blocks of these types, by their names."""
    return {name: module for name, module in model.named_modules() if type(module) in types}


def _streams_together(block: Any, x: Tensor) -> Tensor:
    """Gated sum of the streams of the block's reduced input: (B, C_in, H, W) to (B, C, H, W)."""
    reduced = block.conv1(x)
    streams: Sequence[Tensor]
    if hasattr(block, "stacked"):
        streams = block.stacked(reduced)
    else:
        streams = [stream(reduced) for stream in streams_of(dict(block.named_children()))]
    return gated_sum(block.gate, streams)


def _skip(block: Any, x: Tensor) -> Tensor:
    y: Tensor = x if block.downsample is None else block.downsample(x)
    return y
