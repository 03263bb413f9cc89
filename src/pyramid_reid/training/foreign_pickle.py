"""The names of the non-tensors in a pickle, read without running it."""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from torch import _weights_only_unpickler

from pyramid_reid.core.errors import DAMAGED, LONGEST

COMMON = ("torch.", "__builtin__.", "builtins.")
"""Whose names tell the least of a file."""
SHOWN = 4
"""Names that a message spells out; of the others, the number."""


def advice(path: Path, known: Collection[str], wrappers: Sequence[str]) -> str:
    """What a checkpoint that torch refuses holds, and how to save its tensors, in one sentence.

    Args:
        known: names of functions and classes that may be in it, beside those that torch knows.
        wrappers: keys that may hold the weights, the best first.

    Returns:
        Empty where the file tells nothing: it is damaged, or of another kind.
    """
    try:
        with path.open("rb") as file:
            if zipfile.is_zipfile(file):
                with zipfile.ZipFile(file) as archive:
                    if any("/code/" in name for name in archive.namelist()):
                        return _advice(path, "a TorchScript program", "", ".state_dict()")
                    inner = next(n for n in archive.namelist() if n.endswith("data.pkl"))
                    with archive.open(inner) as pickled:
                        globals_, strings, protocol, top = _pickled(pickled)
            else:
                file.seek(0)
                globals_, strings, protocol, top = _pickled(file)
    except (*DAMAGED, StopIteration):
        return ""
    allowed = _weights_only_unpickler._get_allowed_globals()  # noqa: SLF001 - no public list of them
    foreign = sorted(
        globals_ - allowed.keys() - set(known), key=lambda name: (name.startswith(COMMON), name)
    )
    if not foreign:
        if protocol > 2 and globals_:
            return (
                f"{path} is pickled by protocol {protocol}, which torch reads no weights from: save"
                " it again with torch.save, without pickle_protocol"
            )
        return ""
    network = any(name.startswith("torch.nn.modules.") for name in foreign)
    key = next((f'["{key}"]' for key in wrappers if key in strings), "") if top else ""
    if network:
        return _advice(path, "a whole network", some(foreign), f"{key}.state_dict()")
    return _advice(path, "more than tensors", some(foreign), key)


def _advice(path: Path, what: str, names: str, access: str) -> str:
    """What a file holds, and the command that saves its tensors."""
    loaded = f"torch.load('{path}', 'cpu', weights_only=False){access}"
    if not access:
        loaded = f"{{k: v for k, v in {loaded}.items() if torch.is_tensor(v)}}"
    if what.startswith("a TorchScript"):
        loaded = f"torch.jit.load('{path}', 'cpu'){access}"
    return (
        f"{path} holds {what}{f' ({names})' * bool(names)}, which cannot be read without running"
        " code: if you trust it, save its tensors alone, with the packages that wrote it:"
        f" torch.save({loaded}, '{path.with_name('weights.pth')}')"
    )


def _pickled(file: IO[bytes]) -> tuple[set[str], set[str], int, bool]:
    """What the pickles at the start of a file name, read without running them.

    Returns:
        Names of functions and classes, all strings, the protocol, and whether the last one is a
        dict. (Files before torch 1.6 begin with three small pickles: a number, a version, sizes.)
    """
    globals_, strings, protocol, top = set[str](), set[str](), 0, False
    for number in range(4):
        memo: dict[int, str] = {}
        recent: list[str] = []
        small, first = number < 3, True
        for name, argument in _opcodes(file):
            if name == "PROTO":
                protocol = int(argument)
                continue
            if name == "FRAME":
                continue
            if first:
                top, first = name == "EMPTY_DICT", False
            if name == "GLOBAL":
                globals_.add(printable(argument.replace(" ", ".")))
            elif name == "STACK_GLOBAL":
                globals_.add(printable(".".join(recent[-2:])))
            elif isinstance(argument, str):
                recent.append(argument)
                strings.add(argument)
            elif name == "MEMOIZE":
                memo[len(memo)] = recent[-1] if recent else ""
            elif "PUT" in name and recent:
                memo[int(argument)] = recent[-1]
            elif "GET" in name and argument in memo:
                recent.append(memo[argument])
            small &= name not in {"BINPERSID", "PERSID", "GLOBAL", "STACK_GLOBAL"}
        if not small:
            break
    return globals_, strings, protocol, top


def _opcodes(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    for opcode, argument, _ in pickletools.genops(file):
        yield opcode.name, argument


def some(names: list[str]) -> str:
    """The first names of a list, fit to be printed."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(map(printable, names[:SHOWN])) + more or "-"


def printable(name: str) -> str:
    """A name out of a file, on one line and without control characters."""
    return "".join(letter if letter.isprintable() else "?" for letter in name[: LONGEST + 1])
