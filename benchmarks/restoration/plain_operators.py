"""The networks of restoration as torch's and timm's operators alone compute them.

Imported when the environment is pinned: it loads torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from timm.models import swin_transformer
from torch.utils.flop_counter import FlopCounterMode

from pyramid_reid.core.kernels import torch_only
from pyramid_reid.restoration.network import swinir


@contextmanager
def as_published() -> Iterator[None]:
    """Without what this project does for speed: its kernels, and attention masks that are kept."""
    masks = swin_transformer.SwinTransformerBlock.get_attn_mask
    with torch_only(), patch.object(swinir.SwinBlock, "get_attn_mask", masks):
        yield


def flop(work: Callable[[], object]) -> int:
    """Floating-point operations of products and convolutions, by their definition."""
    with as_published(), FlopCounterMode(display=False) as counter:
        work()
    return int(counter.get_total_flops())
