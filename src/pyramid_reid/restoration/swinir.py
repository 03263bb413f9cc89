"""The transformer extractor: the trunk of SwinIR (Liang et al., ICCV Workshops 2021).

Swin blocks come from timm; what SwinIR adds to them (residual groups closed by a convolution, a
long skip around all of them, no down-sampling) is here. Modules bear the names that they have in
the authors' code, so that published weights fit.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from timm.models.swin_transformer import SwinTransformerBlock
from torch import Tensor, nn

from pyramid_reid.params import SwinSize

WINDOW = 8
MLP_RATIO = 2.0


class SwinBlock(SwinTransformerBlock):  # type: ignore[misc]  # timm has no types
    """STL: window attention, then an MLP, each with a skip; masks are made once per size."""

    def __init__(self, dim: int, num_heads: int, shift: int) -> None:
        super().__init__(
            dim,
            input_resolution=(WINDOW, WINDOW),
            num_heads=num_heads,
            window_size=WINDOW,
            shift_size=shift,
            mlp_ratio=MLP_RATIO,
            # the input may have any size: windows and masks follow it
            always_partition=True,
            dynamic_mask=True,
        )

    def get_attn_mask(
        self,
        x: Tensor | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> Tensor | None:
        """As timm's, from memory if this size was there before."""
        if x is None or not any(self.shift_size):
            return None
        return _shift_mask(self.shift_size[0], x.shape[1], x.shape[2], x.device, x.dtype)


@lru_cache(maxsize=256)
def _shift_mask(
    shift: int, height: int, width: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Additive mask (windows, WINDOW², WINDOW²) that parts what only the cyclic shift put together."""
    with torch.inference_mode(mode=False):  # training may use it, too
        block = SwinTransformerBlock(
            1, (height, width), 1, window_size=WINDOW, shift_size=shift, always_partition=True
        )
        mask: Tensor = block.attn_mask
        return mask.to(device, dtype)


class ResidualSwinGroup(nn.Module):
    """RSTB: F_i = conv(blocks(F_{i-1})) + F_{i-1}, every other block with shifted windows."""

    def __init__(self, dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        self.residual_group = nn.Module()
        self.residual_group.blocks = nn.Sequential(
            *(
                SwinBlock(dim, num_heads, shift=WINDOW // 2 if number % 2 else 0)
                for number in range(depth)
            )
        )
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) to the same shape, H and W multiples of the window."""
        y = self.residual_group.blocks(x)
        y = self.conv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return torch.add(x, y)


class SwinIR(nn.Module):
    """F_ori = E(x_ori): features at the resolution of the crop."""

    multiple = WINDOW
    """Height and width of the input must be multiples of this."""

    def __init__(self, size: SwinSize) -> None:
        super().__init__()
        dim = size.dim
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.patch_embed = nn.Module()
        self.patch_embed.norm = nn.LayerNorm(dim)
        self.layers = nn.Sequential(
            *(ResidualSwinGroup(dim, depth, size.num_heads) for depth in size.depths)
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.out_channels = dim

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, dim, H, W)."""
        shallow = self.conv_first(x)  # F_0, (B, dim, H, W)
        y = self.patch_embed.norm(shallow.permute(0, 2, 3, 1))  # (B, H, W, dim)
        y = self.norm(self.layers(y))
        y = self.conv_after_body(y.permute(0, 3, 1, 2))  # F_DF, (B, dim, H, W)
        return torch.add(shallow, y)
