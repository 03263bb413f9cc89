"""The switch between this project's own kernels and torch's operators.

Like timm's `use_fused_attn`: each kernel asks `use_kernels`, and uses torch's operators if the
answer is no, so that tests and benchmarks can compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import torch
from torch import Tensor

_on = True


def use_kernels(x: Annotated[Tensor, "..."]) -> bool:
    """Whether kernels compute with x: float32 on a CPU, to stay so; GPUs have torch's own."""
    return (
        _on
        and x.device.type == "cpu"
        and x.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )


@contextmanager
def torch_only() -> Iterator[None]:
    """Compute by torch's operators alone, in all threads."""
    global _on  # noqa: PLW0603 - the switch
    before, _on = _on, False
    try:
        yield
    finally:
        _on = before
