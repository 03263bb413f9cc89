"""What every stage shares: the library of this checkout, params, and how it reports.

Imported before NumPy, which reads the settings that are made here when it is loaded.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# This checkout's library, not an installed one: `dvc exp run --temp` runs in a copy.
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.errors import UserError  # noqa: E402
from pyramid_reid.params import Params, load  # noqa: E402
from pyramid_reid.runtime import pin_environment  # noqa: E402

pin_environment(threads=1)  # `_threads` sets the number of those stages whose results depend on it

PARAMS = Path("params.yaml")


def run(main: Callable[[Params], str]) -> None:
    """Run a stage: `main` gets the params and returns one line that says what it did.

    Mistakes of the user end with one line instead of a traceback.
    """
    name = Path(sys.argv[0]).stem + "".join(f" {argument}" for argument in sys.argv[1:])
    start = time.perf_counter()
    try:
        said = main(load(PARAMS))
    except UserError as error:
        sys.exit(f"{name}: {error}")
    except KeyboardInterrupt:
        print(f"{name}: stopped; `dvc repro` goes on from the last checkpoint", file=sys.stderr)
        sys.exit(130)
    print(f"{name}: {said} ({time.perf_counter() - start:.0f} s)", flush=True)


def image_folder(root: str | None, name: str = "synthetic") -> Path:
    """The folder of a set's images: where it was drawn or extracted, fetched, or `data.root`."""
    if name in {"synthetic", "cuhk03"}:
        return Path("data/raw/images")
    if root is None:
        return Path("data/downloads") / name / "set"
    return Path(root).parent if Path(root).is_file() else Path(root)


def crops_of(branch: str) -> Path:
    """The crop store of a branch."""
    return Path("data/crops") if branch == "ori" else Path("data/pyramid") / branch
