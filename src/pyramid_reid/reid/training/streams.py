"""OSNet's four streams side by side: one layer of all of them at once.

A block of OSNet sends the same features through four streams of one to four small layers, which
torchreid computes one after the other: ten. Here the first layers of all streams are one, then the
second ones of the streams that have one, and so on: four. Where maps are small, much of a training
goes into starting operations and into threads that wait for each other, and there are fewer of
them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def streams_of(children: Mapping[str, nn.Module]) -> Iterator[nn.Module]:
    """The streams among a block's children: conv2a to conv2d, or the elements of conv2 (AIN)."""
    for name, child in children.items():
        if name == "conv2":
            yield from child.children()
        elif name.startswith("conv2"):
            yield child


class Stacked(nn.Module):
    """The streams of a block, taken out of it; each is one layer deeper than the one before."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self._order = [name for name, _ in block.named_children()]
        self._taken = {n: c for n, c in block.named_children() if n.startswith("conv2")}
        for name in self._taken:
            delattr(block, name)
        self.layers = nn.ModuleList(map(Layer, self._parts()))

    def _parts(self) -> list[list[nn.Module]]:
        """Per depth the LightConv3x3 of the streams that are at least as deep."""
        streams = [
            [module for module in stream.modules() if hasattr(module, "bn")]
            for stream in streams_of(self._taken)
        ]
        return [[stream[depth] for stream in streams[depth:]] for depth in range(len(streams))]

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) to as many of that shape as there are streams."""
        results, width = [], x.shape[1]
        *layers, last = self.layers
        for layer in layers:
            # one stream ends here; gradients of slices would not have their channels last
            y = layer(x)
            ended, x = y.split([width, y.shape[1] - width], 1)
            results.append(ended)
        return [*results, last(x)]

    def put_back(self, block: nn.Module) -> None:
        """Give the block its streams again, with the values that they have reached together."""
        for layer, parts in zip(self.layers, self._parts(), strict=True):
            for name, value in layer.state_dict().items():
                shared = value.ndim == 0  # the number of batches seen
                of_parts = [value] * len(parts) if shared else value.chunk(len(parts))
                for part, of_part in zip(parts, of_parts, strict=True):
                    part.state_dict()[name].copy_(of_part)
        children = dict(block.named_children()) | self._taken
        for name in self._order:
            # in torchreid's order, by which parameters and states are listed
            if hasattr(block, name):
                delattr(block, name)
            setattr(block, name, children[name])


class Layer(nn.Module):
    """LightConv3x3 of several streams: 1x1 and depthwise 3x3 convolution, normalisation, ReLU."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        states = [part.state_dict() for part in parts]
        values = {
            name: value if value.ndim == 0 else torch.cat([state[name] for state in states])
            for name, value in states[0].items()
        }
        channels, inputs = values["conv1.weight"].shape[:2]
        self.conv1 = nn.Conv2d(inputs, channels, 1, bias=False)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.to(values["conv1.weight"].dtype).to(memory_format=torch.channels_last)
        self.load_state_dict(values)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) that all of N streams share, or (B, N C, H, W), to (B, N C, H, W)."""
        groups = x.shape[1] // self.conv1.in_channels
        y = self.conv2(F.conv2d(x, self.conv1.weight, groups=groups))
        return F.relu_(self.bn(y))
