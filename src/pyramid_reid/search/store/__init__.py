"""The gallery store: crops by their features, in a folder. Nothing here loads torch."""

from pyramid_reid.search.store.store import Store

__all__ = ["Store"]
