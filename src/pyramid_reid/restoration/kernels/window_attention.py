"""Attention within (shifted) windows of a feature map, on a CPU, in one pass; without a gradient.

softmax(Q K^T scale + B + mask) V as in Swin (Liu et al., ICCV 2021), read from the map and written
to it where the windows lie: nothing is rolled or cut into windows, and products, softmax and sums
of one window's head stay in a core's nearest cache.

All inner loops run over the 64 tokens of a window, whichever of queries and keys they are.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pyramid_reid.restoration.kernels.compiled import LOG2_E, compiled, exp2, inlined

WINDOW = 8
TOKENS = WINDOW**2

ROWS = 8
"""Rows that are summed up in registers before the sums are written, of two channels at once."""

Array = NDArray[np.float32]
Positions = NDArray[np.int64]
f32 = np.float32


def windowed_attention(
    qkv: Annotated[Tensor, "B H W 3*dim"],
    bias: Annotated[Tensor, "heads N N"],
    mask: Annotated[Tensor, "windows N N"] | None,
    shift: int,
    scale: float,
) -> Annotated[Tensor, "B H W dim"]:
    """From Q, K and V of a feature map to the attended map.

    Args:
        qkv: float32, the heads of Q, K and V one after the other; H and W
            multiples of the window.
        bias: of each query and key of a window's N tokens.
        mask: symmetric, of the windows in the last row or column if they are
            shifted: 0, or so low that nothing is attended to; else None.
        shift: of the windows, down and to the right.

    Raises:
        ValueError: H or W is no multiple of the window.
    """
    batch, height, width, three = qkv.shape
    if height % WINDOW or width % WINDOW:
        raise ValueError(f"{height} x {width} is no multiple of a window of {WINDOW}")
    attended = qkv.new_empty(batch, height, width, three // 3)
    of_keys = (bias * float(LOG2_E)).transpose(1, 2).contiguous()
    masks = np.empty((0, TOKENS, TOKENS), np.float32) if mask is None else mask.numpy()
    _attend(
        (0,) * (three // 3 // len(bias)),
        qkv.contiguous().numpy(),
        of_keys.numpy(),
        attended.numpy(),
        masks,
        shift,
        f32(scale * LOG2_E),
    )
    return attended


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


PerChannel = tuple[int, ...]
"""One number for each channel of a head: the length of a tuple is part of its type, hence a
constant that LLVM unrolls by, where an int would be a variable."""


@compiled
def _attend(
    per_channel: PerChannel,
    qkv: Array,
    bias: Array,
    attended: Array,
    masks: Array,
    shift: int,
    scale: np.float32,
) -> None:
    # bias: (heads, keys, queries)
    channels = len(per_channel)
    even = channels + channels % 2
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
                for i in range(TOKENS):
                    total[i] = f32(1) / total[i]
                for t in range(TOKENS):
                    token = attended[image, ys[t], xs[t]]
                    for c in range(channels):
                        token[low + c] = sums[c, t] * total[t]
