"""A run of the pipeline, read from a folder or a Git revision: lock, figures, records."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pyramid_reid.core.errors import UserError

LOCK = "dvc.lock"
RECORDS = "data/records"


@dataclass(frozen=True)
class Stage:
    """What dvc.lock says of a stage: command, params, and hashes of what it read and wrote."""

    cmd: str
    deps: Mapping[str, str]
    params: Mapping[str, object]
    outs: Mapping[str, str]


@dataclass(frozen=True)
class Run:
    """A run: its stages in the order in which they ran, its figures, and records where kept.

    Figures are those of the JSON files that the stages keep in Git, each by `FILE KEY.KEY`;
    records are by stage, each flat like the figures.
    """

    name: str
    stages: Mapping[str, Stage]
    figures: Mapping[str, object]
    records: Mapping[str, Mapping[str, object]]


def read(name: str, here: Path) -> Run:
    """The run of a folder with a dvc.lock, or of a revision or experiment of the project `here`.

    Raises:
        UserError: there is neither, or its dvc.lock cannot be read.
    """
    folder = Path(name)
    if (folder / LOCK).is_file():
        return _of(name, lambda path: _text(folder / path), folder / RECORDS)
    revision = _revision(name, here)
    return _of(name, lambda path: _git(here, "show", f"{revision}:./{path}"), here / RECORDS / name)


def _of(name: str, text: Callable[[str], str | None], records: Path) -> Run:
    stages = parse(text(LOCK), name)
    files = sorted(out for stage in stages.values() for out in stage.outs if out.endswith(".json"))
    figures = {
        f"{file} {key}": value
        for file in files
        for key, value in _figures(text(file), f"{file} of {name}").items()
    }
    kept = {path.stem: _figures(_text(path), str(path)) for path in records.glob("*.json")}
    return Run(name, stages, figures, kept)


def parse(lock: str | None, name: str) -> dict[str, Stage]:
    """The stages of a dvc.lock, each after all that it depends on.

    Raises:
        UserError: it is missing or is no dvc.lock; `name` tells whose it is.
    """
    try:
        content = yaml.load(lock or "", yaml.CSafeLoader)["stages"]
        stages = {
            stage: Stage(
                cmd=entry["cmd"],
                deps=_hashes(entry.get("deps", [])),
                params=flat(entry.get("params", {}).get("params.yaml", {})),
                outs=_hashes(entry.get("outs", [])),
            )
            for stage, entry in content.items()
        }
    except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{name} holds no {LOCK} of a finished run: run `dvc repro` there and keep its {LOCK}"
        ) from error
    return {stage: stages[stage] for stage in _in_order(stages)}


def _hashes(entries: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {entry["path"].rstrip("/"): entry["md5"] for entry in entries}


def _in_order(stages: Mapping[str, Stage]) -> list[str]:
    maker = {out: name for name, stage in stages.items() for out in stage.outs}
    before = {
        # a dependency is an output, lies in one, or is a folder of several
        name: [
            made
            for dep in stage.deps
            for out, made in maker.items()
            if out in _above(dep) or dep in _above(out)
        ]
        for name, stage in stages.items()
    }
    return list(TopologicalSorter(before).static_order())


def _above(path: str) -> list[str]:
    """A path and the folders that it lies in."""
    return [path, *(str(parent) for parent in PurePosixPath(path).parents)]


def _figures(text: str | None, name: str) -> dict[str, object]:
    """What a JSON file holds, flat; nothing where it is missing."""
    try:
        return flat(json.loads(text or "{}"))
    except (json.JSONDecodeError, AttributeError) as error:
        raise UserError(f"{name} is not JSON as the stages write it: restore it") from error


def flat(tree: Mapping[str, Any]) -> dict[str, object]:
    """Leaves of nested mappings by their dotted keys."""
    leaves: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            leaves |= {f"{key}.{below}": leaf for below, leaf in flat(value).items()}
        else:
            leaves[key] = value
    return leaves


def _revision(name: str, here: Path) -> str:
    """What Git knows a revision or a DVC experiment by."""
    if _git(here, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"):
        return name
    for ref in (_git(here, "for-each-ref", "--format=%(refname)", "refs/exps") or "").split():
        if ref.rsplit("/", 1)[1] == name:
            return ref
    raise UserError(f"{name} is not a folder with a {LOCK}, a revision or an experiment")


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _git(here: Path, *arguments: str) -> str | None:
    """What a Git command prints; None when it fails."""
    try:
        done = subprocess.run(
            ["git", *arguments],
            cwd=here,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",  # Git's own messages are in the encoding of the locale
            check=False,
        )
    except FileNotFoundError as error:
        raise UserError("git is not installed, so only folders can be compared") from error
    return done.stdout if done.returncode == 0 else None
