"""The transformer extractor: the trunk of SwinIR (Liang et al., ICCV Workshops 2021).

Swin blocks come from timm; what SwinIR adds to them (residual groups closed by a convolution, a
long skip around all of them, no down-sampling) is here.
"""

from __future__ import annotations

import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

WINDOW = 8
MLP_RATIO = 2.0

PUBLISHED = {
    # name: (depth of each residual group, width, attention heads)
    "swinir": ((6, 6, 6, 6, 6, 6), 180, 6),
    "swinir_light": ((6, 6, 6, 6), 60, 6),
}


class ResidualSwinGroup(nn.Module):
    """RSTB: `depth` Swin blocks, every other one with shifted windows, then a convolution."""

    def __init__(self, dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(
            *(
                SwinTransformerBlock(
                    dim,
                    input_resolution=(WINDOW, WINDOW),
                    num_heads=num_heads,
                    window_size=WINDOW,
                    shift_size=WINDOW // 2 if number % 2 else 0,
                    mlp_ratio=MLP_RATIO,
                    # the input may have any size: windows and masks follow it
                    always_partition=True,
                    dynamic_mask=True,
                )
                for number in range(depth)
            )
        )
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) to the same shape, H and W multiples of the window."""
        y = self.blocks(x)
        y = self.conv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return torch.add(x, y)


class SwinIR(nn.Module):
    """F_ori = E(x_ori): features at the resolution of the crop.

    Args:
        depths: number of Swin blocks in each residual group.
        dim: width, a multiple of `num_heads`.
        num_heads: attention heads of each block.
    """

    multiple = WINDOW
    """Height and width of the input must be multiples of this."""

    def __init__(self, depths: tuple[int, ...], dim: int, num_heads: int) -> None:
        super().__init__()
        self.shallow = nn.Conv2d(3, dim, 3, padding=1)
        self.embed_norm = nn.LayerNorm(dim)
        self.groups = nn.Sequential(*(ResidualSwinGroup(dim, depth, num_heads) for depth in depths))
        self.norm = nn.LayerNorm(dim)
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)
        self.out_channels = dim

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, dim, H, W)."""
        shallow = self.shallow(x)  # (B, dim, H, W)
        y = self.embed_norm(shallow.permute(0, 2, 3, 1))  # (B, H, W, dim)
        y = self.norm(self.groups(y))
        y = self.conv(y.permute(0, 3, 1, 2))  # (B, dim, H, W)
        return torch.add(shallow, y)
