"""The networks of restoration as torch's and timm's operators alone compute them.

Imported when the environment is pinned: it loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from timm.models import swin_transformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from pyramid_reid.restoration.kernels import gelu, winograd
from pyramid_reid.restoration.network import han, swinir


@contextmanager
def as_published() -> Iterator[None]:
    """What torch and timm compute, without what this project does for speed on a CPU."""
    block = swin_transformer.SwinTransformerBlock

    def convolve(self: nn.Conv2d, x: Tensor, _: None = None) -> Tensor:
        return nn.Conv2d.forward(self, x)

    def upsample(x: Tensor, scale: int) -> Tensor:
        return F.interpolate(x, scale_factor=scale, mode="bicubic", align_corners=False)

    with (
        patch.object(swinir.SwinBlock, "_attn", block._attn),  # noqa: SLF001
        patch.object(swinir.SwinBlock, "get_attn_mask", block.get_attn_mask),
        patch.object(winograd.Conv3x3, "forward", convolve),
        patch.object(gelu.GELU, "forward", nn.GELU.forward),
        patch.object(han, "wins_on", lambda *_: False),
        patch.object(pyramid, "convolve_pairs", lambda x, conv: conv(x)),
        patch.object(pyramid, "upsample", upsample),
    ):
        yield


def flop(work: Callable[[], object]) -> int:
    """Floating-point operations of products and convolutions, by their definition."""
    with as_published(), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
