"""The convolutional extractor: the trunk of HAN (Niu et al., ECCV 2020).

Residual groups of channel-attention blocks (RCAN, Zhang et al., ECCV 2018), then attention over
their outputs (LAM) and over channels and positions (CSAM). As in the authors' code, the output of
the convolution after the last group counts as one more layer for LAM. Modules bear the names that
they have there.

Crops of several sizes may share a batch: a mask says where each of them is. Everything outside is
held at zero, which is what a convolution pads a crop with anyway, and takes no part in the pooling.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyramid_reid.params import HanSize

REDUCTION = 16


class Conv(nn.Conv2d):
    """3 x 3 convolution that leaves zeros outside the crops."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, in_channels, H, W) and mask (B, 1, H, W) to (B, out_channels, H, W)."""
        y = super().forward(x)
        return y if mask is None else y * mask


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

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, dim, H, W), zero outside the mask, to the same shape."""
        if mask is None:
            z = x.mean((2, 3), keepdim=True)  # (B, dim, 1, 1)
        else:
            z = x.sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True)
        return torch.mul(x, self.conv_du(z))


class ResidualBlock(nn.Module):
    """RCAB: x + CA(conv(relu(conv(x))))."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.ModuleList(
            [Conv(dim, dim), nn.ReLU(), Conv(dim, dim), ChannelAttention(dim)]
        )

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, dim, H, W) to the same shape."""
        first, relu, second, attention = self.body
        return torch.add(x, attention(second(relu(first(x, mask)), mask), mask))


class ResidualGroup(nn.Module):
    """RG: x + conv(blocks(x))."""

    def __init__(self, dim: int, blocks: int) -> None:
        super().__init__()
        self.body = nn.ModuleList([*(ResidualBlock(dim) for _ in range(blocks)), Conv(dim, dim)])

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """(B, dim, H, W) to the same shape."""
        y = x
        for layer in self.body:
            y = layer(y, mask)
        return x + y


class LayerAttention(nn.Module):
    """LAM: F_L = β W FG + FG, W the softmax of the layers' correlations (HAN, eq. 4-5)."""

    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1))  # the paper's β starts at 0

    def forward(self, layers: list[Tensor]) -> Tensor:
        """N layers (B, C, H, W) to (B, N C, H, W)."""
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

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        attention = torch.sigmoid(self.conv(x[:, None])[:, 0])
        return x + self.gamma * attention * x


class HAN(nn.Module):
    """F_ori = E(x_ori): features at the resolution of the crop."""

    multiple = 1
    """Any height and width will do."""

    def __init__(self, size: HanSize) -> None:
        super().__init__()
        dim = size.dim
        self.head = nn.ModuleList([Conv(3, dim)])
        self.body = nn.ModuleList(
            [*(ResidualGroup(dim, size.blocks) for _ in range(size.groups)), Conv(dim, dim)]
        )
        self.la = LayerAttention()
        self.csa = ChannelSpatialAttention()
        self.last_conv = Conv(dim * (size.groups + 1), dim)
        self.last = Conv(dim * 2, dim)
        self.out_channels = dim

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, 3, H, W) to (B, dim, H, W).

        Args:
            mask: (B, 1, H, W), 1 inside each crop, 0 outside, where x is 0; None: all inside.
        """
        shallow: Tensor = self.head[0](x, mask)  # F_0
        layers, y = [], shallow
        for layer in self.body:
            y = layer(y, mask)
            layers.append(y)
        y = torch.cat([self.csa(y), self.last_conv(self.la(layers), mask)], 1)
        return torch.add(shallow, self.last(y, mask))
