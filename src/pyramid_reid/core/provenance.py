"""The record of a stage's run: what may explain why two runs gave different bytes.

It names machines and times, so it is not a stage output. It imports nothing that the stage would
not load anyway; torch is recorded only if the stage loaded it.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyramid_reid.core.runtime import INSTRUCTION_SETS, THREADS, world_size
from pyramid_reid.core.whole_files import write_whole

READ_BY_STAGES = ("dvc.yaml", "params.yaml", "src", "stages")
"""What a run depends on beside data; changed results do not make a tree unclean."""


def revision(root: Path) -> dict[str, object]:
    """Commit of the checkout at `root`, and which files that runs depend on differ from it.

    Returns:
        `commit` (None outside Git, and in a repository that does not hold this project, such as
        one whose folder it was unpacked into), `clean`, and `changed`: paths, untracked ones
        included.
    """
    held = bool(_git(root, "ls-files", "--", *READ_BY_STAGES))
    commit = _git(root, "rev-parse", "HEAD") if held else None
    status = _git(root, "status", "--porcelain", "--", *READ_BY_STAGES) if held else None
    changed = sorted(line[3:] for line in (status or "").splitlines())
    return {"commit": commit and commit.strip(), "clean": status == "", "changed": changed}


def gather(checkout: Mapping[str, object], inputs: list[Path]) -> dict[str, object]:
    """All that a record holds, as it is now.

    Args:
        checkout: from `revision`, when the run began.
        inputs: files and folders whose SHA-256 is told; those that do not exist are left out.
    """
    return {
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "git": checkout,
        "inputs": {path.as_posix(): sha256(path) for path in inputs if path.exists()},
        "machine": _machine(),
        "numerics": _numerics(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": packages(),
    }


def write(path: Path, record: Mapping[str, object]) -> None:
    """Write a record as JSON with sorted keys; one that cannot be written leaves the older one."""
    write_whole(path, f"{json.dumps(record, indent=2, sort_keys=True)}\n".encode())


def packages() -> dict[str, str]:
    """Version of every installed package.

    From the names of their metadata folders, which the packaging standard fixes: a hundred times
    faster than to read what is in them.
    """
    folders = [found for entry in sys.path for found in Path(entry).glob("*.dist-info")]
    parts = [folder.name.removesuffix(".dist-info").partition("-") for folder in folders]
    return {name: version for name, _, version in reversed(parts)}  # the first on the path counts


def sha256(path: Path) -> str:
    """SHA-256 of a file; of a folder, that of the names and hashes of all files in it."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    files = sorted(found for found in path.rglob("*") if found.is_file())
    lines = [f"{found.relative_to(path).as_posix()} {sha256(found)}\n" for found in files]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _git(root: Path, *arguments: str) -> str | None:
    """What a Git command prints; None where there is no Git or no repository."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=root,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",  # Git's own messages are in the encoding of the locale
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def _machine() -> dict[str, object]:
    torch: Any = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch and torch.cuda.is_initialized() else None
    return {
        "system": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "gpu": gpu,
    }


def processor() -> str:
    """The processor's kind, as Linux tells it; elsewhere as far as Python knows it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def _numerics() -> dict[str, object]:
    """Threads, instruction sets and precision that the run computed with."""
    names = (*THREADS, *INSTRUCTION_SETS)
    told: dict[str, object] = {
        "processes": world_size(),
        "environment": {name: os.environ.get(name) for name in names},
    }
    torch: Any = sys.modules.get("torch")
    if torch:
        told |= {
            "threads": torch.get_num_threads(),
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "dtype": str(torch.get_default_dtype()),
            "matmul_precision": torch.get_float32_matmul_precision(),
            "deterministic": torch.are_deterministic_algorithms_enabled(),
        }
    return told
