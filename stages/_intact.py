"""Whether what a stage reads is still what the stages before it wrote.

DVC takes a file for unchanged while its size and time are, and its own cache for whole: a bit that
flips on a disk, or an edit that keeps the time, passes. So a stage that DVC starts hashes the data
that it is about to read, and holds them against dvc.lock.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pyramid_reid.core.errors import UserError

DEFINITION, LOCK = Path("dvc.yaml"), Path("dvc.lock")


def check(stage: str) -> None:
    """Check the data that a stage of this name reads, such as `train_reid@h1`.

    Raises:
        UserError: something is not as dvc.lock has it.
    """
    written = _written(_read(LOCK))
    for path in _inputs(_read(DEFINITION), stage):
        expected = written.get(path)
        if expected is not None and _md5(Path(path)) != expected:
            raise UserError(_sentence(Path(path), expected))


def _read(path: Path) -> dict[str, Any]:
    """A file that DVC has read before; {} where there is none yet."""
    if not path.exists():
        return {}
    # the parser in C, where PyYAML has it: a lock has a thousand lines
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(path.read_text(encoding="utf-8"), loader) or {}  # noqa: S506 (both are safe)


def _written(lock: Mapping[str, Any]) -> dict[str, str]:
    """MD5 of every output, by path."""
    stages = lock.get("stages", {}).values()
    return {out["path"]: out["md5"] for stage in stages for out in stage.get("outs", [])}


def _inputs(definition: Mapping[str, Any], stage: str) -> list[str]:
    """Paths of a stage's dependencies; one that holds a param is none of another stage's."""
    name, _, key = stage.rpartition(":")[2].partition("@")
    defined = definition["stages"][name]
    item = defined["foreach"][key] if key else ""
    deps = (defined["do"] if key else defined)["deps"]
    return [dep.replace("${key}", key).replace("${item}", item) for dep in deps]


def _md5(path: Path) -> str:
    """As DVC has it: of a file, or of the list of files below a folder; "" of what is missing."""
    if path.is_dir():
        files = sorted(each.relative_to(path).as_posix() for each in _files(path))
        entries = [{"md5": _md5(path / name), "relpath": name} for name in files]
        return hashlib.md5(json.dumps(entries).encode(), usedforsecurity=False).hexdigest() + ".dir"
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _sentence(path: Path, expected: str) -> str:
    """What is damaged, and what to remove: DVC's copy, too, where that is no better."""
    from dvc.repo import Repo

    cache = Repo().cache.local
    listed = Path(cache.oid_to_path(expected))
    damaged, remove = [], [path]
    if expected.endswith(".dir") and listed.exists():
        for entry in json.loads(listed.read_text(encoding="utf-8")):
            if _md5(path / entry["relpath"]) != entry["md5"]:
                damaged.append(str(path / entry["relpath"]))
            copy = Path(cache.oid_to_path(entry["md5"]))
            if copy.exists() and _md5(copy) != entry["md5"]:
                remove.append(copy)
    return (
        f"{', '.join(damaged) or path} is not as its stage wrote it, and is not used: remove"
        f" {' and '.join(map(str, remove))}, then run `dvc repro` again, which takes it from DVC's"
        " cache or makes it anew"
    )
