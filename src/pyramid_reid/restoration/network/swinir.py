"""The transformer extractor: the trunk of SwinIR (Liang et al., ICCV Workshops 2021).

Swin blocks come from timm; what SwinIR adds to them (residual groups closed by a convolution, a
long skip around all of them, no down-sampling) is here. Modules have the names of the
authors' code, so that published weights fit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated

import torch
from timm.models import swin_transformer
from torch import Tensor, nn

from pyramid_reid.core.kernels import use_kernels
from pyramid_reid.core.params import SwinSize
from pyramid_reid.restoration.kernels.window_attention import WINDOW, windowed_attention
from pyramid_reid.restoration.kernels.winograd import Conv3x3

MLP_RATIO = 2.0


class SwinBlock(swin_transformer.SwinTransformerBlock):
    """STL: window attention, then an MLP, each with a skip; masks are made once per size.

    Restoring on a CPU, attention is `windowed_attention`; in training, and on a GPU, timm's.
    """

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

    def _attn(self, x: Tensor) -> Tensor:
        """(S)W-MSA: attention within (shifted) windows."""
        if torch.is_grad_enabled() or not use_kernels(x):
            windowed: Tensor = super()._attn(x)  # type: ignore[no-untyped-call]
            return windowed
        bias = self.attn._get_rel_pos_bias()[0]  # noqa: SLF001 - (heads, N, N)
        attended = windowed_attention(
            self.attn.qkv(x), bias, self.get_attn_mask(x), self.shift_size[0], self.attn.scale
        )
        projected: Tensor = self.attn.proj(attended)
        return projected

    def get_attn_mask(
        self, x: Annotated[Tensor, "B H W dim"] | None = None, *_: object, **__: object
    ) -> Annotated[Tensor, "windows N N"] | None:
        """As timm's for features x; kept, so that each size is computed once."""
        if x is None or not any(self.shift_size):
            return None
        return _shift_mask(self.shift_size[0], x.shape[1], x.shape[2], x.device, x.dtype)


@lru_cache(maxsize=256)
def _shift_mask(
    shift: int, height: int, width: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Mask (windows, N, N) that parts what only the cyclic shift put side by side.

    It is 0 or -inf, where timm has 0 or -100: e^-100 is a subnormal number, with which CPUs
    multiply many times slower than with 0.
    """
    with torch.inference_mode(mode=False):  # a training may use it later
        block = swin_transformer.SwinTransformerBlock(
            1, (height, width), 1, window_size=WINDOW, shift_size=shift, always_partition=True
        )
        mask = block.attn_mask
        if not isinstance(mask, Tensor):
            raise TypeError("timm's Swin block has no attention mask")
        return torch.where(mask == 0, 0.0, -torch.inf).to(device, dtype)


class ResidualSwinGroup(nn.Module):
    """RSTB: F_i = conv(blocks(F_{i-1})) + F_{i-1}, every other block with shifted windows."""

    def __init__(self, dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        shifts = [WINDOW // 2 if number % 2 else 0 for number in range(depth)]
        blocks = nn.Sequential(*(SwinBlock(dim, num_heads, shift) for shift in shifts))
        self.residual_group = nn.ModuleDict({"blocks": blocks})
        self.conv = Conv3x3(dim, dim)

    def forward(self, x: Annotated[Tensor, "B H W dim"]) -> Annotated[Tensor, "B H W dim"]:
        """The group's features; H and W are multiples of the window."""
        y = self.residual_group["blocks"](x)
        y = self.conv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return torch.add(x, y)


class SwinIR(nn.Module):
    """F_ori = E(x_ori): features at the resolution of the crop."""

    multiple = WINDOW
    """Height and width of the input must be multiples of this."""

    def __init__(self, size: SwinSize) -> None:
        super().__init__()
        dim = size.dim
        self.conv_first = Conv3x3(3, dim)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(dim)})
        self.layers = nn.Sequential(
            *(ResidualSwinGroup(dim, depth, size.num_heads) for depth in size.depths)
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = Conv3x3(dim, dim)
        self.out_channels = dim

    def forward(self, x: Annotated[Tensor, "B 3 H W"]) -> Annotated[Tensor, "B dim H W"]:
        """The features of images; H and W are multiples of the window."""
        shallow = self.conv_first(x)  # F_0, (B, dim, H, W)
        y = self.patch_embed["norm"](shallow.permute(0, 2, 3, 1))  # (B, H, W, dim)
        y = self.norm(self.layers(y))
        y = self.conv_after_body(y.permute(0, 3, 1, 2))  # F_DF, (B, dim, H, W)
        return torch.add(shallow, y)
