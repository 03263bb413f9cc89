"""torchreid's definitions of OSNet, loaded without the rest of torchreid.

`import torchreid` loads OpenCV, SciPy, TensorBoard and a dozen other architectures, and takes
longer than torch itself; the two modules that define OSNet need torch alone.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType

from torch import nn


@cache
def osnet_modules() -> tuple[ModuleType, ModuleType]:
    """Torchreid's `reid/models/osnet.py` and `osnet_ain.py`, each loaded once."""
    return _module("osnet"), _module("osnet_ain")


def constructor(name: str) -> type[nn.Module]:
    """What builds the network of a name of torchreid's, such as osnet_x0_25.

    Raises:
        ValueError: torchreid has no such OSNet.
    """
    for module in osnet_modules():
        if name.startswith("osnet") and callable(found := getattr(module, name, None)):
            return found  # type: ignore[no-any-return]
    raise ValueError(f"torchreid has no OSNet {name}")


def _module(name: str) -> ModuleType:
    package = importlib.util.find_spec("torchreid")
    if package is None or package.origin is None:
        raise ImportError("torchreid is not installed")
    file = Path(package.origin).parent / "reid" / "models" / f"{name}.py"
    # a name of our own: whoever imports torchreid gets torchreid's modules, not these
    spec = importlib.util.spec_from_file_location(f"{__name__}.{name}", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
