"""Run the pipeline's stages without DVC, each experiment and split in a folder of its own.

`dvc exp run` runs one experiment of a checkout at a time and starts a Python for each stage. A
table needs hundreds of short trainings, and a GPU is busy only with many of them side by side. Here
a process runs the same stage programs one after the other, as dvc.yaml lists them, in its folder:
same programs, same params, same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import runpy
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML

from pyramid_reid.core import provenance
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.provenance import sha256

ROOT = Path(__file__).resolve().parents[2]
KEYS = "keys.json"
"""In a workspace: what each of its stages was run with."""
SET = "${data.root}/"
"""In dvc.yaml: the folder of the set, of the stage that lists its images."""


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of dvc.yaml.

    Attributes:
        name: as in its last line, such as `train_reid ori`.
        program: words after `python`.
        params: keys and sections that it reads.
        inputs, outs: paths below the workspace.
        code: `code_hash` of what it runs.
        of_set: whether it reads the folder of the set.
    """

    name: str
    program: tuple[str, ...]
    params: tuple[str, ...]
    inputs: tuple[str, ...]
    outs: tuple[str, ...]
    code: str
    of_set: bool


@cache
def stages() -> tuple[Stage, ...]:
    """The stages of dvc.yaml, in its order, which is one that they can be run in.

    Read once, as a process keeps the modules that it has loaded, whoever edits them meanwhile.
    """
    told = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return tuple(each for of in told.items() for each in _expanded(*of))


def _expanded(name: str, told: Mapping[str, Any]) -> Iterator[Stage]:
    if "foreach" not in told:
        yield _stage(name, told, {})
        return
    for key, item in told["foreach"].items():
        yield _stage(name, told["do"], {"${key}": key, "${item}": item})


def _stage(name: str, told: Mapping[str, Any], given: Mapping[str, str]) -> Stage:
    def filled(text: str) -> str:
        for variable, value in given.items():
            text = text.replace(variable, value)
        return text

    words = filled(told["cmd"]).split()
    program = tuple(words[next(i for i, word in enumerate(words) if word.endswith(".py")) :])
    deps, outs = (tuple(map(filled, told[kind])) for kind in ("deps", "outs"))
    inputs = tuple(dep for dep in deps if dep.startswith("data/"))
    code = code_hash(dep for dep in deps if dep.startswith(("src/", "stages/")))
    last = " ".join([name, *program[1:]])
    return Stage(last, program, tuple(told["params"]), inputs, outs, code, SET in deps)


def code_hash(paths: Iterable[str]) -> str:
    """SHA-256 of the names and contents of files of the project, and of all in its folders.

    What Python compiled of them does not count.
    """
    files = set[Path]()
    for path in (ROOT / path for path in paths):
        files |= {path, *path.rglob("*")}
    lines = [
        f"{path.relative_to(ROOT).as_posix()} {sha256(path)}\n"
        for path in sorted(files)
        if path.is_file() and "__pycache__" not in path.parts
    ]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def listing(root: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of each file of a set, as DVC tells by them what changed.

    Args:
        root: its folder, or its table, beside which the images lie.
    """
    folder, found = root.parent if root.is_file() else root, []
    for place, _, names in os.walk(folder, followlinks=True):
        for path in (Path(place, name) for name in names):
            if path.exists():  # no link to nowhere
                told = path.stat()
                found.append((path.relative_to(folder).as_posix(), told.st_size, told.st_mtime_ns))
    return sorted(found)


def holds(path: str, out: str) -> bool:
    """Whether a dependency is an output, or a folder that it lies in."""
    return out == path or out.startswith(f"{path}/")


def needed(wanted: Sequence[str]) -> list[Stage]:
    """The stages of these names and all that they need, in the order to run them."""
    chosen, paths = list[Stage](), set[str]()
    for stage in reversed(stages()):
        if stage.name in wanted or any(holds(path, out) for path in paths for out in stage.outs):
            chosen.append(stage)
            paths |= set(stage.inputs)
    return chosen[::-1]


@dataclass
class Workspace:
    """A folder in which stages run.

    Attributes:
        folder: made when needed.
        output: what the stages printed since it was opened.
        seconds: processor time of each stage that ran since then.
    """

    folder: Path
    output: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def run(self, params: Mapping[str, object], *wanted: str) -> None:
        """Run stages, and what they need, where params, inputs or code differ from the last run's.

        Args:
            params: that differ from the committed ones, by dotted key; texts are YAML, as after -S.
            wanted: names of stages.

        Raises:
            UserError: a stage failed; the message is what it printed.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        used = with_params(params)
        with (self.folder / "params.yaml").open("w", encoding="utf-8") as file:
            YAML().dump(used, file)
        keys, made = self._keys(), dict[str, str]()
        for stage in needed(wanted):
            values = {name: _value(used, name) for name in stage.params}
            of_inputs = [made[out] for path in stage.inputs for out in made if holds(path, out)]
            seen = listing(self.folder / _value(used, "data.root")) if stage.of_set else []
            told = json.dumps(
                [stage.name, values, of_inputs, stage.code, seen], sort_keys=True, default=str
            )
            key = hashlib.sha256(told.encode()).hexdigest()
            made |= dict.fromkeys(stage.outs, key)
            if keys.get(stage.name) != key:
                keys.pop(stage.name, None)
                self._write(keys)
                self._run(stage)
                keys[stage.name] = key
                self._write(keys)

    def forget(self, name: str) -> None:
        """Run a stage again next time, as its outputs have been changed."""
        keys = self._keys()
        keys.pop(name, None)
        self._write(keys)

    def _run(self, stage: Stage) -> None:
        for out in stage.outs:
            shutil.rmtree(self.folder / out, ignore_errors=True)
        printed, begun = io.StringIO(), time.process_time()
        with _as_program(stage, self.folder), contextlib.redirect_stdout(printed):
            try:
                with contextlib.redirect_stderr(printed):
                    runpy.run_path(str(ROOT / stage.program[0]), run_name="__main__")
            except SystemExit as ended:
                if ended.code:
                    raise UserError(f"{self.folder}: {printed.getvalue()}{ended.code}") from ended
        self.output += printed.getvalue()
        self.seconds[stage.name] = round(time.process_time() - begun, 1)

    def _keys(self) -> dict[str, str]:
        path = self.folder / KEYS
        return json.loads(path.read_text()) if path.exists() else {}  # type: ignore[no-any-return]

    def _write(self, keys: Mapping[str, str]) -> None:
        (self.folder / KEYS).write_text(json.dumps(keys, indent=1, sort_keys=True))


@contextlib.contextmanager
def _as_program(stage: Stage, folder: Path) -> Iterator[None]:
    """The words, folder and modules that a Python started for this stage would have."""
    kept = sys.argv, Path.cwd(), sys.excepthook
    for name in [name for name in sys.modules if name.partition(".")[0] == "_stage"]:
        del sys.modules[name]  # it takes the stage's name from the words when it is loaded
    sys.argv = [str(ROOT / stage.program[0]), *stage.program[1:]]
    sys.path.insert(0, str(ROOT / "stages"))
    os.chdir(folder)
    try:
        yield
    finally:
        sys.argv, previous, sys.excepthook = kept
        sys.path.remove(str(ROOT / "stages"))
        os.chdir(previous)


def check_committed() -> None:
    """Refuse params that are not the committed ones, such as `dvc exp run -S` leaves behind.

    Raises:
        UserError: params.yaml differs from that of the checkout's commit.
    """
    if "params.yaml" in provenance.revision(ROOT)["changed"]:
        raise UserError(
            "params.yaml is not as committed, and what it changes would be recorded as if it were:"
            " run git checkout params.yaml, or commit it"
        )


def with_params(params: Mapping[str, object]) -> Any:
    """The params of params.yaml with others in their places."""
    used = YAML().load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for name, value in params.items():
        *sections, key = name.split(".")
        place = used
        for section in sections:
            place = place[section]
        if key not in place:
            raise UserError(f"params.yaml has no {name}")
        place[key] = read_option(value) if isinstance(value, str) else value
    return used


def read_option(text: str) -> Any:
    """A value as it stands after -S, where braces hold no blanks."""
    spaced = text.replace(":", ": ") if text.startswith("{") else text
    return YAML(typ="safe").load(spaced)


def _value(params: Any, name: str) -> Any:
    """A key or section; of a dotted key its value."""
    for key in name.split("."):
        params = params[key]
    return json.loads(json.dumps(params))
