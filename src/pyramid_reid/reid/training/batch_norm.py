"""Batch normalisation over the whole batch where several processes share it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyramid_reid.core.runtime import world_size
from pyramid_reid.training.distributed import add_up


def share_statistics(model: nn.Module, device: torch.device) -> nn.Module:
    """Let batch normalisation see the whole batch, so that several processes train as one does.

    On GPUs by torch's SyncBatchNorm, which has no code for CPUs; there by `SharedBatchNorm`.
    Parameters, buffers and their names stay; a single process keeps the network as it is.
    """
    if world_size() == 1:
        return model
    if device.type == "cuda":
        shared: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]
        return shared
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.__class__ = SharedBatchNorm
    return model


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation with mean and variance over all processes, for (B, C, ...)."""

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        """Take BatchNorm1d's inputs, too."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """Normalise; in evaluation mode by the running statistics, as ever."""
        if not self.training:
            return super().forward(input)
        normalized, mean, variance, count = _Normalize.apply(
            input, self.weight, self.bias, self.eps
        )
        assert self.running_mean is not None  # noqa: S101 - for mypy: OSNet tracks them
        assert self.running_var is not None  # noqa: S101
        assert self.momentum is not None  # noqa: S101
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * (count / (count - 1)), self.momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        return torch.as_tensor(normalized)


class _Normalize(torch.autograd.Function):
    """The forward and backward equations of Ioffe and Szegedy (ICML 2015), sums over processes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        variance, mean = torch.var_mean(x, _others(x), correction=0)
        rows = x.numel() // x.shape[1]
        # in double: the difference of squares below then loses nothing that float32 holds
        mean, variance = mean.double(), variance.double()
        count = torch.tensor([rows], dtype=torch.float64)
        sums = add_up(torch.cat([mean * rows, (variance + mean.square()) * rows, count]))
        count = sums[-1]
        mean, square = (sums[:-1] / count).chunk(2)
        variance = square - mean.square()
        scale = (variance + eps).rsqrt()
        mean, variance, scale = (each.to(x.dtype) for each in (mean, variance, scale))
        ctx.save_for_backward(x, weight, mean, scale, count)
        ctx.mark_non_differentiable(mean, variance, count)
        y = x.sub(_wide(mean, x)).mul_(_wide(scale * weight, x)).add_(_wide(bias, x))
        return y, mean, variance, count

    @staticmethod
    def backward(ctx: Any, gradient: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, scale, count = ctx.saved_tensors
        normalized = x.sub(_wide(mean, x)).mul_(_wide(scale, x))
        to_bias = gradient.sum(_others(x))
        to_weight = (gradient * normalized).sum(_others(x))
        means = add_up(torch.cat([to_bias, to_weight]).double()) / count
        of_bias, of_weight = (_wide(each, x) for each in means.to(x.dtype).chunk(2))
        to_x = gradient.sub(of_bias).sub_(normalized.mul_(of_weight)).mul_(_wide(scale * weight, x))
        return to_x, to_weight, to_bias, None


def _others(x: Tensor) -> list[int]:
    """All axes but that of the channels."""
    return [0, *range(2, x.ndim)]


def _wide(channels: Tensor, x: Tensor) -> Tensor:
    """(C,) in a shape that spreads over (B, C, ...)."""
    return channels.view(1, -1, *[1] * (x.ndim - 2))
