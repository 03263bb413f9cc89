"""Shared by all stages: the import path of this checkout, params, locks and reports.

Imported before NumPy, which reads the settings that are made here when it is loaded.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
NAME = Path(sys.argv[0]).stem + "".join(f" {argument}" for argument in sys.argv[1:])
STOPPED = "stopped; `dvc repro` goes on from the last checkpoint"
ENVIRONMENT = (
    "run `make env`, then `source .venv/bin/activate`, in the project's folder, and start again"
)

if sys.version_info < (3, 11):  # noqa: UP036 - a Python that the environment is not for
    sys.exit(f"{NAME}: {sys.executable} is older than Python 3.11: {ENVIRONMENT}")

# This checkout's library, not an installed one: `dvc exp run --temp` runs in a copy.
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core.errors import UserError, shortage  # noqa: E402 - of Python's own modules


def uncaught(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    """Say in one line that the user stopped the stage while it was loaded, or runs a wrong Python.

    One without the project's packages, or with others of their names.
    """
    if issubclass(kind, KeyboardInterrupt):
        print(f"{NAME}: {STOPPED}", file=sys.stderr)
    elif missing := shortage(error):
        print(f"{NAME}: {missing}", file=sys.stderr)
    elif (
        isinstance(error, ImportError)
        and error.name is not None
        and error.name.partition(".")[0] not in OWN
    ):
        print(
            f"{NAME}: {sys.executable} is not the project's Python ({error}): {ENVIRONMENT}",
            file=sys.stderr,
        )
    else:
        sys.__excepthook__(kind, error, traceback)


OWN = {"pyramid_reid", "_stage", *(path.stem for path in (ROOT / "stages").glob("*.py"))}
"""Names of the project's own modules: one that is missing is no matter of the environment."""
sys.excepthook = uncaught

from pyramid_reid.core import printing  # noqa: E402

printing.survive()  # before anything is opened

from pyramid_reid.core import provenance  # noqa: E402
from pyramid_reid.core.params import Params, load  # noqa: E402
from pyramid_reid.core.runtime import is_main, pin_environment, rank, world_size  # noqa: E402

pin_environment(threads=1)  # where results depend on the number, `_stage.threads` sets it

PARAMS, LOCKS, RECORDS = Path("params.yaml"), Path("data/locks"), Path("data/records")
RECORDED = [Path("data/raw/images.csv"), Path("data/crops/splits.csv")]
"""Files whose hashes stand in each record: images with theirs, and splits with theirs."""
LIGHTER = {
    "train_reconstructor": "restoration.batch_size",
    "generate_pyramid": "generation.batch_pixels",
    "train_reid": "reid.batch_size or reid.memory",
}
"""Params that decide how much memory a stage takes."""
IMAGES = Path("data/raw/images")
"""What `download` writes there of a set that is not read where it lies."""
GRACE_S = 3.0
"""Seconds that a process of several leaves to the one that knows why the run ends."""
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def run(main: Callable[[Params], str]) -> None:
    """Run a stage: `main` gets the params and returns one line that says what it did.

    Mistakes of the user, and what the machine refuses, end with one line instead of a traceback.
    """
    start, several = time.perf_counter(), False
    try:
        several = world_size() > 1
        checkout = provenance.revision(ROOT)
        params = load(PARAMS)
        with alone():
            said = main(params)
        if is_main():
            keep_record(checkout)
    except KeyboardInterrupt:
        fail(f"{NAME}: {STOPPED}", 130)
    except Exception as error:
        if sentence := explained(error):
            fail(f"{NAME}: {sentence}", 1)
        if several:
            time.sleep(GRACE_S)  # most likely another one failed, and the launcher ends this one
        raise
    if is_main():
        print(f"{NAME}: {said} ({time.perf_counter() - start:.0f} s)", flush=True)


@contextmanager
def alone() -> Iterator[None]:
    """Keep other processes from running this stage at once.

    When DVC is killed, the stage that it started runs on: a second one would write the same files.

    Raises:
        UserError: one runs.
    """
    if not is_main():
        yield
        return
    LOCKS.mkdir(parents=True, exist_ok=True)
    # never removed: another process may hold it open
    with (LOCKS / NAME.replace(" ", "-")).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise UserError(
                f"this stage already runs (process {file.read()}): wait until it has ended, or end"
                " it, then run `dvc repro` again"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def explained(error: BaseException) -> str | None:
    """What to tell the user of a mistake, or of what the machine refuses; None of other errors."""
    if isinstance(error, UserError):
        return str(error)
    if missing := shortage(error):
        less = LIGHTER.get(Path(sys.argv[0]).stem)
        return f"{missing}, or lower {less}" if less and "memory" in missing else missing
    return refusal(error) if isinstance(error, OSError) else None


def refusal(error: OSError) -> str:
    """What the operating system refused, and what to do."""
    said = f"{error.strerror or error}{f' ({error.filename})' if error.filename else ''}"
    if error.errno in FULL:
        return f"{said}: make room, then run `dvc repro` again; nothing that was finished is lost"
    if error.errno in {errno.EROFS, errno.EACCES, errno.EPERM}:
        return f"{said}: make it writable for you, then run `dvc repro` again"
    return f"{said}: fix this, then run `dvc repro` again"


def keep_record(checkout: dict[str, object]) -> None:
    """Write the record of a run that has ended; what it made is good without it, too.

    An experiment in a folder of its own (`--temp`, queued), which DVC removes, leaves it in the
    project that started it.
    """
    project, experiment = Path(os.environ.get("DVC_ROOT", ROOT)), os.environ.get("DVC_EXP_NAME")
    temporary = experiment is not None and project.resolve() != ROOT
    folder = project / RECORDS / str(experiment) if temporary else RECORDS
    inputs = RECORDED[:1] if NAME == "download" else RECORDED  # older splits are none of download's
    path = folder / f"{NAME.replace(' ', '@')}.json"
    try:
        provenance.write(path, provenance.gather(checkout, inputs))
    except OSError as error:
        print(f"{NAME}: no record of this run in {path}: {error}", file=sys.stderr)


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


def image_folder(root: str) -> Path:
    """The folder of a set's images: those drawn, fetched or extracted, or else `data.root`."""
    if IMAGES.exists():
        return IMAGES
    return Path(root).parent if Path(root).is_file() else Path(root)


def crops_of(branch: str) -> Path:
    """The crop store of a branch."""
    return Path("data/crops") if branch == "ori" else Path("data/pyramid") / branch
