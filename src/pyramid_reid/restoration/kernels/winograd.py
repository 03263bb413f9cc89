"""3 x 3 convolutions by Winograd's minimal filtering, on a CPU.

F(4 x 4, 3 x 3) of Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016:
a tile of 4 x 4 outputs is Y = A^T [(G g G^T) * (B^T d B)] A of its 6 x 6 inputs d and the kernel g.
Summed over channels, the products are 36 of matrices, with a quarter of the multiplications of the
convolution itself. The price is rounding: errors are larger than those of float32 convolutions.

Images have their channels last in memory: whole rows of them are transformed at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pyramid_reid.core.kernels import use_kernels
from pyramid_reid.restoration.kernels.compiled import compiled, inlined

FEWEST_CHANNELS = 16
"""Of inputs and outputs: with fewer, the products are too small to be worth the transforms."""

TILE = 4
"""Height and width of the outputs of a tile."""

POINTS = (TILE + 2) ** 2
"""Products of a tile."""

AT_ONCE = 2**19
"""Numbers of the points of tiles, inputs and outputs, that are in memory at once (2 MiB)."""

Array = NDArray[np.float32]
f32 = np.float32
Three = tuple[f32, f32, f32]
Four = tuple[f32, f32, f32, f32]
Six = tuple[f32, f32, f32, f32, f32, f32]


class Conv3x3(nn.Conv2d):
    """3 x 3 convolution with padding of 1; torch's own on a GPU and for few channels."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(
        self, x: Annotated[Tensor, "B C H W"], mask: Annotated[Tensor, "B 1 H W"] | None = None
    ) -> Annotated[Tensor, "B O H W"]:
        """Convolve, and multiply the result by the mask."""
        if not wins_on(x, min(self.in_channels, self.out_channels)):
            y = super().forward(x)
        elif torch.is_grad_enabled():
            y = Convolution.apply(x, self.weight, self.bias)
        else:
            kernels = transformed(self.weight).transpose(1, 2)
            return convolve(x, kernels, self.get_parameter("bias"), mask)
        return y if mask is None else y * mask


def wins_on(x: Annotated[Tensor, "B C H W"], channels: int) -> bool:
    """Whether `Convolution` is there for x, and pays with so many channels in or out."""
    return use_kernels(x) and channels >= FEWEST_CHANNELS


class Convolution(torch.autograd.Function):
    """y = w * x + b with zeros around x, and its gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Annotated[Tensor, "B C H W"],
        weight: Annotated[Tensor, "O C 3 3"],
        bias: Annotated[Tensor, "O"],
    ) -> Annotated[Tensor, "B O H W"]:
        """Convolve float32 images."""
        ctx.save_for_backward(x, weight)
        return convolve(x, transformed(weight).transpose(1, 2), bias)

    @staticmethod
    @once_differentiable
    def backward(
        ctx: Any, gradient: Annotated[Tensor, "B O H W"]
    ) -> tuple[Annotated[Tensor, "B C H W"], Annotated[Tensor, "O C 3 3"], Annotated[Tensor, "O"]]:
        """Gradients of x, the weight and the bias."""
        x, weight = ctx.saved_tensors
        flipped = transformed(weight, flipped=True)
        to_x = convolve(gradient, flipped, gradient.new_zeros(weight.shape[1]))
        return to_x, weight_gradient(x, gradient), gradient.sum((0, 2, 3))


def convolve(
    x: Annotated[Tensor, "B C H W"],
    kernels: Annotated[Tensor, "36 C O"],
    bias: Annotated[Tensor, "O"],
    mask: Annotated[Tensor, "B 1 H W"] | None = None,
) -> Annotated[Tensor, "B O H W"]:
    """Correlate images with transformed kernels.

    Args:
        mask: by which the result is multiplied.

    Raises:
        ValueError: x has not as many channels as the kernels.
    """
    images = _channels_last(x)
    batch, height, width, _ = images.shape
    _, channels, outputs = kernels.shape
    if x.shape[1] != channels:
        raise ValueError(f"{x.shape[1]} channels for a convolution of {channels}")
    y = torch.empty(batch, outputs, height, width, memory_format=torch.channels_last)
    source, result = _rows(images), y.permute(0, 2, 3, 1).numpy()
    factors = images.new_ones(1) if mask is None else mask[:, 0]
    factors = factors.expand(batch, height, width).contiguous()
    others = bias.detach().contiguous().numpy(), factors.numpy()
    for first, last, tiles in _chunks(images, outputs):
        points = images.new_empty(POINTS, tiles, channels)
        _transform_inputs(source, first, last, channels, points.numpy())
        products = torch.bmm(points, kernels)  # (36, tiles, O)
        _transform_outputs(products.flatten(1).numpy(), first, last, *others, result)
    return y


def weight_gradient(
    x: Annotated[Tensor, "B C H W"], gradient: Annotated[Tensor, "B O H W"]
) -> Annotated[Tensor, "O C 3 3"]:
    """Gradient of a weight, given that of the outputs."""
    images, of_outputs = _channels_last(x), _channels_last(gradient)
    channels, outputs = images.shape[3], of_outputs.shape[3]
    total = images.new_zeros(POINTS, outputs, channels)
    for first, last, tiles in _chunks(images, outputs):
        points = images.new_empty(POINTS, tiles, channels)
        _transform_inputs(_rows(images), first, last, channels, points.numpy())
        back = images.new_empty(POINTS, tiles, outputs)
        _transform_gradients(_rows(of_outputs), first, last, outputs, back.numpy())
        total.baddbmm_(back.transpose(1, 2), points)
    of_weight = images.new_empty(outputs, 3, 3, channels)
    _transform_kernel_gradients(total.numpy(), of_weight.flatten(1, 2).numpy())
    return of_weight.permute(0, 3, 1, 2)


def transformed(
    weight: Annotated[Tensor, "O C 3 3"], *, flipped: bool = False
) -> Annotated[Tensor, "36 O C"]:
    """G g G^T of each kernel of a weight (O, C, 3, 3), to (36, O, C).

    Args:
        flipped: of the kernels turned by half a turn, as the gradient of the inputs takes them.
    """
    taps = _channels_last(weight).flatten(1, 2)  # (O, 9, C)
    outputs, _, channels = taps.shape
    kernels = taps.new_empty(POINTS, outputs, channels)
    _transform_kernels((taps.flip(1) if flipped else taps).numpy(), kernels.numpy())
    return kernels


def _channels_last(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, H, W, C), contiguous."""
    return x.detach().permute(0, 2, 3, 1).contiguous()


def _rows(images: Tensor) -> Array:
    """(B, H, W, C) to (B, H, W C)."""
    rows: Array = images.flatten(2).numpy()
    return rows


def _chunks(images: Tensor, outputs: int) -> Iterator[tuple[int, int, int]]:
    """First, last and number of tiles of some rows of tiles of (B, H, W, C) at a time."""
    batch, height, width, channels = images.shape
    total, columns = batch * -(-height // TILE), -(-width // TILE)
    step = max(1, AT_ONCE // (POINTS * (channels + outputs) * columns))
    for first in range(0, total, step):
        last = min(first + step, total)
        yield first, last, (last - first) * columns


@inlined
def _kernels(g0: f32, g1: f32, g2: f32) -> Six:
    """G g."""
    a, b = f32(1 / 6) * (g0 + g2), f32(1 / 6) * g1
    c, d = f32(1 / 24) * g0 + f32(1 / 6) * g2, f32(1 / 12) * g1
    return f32(1 / 4) * g0, -a - b, b - a, c + d, c - d, g2


@inlined
def _kernel_gradients(u0: f32, u1: f32, u2: f32, u3: f32, u4: f32, u5: f32) -> Three:
    """G^T u."""
    a, b = f32(1 / 6) * (u1 + u2), f32(1 / 6) * (u2 - u1)
    c, d = u3 + u4, f32(1 / 12) * (u3 - u4)
    return f32(1 / 4) * u0 - a + f32(1 / 24) * c, b + d, f32(1 / 6) * c - a + u5


@inlined
def _inputs(d0: f32, d1: f32, d2: f32, d3: f32, d4: f32, d5: f32) -> Six:
    """B^T d."""
    a, b = d4 - f32(4) * d2, d3 - f32(4) * d1
    c, d = d4 - d2, f32(2) * (d3 - d1)
    first = f32(4) * d0 - f32(5) * d2 + d4
    return first, a + b, a - b, c + d, c - d, f32(4) * d1 - f32(5) * d3 + d5


@inlined
def _outputs(m0: f32, m1: f32, m2: f32, m3: f32, m4: f32, m5: f32) -> Four:
    """A^T m."""
    a, b, c, d = m1 + m2, m1 - m2, m3 + m4, m3 - m4
    return m0 + a + c, b + f32(2) * d, a + f32(4) * c, b + f32(8) * d + m5


@inlined
def _gradients(y0: f32, y1: f32, y2: f32, y3: f32) -> Six:
    """A y."""
    a, b = y0 + y2, y1 + y3
    c, d = y0 + f32(4) * y2, f32(2) * y1 + f32(8) * y3
    return y0, a + b, a - b, c + d, c - d, y3


@compiled
def _transform_kernels(taps: Array, points: Array) -> None:
    """G g G^T of kernels (O, 9, C), to (36, O, C)."""
    outputs, _, channels = taps.shape
    strip = np.empty((6, 3, channels), np.float32)
    for o in range(outputs):
        for b in range(3):
            g0, g1, g2 = taps[o, b], taps[o, 3 + b], taps[o, 6 + b]
            for c in range(channels):
                six = _kernels(g0[c], g1[c], g2[c])
                for a in range(6):
                    strip[a, b, c] = six[a]
        for a in range(6):
            for c in range(channels):
                six = _kernels(strip[a, 0, c], strip[a, 1, c], strip[a, 2, c])
                for b in range(6):
                    points[6 * a + b, o, c] = six[b]


@compiled
def _transform_kernel_gradients(points: Array, taps: Array) -> None:
    """G^T u G of (36, O, C), to (O, 9, C): the transpose of `_transform_kernels`."""
    outputs, _, channels = taps.shape
    strip = np.empty((3, 6, channels), np.float32)
    for o in range(outputs):
        for b in range(6):
            u0, u1, u2 = points[b, o], points[6 + b, o], points[12 + b, o]
            u3, u4, u5 = points[18 + b, o], points[24 + b, o], points[30 + b, o]
            for c in range(channels):
                three = _kernel_gradients(u0[c], u1[c], u2[c], u3[c], u4[c], u5[c])
                for a in range(3):
                    strip[a, b, c] = three[a]
        for a in range(3):
            u0, u1, u2 = strip[a, 0], strip[a, 1], strip[a, 2]
            u3, u4, u5 = strip[a, 3], strip[a, 4], strip[a, 5]
            for c in range(channels):
                three = _kernel_gradients(u0[c], u1[c], u2[c], u3[c], u4[c], u5[c])
                for b in range(3):
                    taps[o, 3 * a + b, c] = three[b]


@compiled
def _transform_inputs(x: Array, first: int, last: int, channels: int, points: Array) -> None:
    """B^T d B of the tiles in some rows of tiles.

    Args:
        x: (B, H, W C).
        first, last: rows of tiles of the batch, those of each image after those of the one before.
        points: (36, tiles, C); written.
    """
    _, height, length = x.shape
    rows, columns = (height + 3) // 4, (length // channels + 3) // 4
    outside = np.zeros(length, np.float32)
    strip = np.zeros((6, (4 * columns + 2) * channels), np.float32)  # zero left and right of x
    t0, t1, t2 = strip[0, channels:], strip[1, channels:], strip[2, channels:]
    t3, t4, t5 = strip[3, channels:], strip[4, channels:], strip[5, channels:]
    for row in range(first, last):
        image, top = x[row // rows], row % rows * 4
        x0 = image[top - 1] if top > 0 else outside
        x1 = image[top]
        x2 = image[top + 1] if top + 1 < height else outside
        x3 = image[top + 2] if top + 2 < height else outside
        x4 = image[top + 3] if top + 3 < height else outside
        x5 = image[top + 4] if top + 4 < height else outside
        for i in range(length):
            t0[i], t1[i], t2[i], t3[i], t4[i], t5[i] = _inputs(
                x0[i], x1[i], x2[i], x3[i], x4[i], x5[i]
            )
        for a in range(6):
            for column in range(columns):
                tile = (row - first) * columns + column
                d = strip[a, 4 * column * channels : (4 * column + 6) * channels]
                p0, p1, p2 = points[6 * a, tile], points[6 * a + 1, tile], points[6 * a + 2, tile]
                p3, p4 = points[6 * a + 3, tile], points[6 * a + 4, tile]
                p5 = points[6 * a + 5, tile]
                for c in range(channels):
                    p0[c], p1[c], p2[c], p3[c], p4[c], p5[c] = _inputs(
                        d[c],
                        d[channels + c],
                        d[2 * channels + c],
                        d[3 * channels + c],
                        d[4 * channels + c],
                        d[5 * channels + c],
                    )


@compiled
def _transform_outputs(
    products: Array, first: int, last: int, bias: Array, factors: Array, y: Array
) -> None:
    """(A^T m A + bias) factor of the tiles in some rows of tiles.

    Args:
        products: (36, tiles O).
        factors: (B, H, W).
        y: (B, H, W, O); written.
    """
    _, height, width, outputs = y.shape
    rows, columns = (height + 3) // 4, (width + 3) // 4
    length = columns * outputs
    strip = np.empty((4, 6, length), np.float32)
    for row in range(first, last):
        image, top = y[row // rows], row % rows * 4
        start = (row - first) * length
        stop = start + length
        for b in range(6):
            m0, m1 = products[b, start:stop], products[6 + b, start:stop]
            m2, m3 = products[12 + b, start:stop], products[18 + b, start:stop]
            m4, m5 = products[24 + b, start:stop], products[30 + b, start:stop]
            t0, t1, t2, t3 = strip[0, b], strip[1, b], strip[2, b], strip[3, b]
            for i in range(length):
                t0[i], t1[i], t2[i], t3[i] = _outputs(m0[i], m1[i], m2[i], m3[i], m4[i], m5[i])
        for a in range(min(4, height - top)):
            of_row = factors[row // rows, top + a]
            for column in range(columns):
                left, low = 4 * column, column * outputs
                high = low + outputs
                m0, m1, m2 = strip[a, 0, low:high], strip[a, 1, low:high], strip[a, 2, low:high]
                m3, m4, m5 = strip[a, 3, low:high], strip[a, 4, low:high], strip[a, 5, low:high]
                if left + 4 <= width:
                    y0, y1 = image[top + a, left], image[top + a, left + 1]
                    y2, y3 = image[top + a, left + 2], image[top + a, left + 3]
                    f0, f1 = of_row[left], of_row[left + 1]
                    f2, f3 = of_row[left + 2], of_row[left + 3]
                    for o in range(outputs):
                        r0, r1, r2, r3 = _outputs(m0[o], m1[o], m2[o], m3[o], m4[o], m5[o])
                        y0[o], y1[o] = (r0 + bias[o]) * f0, (r1 + bias[o]) * f1
                        y2[o], y3[o] = (r2 + bias[o]) * f2, (r3 + bias[o]) * f3
                else:
                    for o in range(outputs):
                        four = _outputs(m0[o], m1[o], m2[o], m3[o], m4[o], m5[o])
                        for b in range(width - left):
                            image[top + a, left + b, o] = (four[b] + bias[o]) * of_row[left + b]


@compiled
def _transform_gradients(y: Array, first: int, last: int, outputs: int, points: Array) -> None:
    """A y A^T of the tiles in some rows of tiles, the transpose of `_transform_outputs`.

    Args:
        y: (B, H, W O).
        points: (36, tiles, O); written.
    """
    _, height, length = y.shape
    rows, columns = (height + 3) // 4, (length // outputs + 3) // 4
    outside = np.zeros(length, np.float32)
    strip = np.zeros((6, 4 * columns * outputs), np.float32)  # zero right of y
    t0, t1, t2, t3, t4, t5 = strip[0], strip[1], strip[2], strip[3], strip[4], strip[5]
    for row in range(first, last):
        image, top = y[row // rows], row % rows * 4
        y0 = image[top]
        y1 = image[top + 1] if top + 1 < height else outside
        y2 = image[top + 2] if top + 2 < height else outside
        y3 = image[top + 3] if top + 3 < height else outside
        for i in range(length):
            t0[i], t1[i], t2[i], t3[i], t4[i], t5[i] = _gradients(y0[i], y1[i], y2[i], y3[i])
        for a in range(6):
            for column in range(columns):
                tile = (row - first) * columns + column
                d = strip[a, 4 * column * outputs : (4 * column + 4) * outputs]
                p0, p1, p2 = points[6 * a, tile], points[6 * a + 1, tile], points[6 * a + 2, tile]
                p3, p4 = points[6 * a + 3, tile], points[6 * a + 4, tile]
                p5 = points[6 * a + 5, tile]
                for o in range(outputs):
                    p0[o], p1[o], p2[o], p3[o], p4[o], p5[o] = _gradients(
                        d[o], d[outputs + o], d[2 * outputs + o], d[3 * outputs + o]
                    )
