"""Work in progress, outside the stages' outputs, so that a killed stage can resume.

DVC removes a stage's outputs before it runs, so checkpoints have a folder of their own. Each lies
in a subfolder named by a hash of everything that the result depends on: work that started with
other params, data or code is never found.

A training's last state is kept after its stage, without what only resuming needs. So nothing is
lost if the machine goes down after the stage has ended but before DVC has recorded its outputs. It
is removed when a training with another key saves its first state.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pyramid_reid.core.errors import DAMAGED, shortage
from pyramid_reid.core.runtime import is_main, world_size
from pyramid_reid.core.whole_files import write_whole

PACKAGE = Path(__file__).parents[1]
SHOWING = [PACKAGE / f"core/{name}.py" for name in ("errors", "figures", "progress", "provenance")]
"""Modules that only show: a changed picture or message does not make a checkpoint another's."""
PINS = [PACKAGE / room / "pins.txt" for room in ("core", "training")]
"""Name the packages that make the bytes; the stages depend on these files, too."""
COMPUTING = tuple(
    line.partition("==")[0] for file in PINS for line in file.read_text(encoding="utf-8").split()
)
"""Packages that make the bytes of crops, networks and restored crops."""


def digest(params: Mapping[str, object], *inputs: Path, rooms: Sequence[str]) -> str:
    """Hash of params, inputs (files, or folders with all below them), code and libraries.

    Also of the number of processes, as sums of several round otherwise.

    Args:
        rooms: packages of `pyramid_reid` that compute the result, beside `core` and `training`.
    """
    sha = hashlib.sha256(json.dumps(params, sort_keys=True).encode())
    sha.update(f"{_code(tuple(rooms))}\n{world_size()} processes\n".encode())
    for root in inputs:
        files = [root] if root.is_file() else [path for path in root.rglob("*") if path.is_file()]
        for path in sorted(files):
            sha.update(f"{path.relative_to(root).as_posix()} {_sha256(path)}\n".encode())
    return sha.hexdigest()[:32]


@cache  # once, when the stage starts: a file that is edited later is not the code that runs
def _code(rooms: tuple[str, ...]) -> str:
    """The modules of some rooms, loaded or not, and the program, their hashes, what runs them.

    An extractor's module is loaded when it is needed, which may be later.
    """
    lines = [platform.machine(), platform.python_version()]
    lines += [f"{name} {version(name)}" for name in COMPUTING]
    for room in sorted({"core", "training", *rooms}):
        for file in sorted((PACKAGE / room).rglob("*.py")):
            if file not in SHOWING:
                lines.append(f"{file.relative_to(PACKAGE).as_posix()} {_sha256(file)}")
    program = Path(sys.argv[0])
    if program.is_file():
        lines.append(f"{program.name} {_sha256(program)}")
    return "\n".join(lines)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _state(content: bytes) -> dict[str, Any] | None:
    """What `Checkpoints.save` wrote; None of anything else, of which no code is run."""
    if hashlib.sha256(content[32:]).digest() != content[:32]:
        return None
    try:
        state: dict[str, Any] = torch.load(
            io.BytesIO(content[32:]), map_location="cpu", weights_only=True
        )
    except (*DAMAGED, pickle.UnpicklingError) as error:
        if shortage(error):  # the file is good: to start over would lose it
            raise
        return None
    return state


class Checkpoints:
    """The latest state of one training; only the main process writes it.

    A file is the SHA-256 of what follows, then the state as torch writes it.

    Args:
        root: folder of all checkpoints of this training, whatever their key.
        key: from `digest`.
    """

    def __init__(self, root: Path, key: str) -> None:
        self._root = root
        self.path = root / key / "state.pt"

    def load(self) -> dict[str, Any] | None:
        """The last saved state; None when there is none, or when its file is damaged."""
        if not self.path.exists():
            return None
        state = _state(self.path.read_bytes())
        if state is None:
            print(f"{self.path} is damaged and is not used: starting over", file=sys.stderr)
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state, and forget this training under other keys.

        A crash or a full disk in between leaves the old state.
        """
        if not is_main():
            return
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        content = buffer.getbuffer()
        write_whole(self.path, hashlib.sha256(content).digest(), content)
        for other in self._root.iterdir():
            # a network disk keeps files of its own beside them
            if other.is_dir() and other != self.path.parent:
                shutil.rmtree(other)
