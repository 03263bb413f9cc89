"""model.json: what a model folder holds, in typed fields."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field, ValidationError

from pyramid_reid.core.errors import UserError, reason
from pyramid_reid.core.params import BRANCHES, Section

FORMAT = 1
"""Of the folder. A program reads no other: a number that it does not know means other features."""

FILE = "model.json"

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Branch = Literal["ori", "h1", "h2", "h3"]
BRANCH_NAMES: tuple[Branch, ...] = get_args(Branch)


class Weights(Section):
    """A file of weights, what trained it, and under which licence that may be used."""

    file: Annotated[str, Field(pattern=r"^[\w.-]+\.safetensors$")]
    sha256: Sha256
    trained_on: str
    licence: str


class BranchNetwork(Weights):
    """A branch's OSNet and the size, in pixels, to which its crops are resized."""

    network: str
    height: Annotated[int, Field(ge=1)]
    width: Annotated[int, Field(ge=1)]


class Restorer(Weights):
    """The reconstructor, and the scales of h1, h2 and h3 (1: the crop itself)."""

    extractor: str
    scales: tuple[int, int, int]


class Calibration(Section):
    """Probability that a pair is the same person: 1 / (1 + exp(slope D_final + intercept)).

    Fitted on pairs of validation identities with as many weight on same as on different pairs:
    the probability before anything else is known is 1/2.
    """

    slope: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    intercept: Annotated[float, Field(allow_inf_nan=False)]
    identities: Annotated[int, Field(ge=2)]
    same_pairs: Annotated[int, Field(ge=1)]
    different_pairs: Annotated[int, Field(ge=1)]


class Description(Section):
    """All of a model folder but the weights themselves.

    Attributes:
        weights: of the branches in the fusion, adding up to 1.
        mirrored: whether a crop's features are the mean of its own and its mirror image's.
        calibration: None where `why_no_calibration` says why.
        trained: what the pipeline knows of the training: set, protocol, split, hashes; empty where
            nothing was trained.
    """

    format: Literal[1]
    name: str
    restorer: Restorer
    branches: dict[Branch, BranchNetwork]
    weights: dict[Branch, Annotated[float, Field(ge=0)]]
    mirrored: bool = False
    calibration: Calibration | None
    why_no_calibration: str | None
    trained: dict[str, str | int | float | None]

    @property
    def features(self) -> str:
        """SHA-256 of all that features depend on; crops of two models are not comparable.

        Fusion weights and calibration are no part of it: they may change under a gallery.
        """
        parts: list[object] = [self.format, self.restorer.sha256, list(self.restorer.scales)]
        for branch in BRANCHES:
            network = self.branches[branch]  # type: ignore[index]
            parts.append([branch, network.sha256, network.network, network.height, network.width])
        if self.mirrored:
            parts.append("mirrored")
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def write(folder: Path, description: Description) -> None:
    """Write model.json: sorted keys, LF."""
    text = json.dumps(description.model_dump(mode="json"), indent=2, sort_keys=True)
    (folder / FILE).write_text(text + "\n", encoding="utf-8")


def read(folder: Path) -> Description:
    """Read model.json, and check that the files beside it are those that it names.

    Raises:
        UserError: there is no model folder, it is of another version, or it is damaged.
    """
    if not (folder / FILE).exists():
        raise UserError(
            f"{folder} holds no {FILE}: give a model folder, as `dvc repro pack_model` or"
            " `pyramid-reid pack` writes it"
        )
    description = parse(folder / FILE)
    for part in (description.restorer, *description.branches.values()):
        check(folder / part.file, part.sha256)
    return description


def parse(path: Path) -> Description:
    """Read a model.json alone; a gallery store holds a copy.

    Raises:
        UserError: it is of another version, or damaged.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); {AGAIN}") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT or raw["format"] is True:
        found = raw.get("format") if isinstance(raw, dict) else None
        raise UserError(
            f"{path} has format {found!r}, this version of pyramid-reid reads {FORMAT}: install the"
            " version that wrote it, or pack the model anew"
        )
    try:
        description = Description.model_validate_json(json.dumps(raw))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(f"{path} is damaged ({where}: {first['msg']}); {AGAIN}") from error
    if set(description.branches) != set(BRANCHES) or set(description.weights) != set(BRANCHES):
        raise UserError(f"{path} does not describe the branches {', '.join(BRANCHES)}; {AGAIN}")
    if abs(sum(description.weights.values()) - 1) > 1e-6:
        raise UserError(f"{path} is damaged (its weights do not add up to 1); {AGAIN}")
    return description


AGAIN = "copy the folder again, or pack it anew"


def check(path: Path, sha256: str) -> None:
    """Check a file of weights against its hash.

    Raises:
        UserError: it is missing or another.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); {AGAIN}") from error
    if found != sha256:
        raise UserError(f"{path} is not the file that {FILE} names (SHA-256 differs); {AGAIN}")
