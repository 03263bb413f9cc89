"""OSNet's four streams stacked: one layer of all of them at once.

A block of OSNet sends the same features through four streams of one to four small layers. torchreid
computes these ten layers one after the other. Here the first layers of all streams are one
operation, then the second layers of the streams that have one, and so on: four operations. Where
feature maps are small, much of the training time goes into starting operations and synchronising
threads, so fewer operations are faster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyramid_reid.core.kernels import use_kernels

SMALL = 2**18
"""Numbers in one stream's map of a batch up to which streams are stacked: 1 MiB at float32.

Larger maps come from memory more slowly together than one by one.
"""


def streams(
    block: nn.Module, x: Annotated[Tensor, "B C H W"]
) -> list[Annotated[Tensor, "B C H W"]]:
    """The outputs of a block's streams."""
    modules = list(_streams_of(block))
    layers = [[each for each in stream.modules() if hasattr(each, "bn")] for stream in modules]
    if not (torch.is_grad_enabled() and use_kernels(x) and x.numel() <= SMALL and _plain(layers)):
        return [stream(x) for stream in modules]
    return stacked(layers, x)


def stacked(
    layers: Sequence[Sequence[nn.Module]], x: Annotated[Tensor, "B C H W"]
) -> list[Annotated[Tensor, "B C H W"]]:
    """The same, layers of one depth at once.

    Args:
        layers: the LightConv3x3 of each stream, one more in each than in the one before.
    """
    results, width = [], x.shape[1]
    for depth in range(len(layers)):
        y = _layer([stream[depth] for stream in layers[depth:]], x)
        # one stream ends here; gradients of slices would not have their channels last
        ended, x = torch.split(y, [width, y.shape[1] - width], 1)
        results.append(ended)
    return results


def _streams_of(block: nn.Module) -> Iterator[nn.Module]:
    """The streams of a block: its conv2a to conv2d, or the elements of its conv2 (AIN)."""
    for name, child in block.named_children():
        if name == "conv2":
            yield from child.children()
        elif name.startswith("conv2"):
            yield child


def _plain(layers: Sequence[Sequence[nn.Module]]) -> bool:
    """Whether the layers are trained, and their statistics are those of this process alone."""
    first: Any = layers[0][0]
    return type(first.bn) is nn.BatchNorm2d and first.bn.training


def _layer(parts: Sequence[Any], x: Tensor) -> Tensor:
    """LightConv3x3 of N streams: 1x1 and depthwise 3x3 convolution, normalisation, ReLU.

    Args:
        x: (B, C, H, W) that all share, or (B, N C, H, W).

    Returns:
        (B, N C, H, W).
    """
    pointwise, depthwise = (
        torch.cat([getattr(part, name).weight for part in parts]) for name in ("conv1", "conv2")
    )
    y = F.conv2d(x, pointwise, groups=x.shape[1] // pointwise.shape[1])
    y = F.conv2d(y, depthwise, padding=1, groups=y.shape[1])
    return F.relu_(_normalize([part.bn for part in parts], y))


def _normalize(parts: Sequence[Any], x: Tensor) -> Tensor:
    """Batch normalisation of N streams (B, N C, H, W); keeps the running statistics of each."""
    mean, variance = (
        torch.cat([p.running_mean for p in parts]),
        torch.cat([p.running_var for p in parts]),
    )
    weight, bias = torch.cat([p.weight for p in parts]), torch.cat([p.bias for p in parts])
    momentum, eps = parts[0].momentum, parts[0].eps
    y = F.batch_norm(x, mean, variance, weight, bias, True, momentum, eps)
    for part, of_mean, of_variance in zip(
        parts, mean.chunk(len(parts)), variance.chunk(len(parts)), strict=True
    ):
        part.running_mean.copy_(of_mean)
        part.running_var.copy_(of_variance)
        part.num_batches_tracked.add_(1)
    return y
