"""From a finished run of the pipeline to a model folder: files are copied, hashed and described."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from pyramid_reid.core.errors import DAMAGED, UserError, reason
from pyramid_reid.search import description as described
from pyramid_reid.search.description import BranchNetwork, Calibration, Description, Restorer
from pyramid_reid.search.packing import card
from pyramid_reid.search.packing.licences import licence_of

CARD = "README.md"
NETWORK = "model.safetensors"
"""Name of every network in the folders of a run."""

NOT_TRAINED = "nothing: enlarged without learning"
MIT = "MIT, as this program"


@dataclass(frozen=True, slots=True)
class Run:
    """Where a finished run of the pipeline keeps what is packed.

    Attributes:
        models: with `reconstructor/split_N` and `reid/BRANCH/split_N`.
        crops: with a table of crops per split, and what the protocol is.
        calibration: written by `fuse`.
        metrics: of the fusion.
    """

    models: Path
    crops: Path
    calibration: Path
    metrics: Path


def pack(
    run: Run, out: Path, name: str, weights: Mapping[str, float], *, mirrored: bool = False
) -> Description:
    """Write the model folder of a run: with several splits, that of the first.

    Args:
        name: of the set, `data.name`.
        weights: of the branches in the fusion, one at least above 0.
        mirrored: `distances.mirrored`.

    Raises:
        UserError: a file is missing or damaged.
    """
    splits = _splits(run.models / "reconstructor")
    trained = _training(run.crops, splits, name)
    people = f"{trained['training_identities']} training identities of {trained['protocol']}"
    told = _json(run.calibration)
    fitted = told.get("calibration")
    total = sum(weights.values())
    out.mkdir(parents=True, exist_ok=True)
    branches: dict[described.Branch, BranchNetwork] = {
        branch: _branch(branch, run.models / "reid" / branch / splits[0], out, people, name)
        for branch in described.BRANCH_NAMES
    }
    try:
        description = Description(
            format=1,
            name=name,
            restorer=_restorer(run.models / "reconstructor" / splits[0], out, people, name),
            branches=branches,
            weights={branch: weights[branch] / total for branch in branches},
            mirrored=mirrored,
            calibration=None if fitted is None else Calibration(**fitted),
            why_no_calibration=told.get("why_none"),
            trained=trained,
        )
    except (ValueError, TypeError) as error:
        raise UserError(f"{run.calibration} is damaged ({reason(error)}); {AGAIN}") from error
    finish(out, description, told.get("thresholds", ()), _json(run.metrics))
    return description


AGAIN = "run `dvc repro` to make it again"


def finish(
    out: Path,
    description: Description,
    thresholds: Any = (),
    figures: Mapping[str, Mapping[str, float]] | None = None,
) -> None:
    """Write `model.json` and the card beside the weights."""
    described.write(out, description)
    text = card.text(description, thresholds, figures)
    (out / CARD).write_text(text, encoding="utf-8", newline="\n")


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def metadata(path: Path) -> dict[str, str]:
    """What a network's file says of itself.

    Raises:
        UserError: it is missing or damaged.
    """
    try:
        with safe_open(path, "np") as file:
            return dict(file.metadata() or {})
    except (*DAMAGED, SafetensorError) as error:
        raise UserError(f"{path} is no network ({reason(error)}); {AGAIN}") from error


def extractor_of(architecture: Mapping[str, Any]) -> str:
    """A restorer's extractor in words, by the architecture in its metadata."""
    size = architecture["size"]
    if size is None:
        return "identity" if set(architecture["scales"]) == {1} else "bicubic"
    if "depths" in size:
        return f"SwinIR ({len(size['depths'])} groups, width {size['dim']})"
    return f"HAN ({size['groups']} groups of {size['blocks']} blocks, width {size['dim']})"


def restorer(path: Path, out: Path, trained_on: str, licence: str) -> Restorer:
    """Copy a reconstructor and describe it; one that has learned nothing is said to.

    Args:
        trained_on, licence: of its training, where its file tells nothing of a start.

    Raises:
        UserError: the file is not a reconstructor.
    """
    target = out / "restorer.safetensors"
    try:
        architecture = json.loads(metadata(path)["architecture"])
        learned = architecture["size"] is not None
        extractor, scales = extractor_of(architecture), tuple(architecture["scales"])
        trained_on, licence = _origin(architecture, trained_on, licence)
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(f"{path} is not a reconstructor ({reason(error)})") from error
    shutil.copyfile(path, target)
    return Restorer(
        file=target.name,
        sha256=sha256_of(target),
        trained_on=trained_on if learned else NOT_TRAINED,
        licence=licence if learned else MIT,
        extractor=extractor,
        scales=scales,
    )


def _restorer(folder: Path, out: Path, people: str, name: str) -> Restorer:
    return restorer(folder / NETWORK, out, people, licence_of(name))


def _branch(branch: str, folder: Path, out: Path, people: str, name: str) -> BranchNetwork:
    path, target = folder / NETWORK, out / f"{branch}.safetensors"
    told = metadata(path)
    try:
        network = json.loads(told["network"])
        trained_on, licence = _origin(network, people, f"{name}: {licence_of(name)}")
        described_as = network["name"], network["height"], network["width"]
    except (ValueError, TypeError, LookupError) as error:
        raise UserError(f"{path} is not a re-identification network ({reason(error)})") from error
    shutil.copyfile(path, target)
    return BranchNetwork(
        file=target.name,
        sha256=sha256_of(target),
        trained_on=trained_on,
        licence=licence,
        network=described_as[0],
        height=described_as[1],
        width=described_as[2],
    )


def _origin(told: Mapping[str, Any], people: str, licence: str) -> tuple[str, str]:
    """What trained weights, and under which licence: by their file and the run's training people.

    Args:
        told: of the file's metadata; `start` where the weights started from others, and `trained`
            false where they are those.
    """
    start = told.get("start")
    if not start:
        return people, licence
    if not told.get("trained", True):
        return start["trained_on"], start["licence"]
    return (
        f"{people}, from weights of {start['trained_on']}",
        f"{licence}. Start: {start['licence']}",
    )


def _splits(folder: Path) -> list[str]:
    names = [path.name for path in folder.glob("split_*") if path.is_dir()]
    if not names:
        raise UserError(f"{folder} holds no split_* folder; {AGAIN}")
    return sorted(names, key=lambda name: int(name.removeprefix("split_")))


def _training(crops: Path, splits: list[str], name: str) -> dict[str, str | int | float | None]:
    """What the model's training is known by."""
    try:
        protocol = _json(crops / "protocol.json")["name"]
        with (crops / "splits.csv").open(encoding="utf-8", newline="") as file:
            hashes = {row["split"]: row["sha256"] for row in csv.DictReader(file)}
        with (crops / splits[0] / "index.csv").open(encoding="utf-8", newline="") as file:
            pids = [row["pid"] for row in csv.DictReader(file) if row["role"] == "train"]
        split_sha256 = hashes[splits[0]]
    except DAMAGED as error:
        raise UserError(f"{crops} is no folder of crops ({reason(error)}); {AGAIN}") from error
    return {
        "set": name,
        "protocol": protocol,
        "split": splits[0],
        "splits": len(splits),
        "split_sha256": split_sha256,
        "training_identities": len(set(pids)),
        "training_crops": len(pids),
    }


def _json(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except DAMAGED as error:
        raise UserError(f"{path} cannot be read ({reason(error)}); {AGAIN}") from error
    if not isinstance(told, dict):
        raise UserError(f"{path} holds no table; {AGAIN}")
    return told
