"""Presets: params for a set or a purpose, as files that `dvc exp run` takes as options."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML

from pyramid_reid.core.errors import UserError

FOLDER = Path(__file__).resolve().parents[2] / "presets"


@dataclass(frozen=True, slots=True)
class Preset:
    """A file of presets/.

    Attributes:
        about: what it is for.
        measured: on what, and where the figures stand.
        cost: in time.
        params: by dotted key.
        start: further ones where training starts from published weights.
    """

    about: str
    measured: str
    cost: str
    params: dict[str, object]
    start: dict[str, object]

    def options(self, start: str | None) -> list[str]:
        """What `dvc exp run` is given: `-S`, then KEY=VALUE, in turn.

        Args:
            start: of `reid.pretrained`; None starts from random weights.
        """
        given = self.params | (self.start | {"reid.pretrained": start} if start else {})
        return [word for key, value in given.items() for word in ("-S", f"{key}={_text(value)}")]


def names() -> list[str]:
    """All presets, in order."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def read(name: str) -> Preset:
    """A preset.

    Raises:
        UserError: there is none of this name.
    """
    if name not in names():
        known = ", ".join(names()) or f"none: {FOLDER} belongs to a checkout of the project"
        raise UserError(f"there is no preset {name}; there is {known}")
    return Preset(**YAML(typ="safe").load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")))


def table() -> str:
    """All presets: what each is for, on what it was measured, and what it costs."""
    told = []
    for name in names():
        preset = read(name)
        told.append(f"{name}: {preset.about}\n  measured: {preset.measured}\n  cost: {preset.cost}")
    return "\n".join(told)


def _text(value: object) -> str:
    """A value as DVC reads it from the command line."""
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)
