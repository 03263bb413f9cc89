"""What every stage shares: the library of this checkout, params, and how it reports.

Imported before NumPy, which reads the settings that are made here when it is loaded.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
# This checkout's library, not an installed one: `dvc exp run --temp` runs in a copy.
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid import run_record  # noqa: E402
from pyramid_reid.errors import UserError  # noqa: E402
from pyramid_reid.params import Params, load  # noqa: E402
from pyramid_reid.runtime import is_main, pin_environment, rank, world_size  # noqa: E402

pin_environment(threads=1)  # `_threads` sets the number of those stages whose results depend on it

PARAMS = Path("params.yaml")
RECORDS = Path("data/records")
RECORDED = [Path("data/raw/images.csv"), Path("data/crops/splits.csv"), Path("data/crops")]
"""Data whose hashes stand in each record: the list of images, the splits, and all crops."""
GRACE_S = 3.0
"""Seconds that a process of several leaves to the one that knows why the run ends."""


def run(main: Callable[[Params], str]) -> None:
    """Run a stage: `main` gets the params and returns one line that says what it did.

    Mistakes of the user end with one line instead of a traceback.
    """
    name = Path(sys.argv[0]).stem + "".join(f" {argument}" for argument in sys.argv[1:])
    start, checkout = time.perf_counter(), run_record.revision(ROOT)
    try:
        several = world_size() > 1
        said = main(load(PARAMS))
        if is_main():
            keep_record(name, checkout)
    except UserError as error:
        fail(f"{name}: {error}", 1)
    except KeyboardInterrupt:
        fail(f"{name}: stopped; `dvc repro` goes on from the last checkpoint", 130)
    except Exception:
        if several:
            time.sleep(GRACE_S)  # most likely another one failed, and the launcher ends this one
        raise
    if is_main():
        print(f"{name}: {said} ({time.perf_counter() - start:.0f} s)", flush=True)


def keep_record(name: str, checkout: dict[str, object]) -> None:
    """Write the record of a run that has ended; what it made is good without it, too.

    An experiment in a folder of its own (`--temp`, queued), which DVC removes, leaves it in the
    project that started it.
    """
    project, experiment = Path(os.environ.get("DVC_ROOT", ROOT)), os.environ.get("DVC_EXP_NAME")
    temporary = experiment is not None and project.resolve() != ROOT
    folder = project / RECORDS / str(experiment) if temporary else RECORDS
    inputs = RECORDED[:1] if name == "download" else RECORDED  # older crops are none of download's
    path = folder / f"{name.replace(' ', '@')}.json"
    try:
        run_record.write(path, run_record.gather(checkout, inputs))
    except OSError as error:
        print(f"{name}: no record of this run in {path}: {error}", file=sys.stderr)


def fail(message: str, code: int) -> NoReturn:
    """End the process with a message; of several that fail alike, only the main one speaks.

    Their launcher ends all of them as soon as one has ended.
    """
    if "WORLD_SIZE" not in os.environ:
        print(message, file=sys.stderr)
        sys.exit(code)
    if not is_main():
        time.sleep(GRACE_S)
        message = f"{message} (process {rank()})"
    print(message, file=sys.stderr, flush=True)
    os._exit(code)  # to leave the others in order would mean to wait for them


def image_folder(root: str | None, name: str) -> Path:
    """The folder of a set's images: where it was drawn or extracted, fetched, or `data.root`."""
    if name in {"synthetic", "cuhk03"}:
        return Path("data/raw/images")
    if root is None:
        return Path("data/downloads") / name / "set"
    return Path(root).parent if Path(root).is_file() else Path(root)


def crops_of(branch: str) -> Path:
    """The crop store of a branch."""
    return Path("data/crops") if branch == "ori" else Path("data/pyramid") / branch
