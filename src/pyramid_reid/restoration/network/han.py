"""The convolutional extractor: the trunk of HAN (Niu et al., ECCV 2020).

Residual groups of channel-attention blocks (RCAN, Zhang et al., ECCV 2018), then attention over
their outputs (LAM) and over channels and positions (CSAM). As in the authors' code, the output of
the convolution after the last group counts as one more layer for LAM. Modules have the names of the
authors' code.

Crops of several sizes may share a batch: a mask says where each of them is. Everything outside is
held at zero, which is what a convolution pads a crop with anyway, and takes no part in the pooling.
"""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from pyramid_reid.core.params import HanSize
from pyramid_reid.restoration.kernels.winograd import Conv3x3, Convolution, wins_on

REDUCTION = 16


class ChannelAttention(nn.Module):
    """CA: each channel times sigmoid(W_U relu(W_D z)), z its mean over the crop (RCAN)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(dim, dim // REDUCTION, 1),
            nn.ReLU(),
            nn.Conv2d(dim // REDUCTION, dim, 1),
            nn.Sigmoid(),
        )

    def forward(
        self, x: Annotated[Tensor, "B dim H W"], mask: Annotated[Tensor, "B 1 H W"] | None
    ) -> Annotated[Tensor, "B dim 1 1"]:
        """The factor of each channel; x is zero outside the mask."""
        if mask is None:
            z = x.mean((2, 3), keepdim=True)
        else:
            z = x.sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True)
        factors: Tensor = self.conv_du(z)
        return factors


class ResidualBlock(nn.Module):
    """RCAB: x + CA(conv(relu(conv(x))))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            [Conv3x3(dim, dim), nn.ReLU(inplace=True), Conv3x3(dim, dim), ChannelAttention(dim)]
        )

    def forward(
        self, x: Annotated[Tensor, "B dim H W"], mask: Annotated[Tensor, "B 1 H W"] | None
    ) -> Annotated[Tensor, "B dim H W"]:
        """The block's output; x is zero outside the mask."""
        first, relu, second, attention = self.body
        y = second(relu(first(x, mask)), mask)
        return torch.addcmul(x, y, attention(y, mask))


class ResidualGroup(nn.Module):
    """RG: x + conv(blocks(x))."""

    def __init__(self, dim: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.ModuleList([*(ResidualBlock(dim) for _ in range(blocks)), Conv3x3(dim, dim)])

    def forward(
        self, x: Annotated[Tensor, "B dim H W"], mask: Annotated[Tensor, "B 1 H W"] | None
    ) -> Annotated[Tensor, "B dim H W"]:
        """The group's output; x is zero outside the mask."""
        y = x
        for layer in self.body:
            y = layer(y, mask)
        return x + y


class LayerAttention(nn.Module):
    """LAM: F_L = β W FG + FG, W the softmax of the layers' correlations (HAN, eq. 4-5)."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))  # the paper's β starts at 0

    def forward(self, layers: list[Annotated[Tensor, "B C H W"]]) -> Annotated[Tensor, "B N*C H W"]:
        """The N layers, each with its share of the others added, one after the other."""
        # channels stay last in memory: (B, N, H, W, C)
        stacked = torch.stack([layer.permute(0, 2, 3, 1) for layer in layers], 1)
        batch, number, height, width, channels = stacked.shape
        with torch.autocast(stacked.device.type, enabled=False):  # sums over a whole crop
            flat = stacked.float().reshape(batch, number, -1)
            weights = torch.softmax(flat @ flat.transpose(1, 2), -1)  # (B, N, N)
            flat = self.gamma * (weights @ flat) + flat
        y = flat.reshape(batch, number, height, width, channels).permute(0, 2, 3, 1, 4)
        return y.reshape(batch, height, width, number * channels).permute(0, 3, 1, 2)


class ChannelSpatialAttention(nn.Module):
    """CSAM: F_CS = β sigmoid(conv3d(F)) F + F, over channels and positions (HAN, eq. 6-7)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(1, 1, 3, padding=1)
        self.gamma = nn.Parameter(torch.zeros(1))  # the paper's β starts at 0

    def forward(self, x: Annotated[Tensor, "B C H W"]) -> Annotated[Tensor, "B C H W"]:
        """X with its attended part added."""
        attention = torch.sigmoid(self._convolve(x))
        return x + self.gamma * attention * x

    def _convolve(self, x: Tensor) -> Tensor:
        """The convolution over channels and positions; as one over positions where that is faster.

        There a channel takes itself and its two neighbours.
        """
        channels = x.shape[1]
        if not wins_on(x, channels):
            volumes: Tensor = self.conv(x[:, None])
            return volumes[:, 0]
        weight = torch.zeros(3, 3, channels, channels)
        for offset, kernel in zip((-1, 0, 1), self.conv.weight[0, 0], strict=True):
            of_all = kernel[..., None].expand(3, 3, channels - abs(offset))
            weight = weight + torch.diag_embed(of_all, offset)
        bias = self.conv.get_parameter("bias").expand(channels)
        y: Tensor = Convolution.apply(x, weight.permute(2, 3, 0, 1), bias)
        return y


class HAN(nn.Module):
    """F_ori = E(x_ori): features at the resolution of the crop."""

    multiple = 1
    """Any height and width will do."""

    def __init__(self, size: HanSize) -> None:
        super().__init__()
        dim = size.dim
        self.head = nn.ModuleList([Conv3x3(3, dim)])
        self.body = nn.ModuleList(
            [*(ResidualGroup(dim, size.blocks) for _ in range(size.groups)), Conv3x3(dim, dim)]
        )
        self.la = LayerAttention()
        self.csa = ChannelSpatialAttention()
        self.last_conv = Conv3x3(dim * (size.groups + 1), dim)
        self.last = Conv3x3(dim * 2, dim)
        self.out_channels = dim

    def forward(
        self, x: Annotated[Tensor, "B 3 H W"], mask: Annotated[Tensor, "B 1 H W"] | None = None
    ) -> Annotated[Tensor, "B dim H W"]:
        """The features of images of any height and width.

        Args:
            mask: 1 inside each crop, 0 outside, where x is 0; None: all inside.
        """
        shallow: Tensor = self.head[0](x, mask)  # F_0
        layers, y = [], shallow
        for layer in self.body:
            y = layer(y, mask)
            layers.append(y)
        y = torch.cat([self.csa(y), self.last_conv(self.la(layers), mask)], 1)
        return torch.add(shallow, self.last(y, mask))
