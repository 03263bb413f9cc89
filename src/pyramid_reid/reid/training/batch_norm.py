"""Batch normalisation over the whole batch if several processes share it."""

from __future__ import annotations

from typing import Annotated, Any

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
    _convert(model)
    return model


def _convert(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            module.add_module(name, SharedBatchNorm(child))
        else:
            _convert(child)


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation (Ioffe and Szegedy, ICML 2015) of (B, C, ...) over all processes.

    Args:
        of: whose parameters and running statistics become this one's.
    """

    def __init__(self, of: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__(of.num_features, of.eps, of.momentum)
        self.weight, self.bias, self.training = of.weight, of.bias, of.training
        for name, value in of.named_buffers():
            setattr(self, name, value)

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        """Take BatchNorm1d's inputs, too."""

    def forward(self, input: Annotated[Tensor, "B C H W"]) -> Annotated[Tensor, "B C H W"]:  # noqa: A002 - torch's name
        """Normalise; in evaluation mode by the running statistics, as ever."""
        if not self.training:
            return super().forward(input)
        others = [0, *range(2, input.ndim)]  # all axes but that of the channels
        wide = (1, -1, *[1] * (input.ndim - 2))
        rows = input.new_full((1,), input.numel() / input.shape[1])
        sums = _AddUp.apply(torch.cat([input.sum(others), rows]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centred = input - mean.view(wide)
        variance = _AddUp.apply(centred.square().sum(others)) / count
        with torch.no_grad():
            momentum = float(self.momentum or 0)
            self.get_buffer("running_mean").lerp_(mean, momentum)
            self.get_buffer("running_var").lerp_(variance * count / (count - 1), momentum)
            self.get_buffer("num_batches_tracked").add_(1)
        scale = (variance + self.eps).rsqrt() * self.weight
        y: Tensor = centred * scale.view(wide) + self.bias.view(wide)
        return y


class _AddUp(torch.autograd.Function):
    """A sum over processes; what each makes of it has a gradient, and these are summed as well."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        return add_up(values.clone())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return add_up(gradient.clone())
