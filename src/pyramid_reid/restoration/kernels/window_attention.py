"""Attention within (shifted) windows of a feature map, on a CPU, in one pass and its gradient.

softmax(Q K^T scale + B + mask) V as in Swin (Liu et al., ICCV 2021), read from the map and written
to it where the windows lie: nothing is rolled or cut into windows, and products, softmax and sums
of one window's head stay in a core's nearest cache. The gradient computes the softmax again, from
what its maximum and sum were (as FlashAttention does, Dao et al., NeurIPS 2022).

All inner loops run over the 64 tokens of a window, whichever of queries and keys they are.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from pyramid_reid.restoration.kernels.compiled import LN_2, LOG2_E, compiled, exp2, inlined

WINDOW = 8
TOKENS = WINDOW**2

ROWS = 8
"""Rows that are summed up in registers before the sums are written, of two channels at once."""

Array = NDArray[np.float32]
Positions = NDArray[np.int64]
f32 = np.float32


class WindowedAttention(torch.autograd.Function):
    """From Q, K and V of a feature map to the attended map."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, bias: Tensor, mask: Tensor | None, shift: int, scale: float
    ) -> Tensor:
        """To (B, H, W, dim).

        Args:
            qkv: (B, H, W, 3 dim) float32, the heads of Q, K and V one after the other; H and W
                multiples of the window.
            bias: (heads, N, N), of each query and key of a window's N tokens.
            mask: (windows, N, N), symmetric, of the windows in the last row or column if they are
                shifted: 0, or so low that nothing is attended to; else None.
            shift: of the windows, down and to the right.

        Raises:
            ValueError: H or W is no multiple of the window.
        """
        qkv, bias = qkv.detach().contiguous(), bias.detach() * float(LOG2_E)
        batch, height, width, three = qkv.shape
        if height % WINDOW or width % WINDOW:
            raise ValueError(f"{height} x {width} is no multiple of a window of {WINDOW}")
        heads, windows = len(bias), height * width // TOKENS
        attended = qkv.new_empty(batch, height, width, three // 3)
        statistics = qkv.new_empty(batch, windows, heads, 2, TOKENS)
        masks = np.empty((0, TOKENS, TOKENS), np.float32) if mask is None else mask.numpy()
        of_keys, factor = bias.transpose(1, 2).contiguous(), f32(scale * LOG2_E)
        attend, _ = _loops(three // 3 // heads)
        attend(
            *(each.numpy() for each in (qkv, of_keys, attended, statistics)), masks, shift, factor
        )
        ctx.save_for_backward(qkv, bias, attended, statistics)
        ctx.rest = masks, shift, factor
        return attended

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of qkv and of the bias."""
        qkv, bias, attended, statistics = ctx.saved_tensors
        to_qkv, to_bias = torch.empty_like(qkv), torch.zeros_like(bias)
        arrays = qkv, bias.contiguous(), attended, statistics
        results = gradient.contiguous(), to_qkv, to_bias
        _, differentiate = _loops(attended.shape[3] // len(bias))
        differentiate(*(each.numpy() for each in (*arrays, *results)), *ctx.rest)
        return to_qkv, to_bias, None, None, None


@inlined
def _find(window: int, height: int, width: int, shift: int, ys: Positions, xs: Positions) -> bool:
    """Write where the tokens of a window are; say whether it is in the last row or column."""
    columns = width // WINDOW
    row, column = window // columns, window % columns
    for t in range(TOKENS):
        ys[t] = (row * WINDOW + t // WINDOW + shift) % height
        xs[t] = (column * WINDOW + t % WINDOW + shift) % width
    return row == height // WINDOW - 1 or column == columns - 1


@inlined
def _add_up(channels: int, scalars: Array, rows: Array, sums: Array) -> None:
    """Add scalars^T rows, (tokens, channels) and (tokens, tokens), to sums (channels, tokens).

    Channels are taken in pairs, so that each number of the rows is read once for two of them.
    """
    for block in range(TOKENS // ROWS):
        for pair in range(channels // 2):
            first, c = ROWS * block, 2 * pair
            for i in range(TOKENS):
                one, two = sums[c, i], sums[c + 1, i]
                for j in range(ROWS):
                    value = rows[first + j, i]
                    one += scalars[first + j, c] * value
                    two += scalars[first + j, c + 1] * value
                sums[c, i], sums[c + 1, i] = one, two


Loop = Callable[..., None]


@cache
def _loops(channels: int) -> tuple[Loop, Loop]:
    """Attention and its gradient for heads of so many channels, a constant that LLVM unrolls by."""
    even = channels + channels % 2

    def of_channels(loop: Loop) -> Loop:
        # numba keeps what it compiled by this name
        loop.__qualname__ = f"{loop.__qualname__}_{channels}"
        return compiled(loop)

    @of_channels
    def attend(
        qkv: Array,
        bias: Array,
        attended: Array,
        statistics: Array,
        masks: Array,
        shift: int,
        scale: np.float32,
    ) -> None:
        # bias: (heads, keys, queries); statistics: of each query the maximum and 1 / sum
        batch, height, width, dim = attended.shape
        # one by one: LLVM takes parts of one array for the same memory
        q, k = np.empty((channels, TOKENS), np.float32), np.empty((TOKENS, channels), np.float32)
        v, sums = np.zeros((TOKENS, even), np.float32), np.empty((even, TOKENS), np.float32)
        weights, nothing = np.empty((TOKENS, TOKENS), np.float32), np.zeros(TOKENS, np.float32)
        highest, total = np.empty(TOKENS, np.float32), np.empty(TOKENS, np.float32)
        ys, xs = np.empty(TOKENS, np.int64), np.empty(TOKENS, np.int64)
        for image in range(batch):
            for window in range(height * width // TOKENS):
                last = _find(window, height, width, shift, ys, xs)
                masked = last and len(masks) > 0
                for head in range(len(bias)):
                    low = head * channels
                    for t in range(TOKENS):
                        token = qkv[image, ys[t], xs[t]]
                        for c in range(channels):
                            q[c, t] = token[low + c] * scale
                            k[t, c] = token[dim + low + c]
                            v[t, c] = token[2 * dim + low + c]
                    highest[:], total[:], sums[:] = f32(-np.inf), f32(0), f32(0)
                    for j in range(TOKENS):
                        mask = masks[window, j] if masked else nothing
                        for i in range(TOKENS):
                            product = bias[head, j, i] + mask[i]
                            for c in range(channels):
                                product += k[j, c] * q[c, i]
                            weights[j, i] = product
                            highest[i] = max(highest[i], product)
                    for j in range(TOKENS):
                        for i in range(TOKENS):
                            weight = exp2(weights[j, i] - highest[i])
                            weights[j, i] = weight
                            total[i] += weight
                    _add_up(even, v, weights, sums)
                    maxima, inverses = statistics[image, window, head]
                    for i in range(TOKENS):
                        maxima[i], inverses[i] = highest[i], f32(1) / total[i]
                    for t in range(TOKENS):
                        token = attended[image, ys[t], xs[t]]
                        for c in range(channels):
                            token[low + c] = sums[c, t] * inverses[t]

    @of_channels
    def differentiate(
        qkv: Array,
        bias: Array,
        attended: Array,
        statistics: Array,
        gradient: Array,
        to_qkv: Array,
        to_bias: Array,
        masks: Array,
        shift: int,
        scale: np.float32,
    ) -> None:
        # bias: (heads, queries, keys)
        batch, height, width, dim = attended.shape
        q, k = np.zeros((TOKENS, even), np.float32), np.zeros((TOKENS, even), np.float32)
        g, shares = np.zeros((TOKENS, even), np.float32), np.empty(TOKENS, np.float32)
        kt, vt = np.empty((channels, TOKENS), np.float32), np.empty((channels, TOKENS), np.float32)
        weights, nothing = np.empty((TOKENS, TOKENS), np.float32), np.zeros(TOKENS, np.float32)
        to_products = np.empty((TOKENS, TOKENS), np.float32)
        transposed = np.empty((TOKENS, TOKENS), np.float32)
        to_q, to_k = np.empty((even, TOKENS), np.float32), np.empty((even, TOKENS), np.float32)
        to_v = np.empty((even, TOKENS), np.float32)
        ys, xs = np.empty(TOKENS, np.int64), np.empty(TOKENS, np.int64)
        for image in range(batch):
            for window in range(height * width // TOKENS):
                last = _find(window, height, width, shift, ys, xs)
                masked = last and len(masks) > 0
                for head in range(len(bias)):
                    low = head * channels
                    for t in range(TOKENS):
                        token, of_token = qkv[image, ys[t], xs[t]], attended[image, ys[t], xs[t]]
                        above = gradient[image, ys[t], xs[t]]
                        share = f32(0)  # sum over keys of weight x its gradient, one of d products
                        for c in range(channels):
                            q[t, c] = token[low + c] * scale
                            k[t, c] = kt[c, t] = token[dim + low + c]
                            vt[c, t] = token[2 * dim + low + c]
                            g[t, c] = above[low + c]
                            share += above[low + c] * of_token[low + c]
                        shares[t] = share
                    maxima, inverses = statistics[image, window, head]
                    for i in range(TOKENS):
                        mask = masks[window, i] if masked else nothing
                        for j in range(TOKENS):
                            product = bias[head, i, j] + mask[j]
                            for c in range(channels):
                                product += q[i, c] * kt[c, j]
                            weights[i, j] = product
                        for j in range(TOKENS):
                            weights[i, j] = exp2(weights[i, j] - maxima[i]) * inverses[i]
                        for j in range(TOKENS):
                            value = -shares[i]
                            for c in range(channels):
                                value += g[i, c] * vt[c, j]
                            value *= weights[i, j]
                            to_products[i, j] = value
                            to_bias[head, i, j] += value
                    for i in range(TOKENS):
                        for j in range(TOKENS):
                            transposed[j, i] = to_products[i, j]
                    to_q[:], to_k[:], to_v[:] = f32(0), f32(0), f32(0)
                    _add_up(even, k, transposed, to_q)
                    _add_up(even, q, to_products, to_k)
                    _add_up(even, g, weights, to_v)
                    for t in range(TOKENS):
                        token = to_qkv[image, ys[t], xs[t]]
                        for c in range(channels):
                            # q and its scale are those of powers of 2
                            token[low + c] = to_q[c, t] * (scale * LN_2)
                            token[dim + low + c] = to_k[c, t] * LN_2
                            token[2 * dim + low + c] = to_v[c, t]

    return attend, differentiate
