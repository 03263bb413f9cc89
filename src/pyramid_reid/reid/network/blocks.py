"""torchreid's OSNet blocks with the same layers under the same names, in fewer operations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from torch import Tensor, nn
from torch.nn import functional as F

from pyramid_reid.reid.network.definitions import osnet_modules
from pyramid_reid.reid.network.kernels.gates import gated_sum

osnet, osnet_ain = osnet_modules()


class Block(nn.Module):
    """Omni-scale block of OSNet, of IBN and of AIN networks.

    Args:
        block: torchreid's; its layers become this one's.
    """

    conv1: nn.Module
    gate: nn.Module
    conv3: nn.Module
    downsample: nn.Module | None
    IN: nn.Module | None

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, child)
        for name in ("downsample", "IN"):
            if name not in self._modules:
                self.add_module(name, None)
        self.normalizes_before_skip = isinstance(block, osnet_ain.OSBlockINin)

    def forward(self, x: Annotated[Tensor, "B C_in H W"]) -> Annotated[Tensor, "B C_out H W"]:
        """The block's features."""
        skip = x if self.downsample is None else self.downsample(x)
        narrow = self.conv1(x)
        y: Tensor = self.conv3(gated_sum(self.gate, [each(narrow) for each in self._streams()]))
        if self.IN is None:
            y.add_(skip)
        elif self.normalizes_before_skip:
            y = self.IN(y).add_(skip)
        else:
            y = self.IN(y.add_(skip))
        return F.relu_(y)

    def _streams(self) -> Iterator[nn.Module]:
        """The layers conv2a to conv2d, or the elements of conv2 (AIN)."""
        for name, child in self.named_children():
            if name == "conv2":
                yield from child.children()
            elif name.startswith("conv2"):
                yield child


def replace_blocks(module: nn.Module) -> None:
    """Put a `Block` in the place of each of torchreid's; names and values stay."""
    for name, child in module.named_children():
        if isinstance(child, osnet.OSBlock | osnet_ain.OSBlock | osnet_ain.OSBlockINin):
            module.add_module(name, Block(child))
        else:
            replace_blocks(child)
