"""Pyramid-resolution person restoration for cross-resolution person re-identification.

import pyramid_reid

model = pyramid_reid.load("data/model")
distmat = pyramid_reid.distances(model.embed(queries), model.embed(gallery), model.weights)
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyramid_reid.search.distances import distances
    from pyramid_reid.search.model import load

__all__ = ["distances", "load"]


def __getattr__(name: str) -> object:
    """Load what is asked for when it is asked for: stages that need no torch load none."""
    if name == "load":
        from pyramid_reid.search.model import load

        return load
    if name == "distances":
        from pyramid_reid.search.distances import distances

        return distances
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
