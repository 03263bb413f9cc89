"""GELU on a CPU: x Phi(x), Phi the normal distribution (Hendrycks and Gimpel 2016).

The tail of Phi is Hastings' approximation, Abramowitz and Stegun, "Handbook of Mathematical
Functions", 1964, 7.1.26, whose error is below 1e-7: less than float32 resolves near 1.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from pyramid_reid.restoration.kernels.compiled import LOG2_E, compiled, exp2, inlined, is_for

Array = NDArray[np.float32]
f32 = np.float32

_HALF_LOG2_E, _DENSITY = f32(-0.5 * LOG2_E), f32(1 / np.sqrt(2 * np.pi))
_P = f32(0.3275911 / np.sqrt(2))
_A1, _A2, _A3 = f32(0.254829592 / 2), f32(-0.284496736 / 2), f32(1.421413741 / 2)
_A4, _A5 = f32(-1.453152027 / 2), f32(1.061405429 / 2)


class GELU(nn.GELU):
    """torch's GELU; on a CPU `Gelu`."""

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same."""
        if not is_for(x):
            return super().forward(x)
        y: Tensor = Gelu.apply(x)
        return y


class Gelu(torch.autograd.Function):
    """x Phi(x), and its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """To the same shape.

        Args:
            x: float32, any shape.
        """
        x = x.detach().contiguous()
        ctx.save_for_backward(x)
        y = torch.empty_like(x)
        _gelu(x.view(-1).numpy(), y.view(-1).numpy())
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Gradient of x."""
        (x,) = ctx.saved_tensors
        to_x = torch.empty_like(x)
        arrays = x, gradient.contiguous(), to_x
        _differentiate(*(each.view(-1).numpy() for each in arrays))
        return to_x


@inlined
def _normal(x: f32) -> tuple[f32, f32]:
    """Phi(x), and e^(-x^2 / 2)."""
    t = f32(1) / (f32(1) + _P * abs(x))
    bell = exp2(x * x * _HALF_LOG2_E)
    tail = ((((_A5 * t + _A4) * t + _A3) * t + _A2) * t + _A1) * t * bell
    return f32(1) - tail if x > 0 else tail, bell


@compiled
def _gelu(x: Array, y: Array) -> None:
    for i in range(len(x)):
        y[i] = x[i] * _normal(x[i])[0]


@compiled
def _differentiate(x: Array, gradient: Array, to_x: Array) -> None:
    for i in range(len(x)):
        phi, bell = _normal(x[i])
        to_x[i] = gradient[i] * (phi + x[i] * bell * _DENSITY)
