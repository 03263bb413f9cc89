"""Work in progress, outside the stages' outputs, so that a killed stage goes on where it was.

DVC removes a stage's outputs before it runs, so this lies in a folder of its own, in a subfolder
named by a hash of everything that the result depends on: what was begun with other params, data or
code is never found.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

SHOWING = {"pyramid_reid.errors", "pyramid_reid.figures", "pyramid_reid.progress"}
"""Modules that only show: a changed picture or message does not make a checkpoint another's."""


def digest(params: Mapping[str, object], *inputs: Path) -> str:
    """Hash of params, of all files below `inputs`, of the code that runs, and of its libraries."""
    sha = hashlib.sha256(json.dumps(params, sort_keys=True).encode())
    sha.update(_code().encode())
    for root in inputs:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            sha.update(f"{path.relative_to(root).as_posix()} {_sha256(path)}\n".encode())
    return sha.hexdigest()[:32]


@cache  # once, when the stage starts: a file that is edited later is not the code that runs
def _code() -> str:
    """The project's modules that are loaded, with their hashes, and what runs them."""
    lines = [platform.machine(), platform.python_version()]
    lines += [version(name) for name in ("torch", "torchreid", "timm", "numpy", "pillow")]
    for name, module in sorted(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if name.startswith("pyramid_reid") and name not in SHOWING and file:
            lines.append(f"{name} {_sha256(Path(file))}")
    return "\n".join(lines)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Checkpoints:
    """The latest state of one training.

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
        content = self.path.read_bytes()
        if hashlib.sha256(content[32:]).digest() != content[:32]:
            print(f"{self.path} is damaged and is not used: starting over", file=sys.stderr)
            return None
        state: dict[str, Any] = torch.load(
            io.BytesIO(content[32:]), map_location="cpu", weights_only=True
        )
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the state; a crash in between leaves the old one."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        with partial.open("wb") as file:
            file.write(hashlib.sha256(buffer.getbuffer()).digest())
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.path)

    def remove(self) -> None:
        """Forget this training under every key; called when its stage has written everything."""
        shutil.rmtree(self._root, ignore_errors=True)
