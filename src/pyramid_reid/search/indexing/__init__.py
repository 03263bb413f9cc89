"""Indexing: from a gallery's files to rows of a store."""

from pyramid_reid.search.indexing.embedding import here
from pyramid_reid.search.indexing.run import index

__all__ = ["here", "index"]
