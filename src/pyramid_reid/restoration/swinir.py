"""The transformer extractor: the trunk of SwinIR (Liang et al., ICCV Workshops 2021).

Swin blocks come from timm; what SwinIR adds to them (residual groups closed by a convolution, a
long skip around all of them, no down-sampling) is here. Modules bear the names that they have in
the authors' code, so that published weights fit.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from timm.models import swin_transformer
from torch import Tensor, nn

from pyramid_reid.params import SwinSize

WINDOW = 8
MLP_RATIO = 2.0


class WindowAttention(swin_transformer.WindowAttention):
    """(S)W-MSA, on a CPU by `Attention`; a GPU has kernels for it, and there it is timm's."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B windows, N, dim) to the same shape.

        Args:
            mask: (windows, N, N), added to the products.
        """
        if x.device.type != "cpu":
            attended: Tensor = super().forward(x, mask)
            return attended
        bias = self._get_rel_pos_bias()[0]  # (heads, N, N)
        attended = Attention.apply(self.qkv(x), bias, mask, self.scale)
        output: Tensor = self.proj(attended)
        return output


class Attention(torch.autograd.Function):
    """softmax(Q K^T scale + B + mask) V in each window.

    A head has d = 8 to 30 channels, and on a CPU products of d columns take several times as long
    as products of d rows: those are what is computed here, in both directions.
    """

    @staticmethod
    def forward(ctx: Any, qkv: Tensor, bias: Tensor, mask: Tensor | None, scale: float) -> Tensor:
        """To (B, N, dim).

        Args:
            qkv: (B, N, 3 dim), the heads of Q, K and V one after the other.
            bias: (heads, N, N).
            mask: (windows, N, N), B being a multiple of the windows, or None.
        """
        batch, number, _ = qkv.shape
        heads = len(bias)
        apart = qkv.view(batch, number, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = apart.reshape(3, batch * heads, number, -1)  # (B heads, N, d)
        q = q * scale
        weights = _weights(torch.bmm(q, k.transpose(1, 2)), bias, mask)
        attended = torch.bmm(v.transpose(1, 2), weights.transpose(1, 2))  # (B heads, d, N)
        ctx.save_for_backward(q, k, v, weights, attended)
        ctx.scale = scale
        return attended.view(batch, -1, number).transpose(1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Gradients of qkv and of the bias."""
        q, k, v, weights, attended = ctx.saved_tensors
        batch, number, _ = gradient.shape
        gradient = gradient.transpose(1, 2).reshape(attended.shape)  # (B heads, d, N)
        to_products = torch.bmm(gradient.transpose(1, 2), v.transpose(1, 2))  # of the weights
        # the softmax's: w (g - sum of w g), and that sum is one of d products
        to_products.sub_((gradient * attended).sum(1)[:, :, None]).mul_(weights)
        to_qkv = gradient.new_empty(3, *attended.shape)
        torch.bmm(k.transpose(1, 2), to_products.transpose(1, 2), out=to_qkv[0]).mul_(ctx.scale)
        torch.bmm(q.transpose(1, 2), to_products, out=to_qkv[1])
        torch.bmm(gradient, weights, out=to_qkv[2])
        together = to_qkv.view(3, batch, -1, number).permute(1, 3, 0, 2)
        to_bias = to_products.view(batch, -1, number, number).sum(0)
        return together.reshape(batch, number, -1), to_bias, None, None


def _weights(products: Tensor, bias: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(products + bias + mask), (B heads, N, N); overwrites the products."""
    heads, number, _ = bias.shape
    products = products.view(-1, heads, number, number)
    products += bias
    if mask is not None:
        of_windows = products.view(-1, len(mask), heads, number, number)
        of_windows += mask[:, None]
    return products.flatten(0, 1).softmax(-1)


class SwinBlock(swin_transformer.SwinTransformerBlock):
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
        self.attn = WindowAttention(dim, num_heads, window_size=WINDOW)

    def get_attn_mask(self, x: Tensor | None = None, *_: object, **__: object) -> Tensor | None:
        """As timm's for features x (B, H, W, dim), from memory if the size was there before."""
        if x is None or not any(self.shift_size):
            return None
        return _shift_mask(self.shift_size[0], x.shape[1], x.shape[2], x.device, x.dtype)


@lru_cache(maxsize=256)
def _shift_mask(
    shift: int, height: int, width: int, device: torch.device, dtype: torch.dtype
) -> Tensor:
    """Mask (windows, N, N) that parts what only the cyclic shift put side by side."""
    with torch.inference_mode(mode=False):  # a training may use it later
        block = swin_transformer.SwinTransformerBlock(
            1, (height, width), 1, window_size=WINDOW, shift_size=shift, always_partition=True
        )
        mask = block.attn_mask
        if not isinstance(mask, Tensor):
            raise TypeError("timm's Swin block has no attention mask")
        return mask.to(device, dtype)


class ResidualSwinGroup(nn.Module):
    """RSTB: F_i = conv(blocks(F_{i-1})) + F_{i-1}, every other block with shifted windows."""

    def __init__(self, dim: int, depth: int, num_heads: int) -> None:
        super().__init__()
        shifts = [WINDOW // 2 if number % 2 else 0 for number in range(depth)]
        blocks = nn.Sequential(*(SwinBlock(dim, num_heads, shift) for shift in shifts))
        self.residual_group = nn.ModuleDict({"blocks": blocks})
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, dim) to the same shape, H and W multiples of the window."""
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
        self.conv_first = nn.Conv2d(3, dim, 3, padding=1)
        self.patch_embed = nn.ModuleDict({"norm": nn.LayerNorm(dim)})
        self.layers = nn.Sequential(
            *(ResidualSwinGroup(dim, depth, size.num_heads) for depth in size.depths)
        )
        self.norm = nn.LayerNorm(dim)
        self.conv_after_body = nn.Conv2d(dim, dim, 3, padding=1)
        self.out_channels = dim

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, dim, H, W)."""
        shallow = self.conv_first(x)  # F_0, (B, dim, H, W)
        y = self.patch_embed["norm"](shallow.permute(0, 2, 3, 1))  # (B, H, W, dim)
        y = self.norm(self.layers(y))
        y = self.conv_after_body(y.permute(0, 3, 1, 2))  # F_DF, (B, dim, H, W)
        return torch.add(shallow, y)
