"""What happens with bad input: params, tables, images, checkpoints, models, stores, file names.

Every input is made from a good one by a seeded generator and read by the project's own readers. A
reader may accept it, where what it returns can be used, or refuse it with a message that names the
file. Anything else (another exception, a message without the file's name, code of a pickle that
runs) is a bug (wrong), printed with what was said, and the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from benchmarks.fuzz.attempt import Attempt
from benchmarks.fuzz.targets import TARGETS

from pyramid_reid.core import printing
from pyramid_reid.core.errors import UserError

LONGEST = 4000
"""Characters of a message that somebody still reads."""
PATIENCE_S = 20
"""So long may a reader take for one input."""
QUICK = 20
"""By so much fewer inputs."""


def outcome(attempt: Attempt) -> tuple[str, str]:
    """Accepted, clear error or wrong; and what was said."""
    signal.alarm(PATIENCE_S)
    try:
        read = attempt.call()
    except UserError as error:
        said = str(error)
        kind = "clear" if is_clear(said, attempt) else "wrong"
    except Exception as error:  # noqa: BLE001 (whatever it is, it is a bug)
        kind, said = "wrong", f"{type(error).__name__}: {error}"
    else:
        kind, said = ("accepted" if attempt.holds(read) else "wrong"), f"accepted: {read}"
    finally:
        signal.alarm(0)
    ran = attempt.canary is not None and attempt.canary.exists()
    return ("wrong", "code in the file ran") if ran else (kind, said)


def is_clear(said: str, attempt: Attempt) -> bool:
    """Whether a message is one line that names the file, and the key where it is known."""
    named = all(name in said for name in attempt.names)
    named &= any(name in said for name in attempt.either)
    return named and len(said) <= LONGEST and "\n" not in said


def too_long(*_: object) -> NoReturn:
    """End a reader that takes too long, by an error of a kind that none of them expects."""
    raise AssertionError(f"takes more than {PATIENCE_S} s")


def fuzz(name: str, number: int, seed: int, folder: Path) -> Counter[str]:
    """Outcomes of so many inputs of a kind; those that are wrong are printed, each once."""
    make, _ = TARGETS[name]
    counts, seen = Counter[str](), set[str]()
    folder.mkdir()
    for attempt in islice(make(folder, random.Random(f"{seed} {name}")), number):  # noqa: S311
        kind, said = outcome(attempt)
        counts[kind] += 1
        if kind == "wrong" and said[:40] not in seen:
            seen.add(said[:40])
            print(f"{name}, input {counts.total()}: {said[:500]}", file=sys.stderr, flush=True)
    return counts


def table(counts: dict[str, Counter[str]]) -> str:
    """A row per kind of input, and their sums."""
    rows = [f"{'inputs':<18} {'tried':>6} {'accepted':>9} {'clear error':>12} {'wrong':>6}"]
    for name, count in {**counts, "all": sum(counts.values(), Counter[str]())}.items():
        rows.append(
            f"{name:<18} {count.total():>6} {count['accepted']:>9} {count['clear']:>12}"
            f" {count['wrong']:>6}"
        )
    return "\n".join(rows)


def main() -> None:
    """Try the inputs, print the table and one line per figure: NAME VALUE UNIT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} times fewer inputs")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, too_long)
    begun, counts = time.monotonic(), {}
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (_, tries)) in enumerate(TARGETS.items()):
            inputs = tries // QUICK if arguments.quick else tries
            counts[name] = fuzz(name, inputs, arguments.seed, Path(folder).resolve() / str(number))
    print(table(counts))
    total = sum(counts.values(), Counter[str]())
    print(f"fuzz.tried {total.total()} inputs")
    print(f"fuzz.accepted {total['accepted']} inputs")
    print(f"fuzz.clear_error {total['clear']} inputs")
    print(f"fuzz.wrong {total['wrong']} inputs")
    print(f"fuzz.time {time.monotonic() - begun:.0f} s")
    sys.exit(1 if total["wrong"] else 0)


if __name__ == "__main__":
    printing.end_when_lost()
    main()
