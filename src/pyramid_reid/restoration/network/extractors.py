"""The extractors by name: their published sizes and their networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyramid_reid.core.params import HanSize, Restoration, SwinSize
from pyramid_reid.restoration.network.han import HAN

if TYPE_CHECKING:
    from pyramid_reid.restoration.network.swinir import SwinIR

Size = SwinSize | HanSize

PUBLISHED: dict[str, Size] = {
    "swinir": SwinSize(depths=(6, 6, 6, 6, 6, 6), dim=180, num_heads=6),
    "swinir_light": SwinSize(depths=(6, 6, 6, 6), dim=60, num_heads=6),
    "han": HanSize(groups=10, blocks=20, dim=64),
    # not published: as many parameters as swinir_light
    "han_light": HanSize(groups=4, blocks=4, dim=48),
}


def size_of(params: Restoration) -> Size | None:
    """Size of the extractor that params name; None where there is nothing to learn."""
    if not params.learns:
        return None
    own: Size | None = getattr(params, params.extractor, None)
    return own or PUBLISHED[params.extractor]


def build(size: Size) -> SwinIR | HAN:
    """A network of this size, freshly initialised."""
    if isinstance(size, HanSize):
        return HAN(size)
    from pyramid_reid.restoration.network.swinir import SwinIR  # timm takes as long as torch

    return SwinIR(size)
