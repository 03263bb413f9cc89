"""LanceDB, loaded in half the time: a command answers before one would look away."""

from __future__ import annotations

import importlib.util
import os
import sys
from types import ModuleType

from pyramid_reid.core.runtime import keep_freed_memory

WEB_CLIENT = "lance_namespace_urllib3_client"
"""Of a server of tables, which a folder needs none of: loading it takes longer than all the rest.
Only the records that it exchanges are imported with LanceDB."""
READ_AHEAD = 2**26
"""Bytes that a scan may have read before they are looked at. Lance's 2 GiB are never met: a scan of
100,000 crops has all their features in memory at once then, in pages that the kernel must clear."""


def load() -> ModuleType:
    """The module `lancedb`, set up so that a scan spends its time on reading."""
    keep_freed_memory(of_all_threads=True)
    os.environ.setdefault("LANCE_DEFAULT_IO_BUFFER_SIZE", str(READ_AHEAD))
    # it reports each empty partition of an index as a warning
    os.environ.setdefault("LANCEDB_LOG", "error")
    if "lancedb" not in sys.modules and WEB_CLIENT not in sys.modules:
        _postpone(WEB_CLIENT)
    import lancedb

    return lancedb


def _postpone(name: str) -> None:
    """Import a package without running its code before one of its names is asked for."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.loader is None:
        return  # LanceDB says what it lacks
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def of_package(attribute: str) -> object:
        del package.__getattr__
        loader.exec_module(package)
        return getattr(package, attribute)

    package.__getattr__ = of_package  # type: ignore[method-assign]
    sys.modules[name] = package
