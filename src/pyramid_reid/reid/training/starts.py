"""Published weights by training set, and what is known of their origin.

Names, Google Drive ids and what trained each file are those of torchreid's model zoo
(docs/MODEL_ZOO.md of github.com/KaiyangZhou/deep-person-reid; its package repeats the ids in
reid_model_factory.py). The zoo publishes no checksums; pinned are those of files as public
repositories carry them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import gdown
import pooch
from torch import Tensor

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import refused_start
from pyramid_reid.reid.network.definitions import osnet_modules
from pyramid_reid.training import origin as origins

FOLDER = "PYRAMID_REID_WEIGHTS"
"""Environment variable that names a folder with published weights, looked into first."""

DRIVE = "https://drive.google.com/uc?id="

IMAGENET = "imagenet"


@dataclass(frozen=True, slots=True)
class Origin:
    """What trained weights, and under which terms they may be used.

    Attributes:
        sets: names, as in `data.name`, of the sets whose people trained them.
        people: in training, so many classes the classifier has; None where nobody counts them.
    """

    trained_on: str
    licence: str
    sets: tuple[str, ...] = ()
    people: int | None = None


_TERMS = (
    "{} is released for research only, by its authors' terms; torchreid publishes the weights"
    " without a licence of their own"
)
ORIGINS = {
    "msmt17": Origin(
        "MSMT17, its training split (1,041 people, 256x128)",
        _TERMS.format("MSMT17"),
        ("msmt17",),
        1041,
    ),
    "msmt17_combineall": Origin(
        "MSMT17, all of it, test people included (4,101 people, 256x128)",
        _TERMS.format("MSMT17"),
        ("msmt17",),
        4101,
    ),
    "market1501": Origin(
        "Market-1501, its training split (751 people, 256x128)",
        _TERMS.format("Market-1501"),
        ("market1501",),
        751,
    ),
    IMAGENET: Origin(
        "ImageNet-1k (things, no person set)",
        "ImageNet is released for non-commercial research and education, by its own terms;"
        " torchreid publishes the weights without a licence of their own",
    ),
}
"""By the name of the start. Sets as in `core.params.NAMED_STARTS`, which a test holds them to."""

IDS = {
    "msmt17": {
        "osnet_x1_0": "112EMUfBPYeYg70w-syK6V6Mx8-Qb9Q1M",
        "osnet_x0_75": "1QEGO6WnJ-BmUzVPd3q9NoaO_GsPNlmWc",
        "osnet_x0_5": "1UT3AxIaDvS2PdxzZmbkLmjtiqq7AIKCv",
        "osnet_x0_25": "1sSwXSUlj4_tHZequ_iZ8w_Jh0VaRQMqF",
    },
    "msmt17_combineall": {
        "osnet_x1_0": "1IosIFlLiulGIjwW3H8uMRmx3MzPwf86x",
        "osnet_x0_75": "1fhjSS_7SUGCioIf2SWXaRGPqIY9j7-uw",
        "osnet_x0_5": "1DHgmb6XV4fwG3n-CnCM0zdL9nMsZ9_RF",
        "osnet_x0_25": "1Kkx2zW89jq_NETu4u42CFZTMVD5Hwm6e",
        "osnet_ibn_x1_0": "1q3Sj2ii34NlfxA4LvmHdWO_75NDRmECJ",
        "osnet_ain_x1_0": "1SigwBE6mPdqiJMqhuIY4aqC7--5CsMal",
    },
    "market1501": {
        "osnet_x1_0": "1vduhq5DpN2q1g4fYEZfPI17MJeh9qyrA",
        "osnet_x0_75": "1ozRaDSQw_EQ8_93OUmjDbvLXw9TnfPer",
        "osnet_x0_5": "1PLB9rgqrUM7blWrg4QlprCuPT7ILYGKT",
        "osnet_x0_25": "1z1UghYvOTtjx7kEoRfmqSMu-z62J6MAj",
    },
}
"""On Google Drive, by start and network: same-domain models, and those of combineall=True."""

SHA256 = {
    (
        "msmt17",
        "osnet_x0_25",
    ): "6f57607fed9f502b9efed546108132ee715df5a5b6e6932c6269bacb47f59f99",
    (
        "market1501",
        "osnet_x0_25",
    ): "c0ff09177a21417a19bc73bbf5af4eb5d2b097c2074ed35e67819ee6cd93612c",
}
"""Of the files that could be hashed, by start and network."""


def locate(name: str, network: str, fetched: Path) -> Path:
    """The file of a named start: in the folder of `PYRAMID_REID_WEIGHTS`, or fetched once.

    Args:
        name: of `ORIGINS`.
        network: such as osnet_x0_25.
        fetched: where files are kept that were fetched.

    Raises:
        UserError: there is no such start of this network, or it cannot be fetched.
    """
    address, file = _address(name, network), f"{network}_{name}.pth"
    own = os.environ.get(FOLDER)
    for folder in (*([Path(own)] if own else []), fetched):
        if (folder / file).is_file():
            return folder / file
    fetch(name, address, fetched / file)
    return fetched / file


def check_pinned(path: Path, name: str, network: str) -> bool:
    """Hold the file of a start against the SHA-256 that is known of it; False where none is.

    Raises:
        UserError: it is another file.
    """
    expected = SHA256.get((name, network))
    if expected is None:
        return False
    if (found := pooch.file_hash(path)) != expected:
        raise UserError(
            f"{path} has SHA-256 {found}, not that of the {name} that is known, {expected}: remove"
            " the file to fetch it again, or give its path instead of the name if you mean this one"
        )
    return True


def origin(name: str, sha256: str) -> Origin:
    """What trained a file of weights.

    Args:
        name: `reid.pretrained`: of a start, or a path, whose file is recognised by its hash.
    """
    if name in ORIGINS:
        return ORIGINS[name]
    for (start, _), known in SHA256.items():
        if known == sha256.lower():
            return ORIGINS[start]
    unknown = origins.unknown(Path(name).name, sha256)
    return Origin(unknown["trained_on"], unknown["licence"])


def record(name: str, path: Path) -> dict[str, str]:
    """What a network's file tells of the weights that it started from, or is.

    Args:
        name: `reid.pretrained`.
        path: of the weights.

    Raises:
        UserError: the file is damaged.
    """
    sha256: str = pooch.file_hash(path)
    trained = origin(name, sha256)
    told = {"trained_on": trained.trained_on, "licence": trained.licence, "sha256": sha256}
    return origins.with_start(told, path)


def check(trained: Origin, weights: Mapping[str, Annotated[Tensor, "..."]], data_name: str) -> None:
    """Refuse weights whose training people may be test people, and those of another origin.

    Args:
        weights: by name; a classifier among them has as many outputs as there were people.
        data_name: `data.name`, the set that is tested on.

    Raises:
        UserError: as said.
    """
    if data_name in trained.sets:
        raise UserError(refused_start(trained.trained_on, data_name))
    classifier = weights.get("classifier.weight")
    found = None if classifier is None else len(classifier)
    if None not in {found, trained.people} and found != trained.people:
        raise UserError(
            f"the weights' classifier knows {found:,} people, that of {trained.trained_on}"
            f" {trained.people:,}: the file is of another training; if you mean it, give its path"
            " as reid.pretrained"
        )


def _address(name: str, network: str) -> str:
    """Where the start of a network is published.

    Raises:
        UserError: it is not; the message lists those that are.
    """
    if name == IMAGENET:
        published = {
            model: url
            for module in osnet_modules()
            for model, url in module.pretrained_urls.items()
        }
    else:
        published = {model: f"{DRIVE}{number}" for model, number in IDS[name].items()}
    if network not in published:
        known = "ImageNet" if name == IMAGENET else name
        raise UserError(
            f"torchreid publishes no {known} weights of {network}; they are there for"
            f" {', '.join(sorted(published))}"
        )
    address: str = published[network]
    return address


def fetch(name: str, address: str, path: Path) -> None:
    """Download a file of Google Drive; it appears under its name only when it is whole.

    Raises:
        UserError: it cannot be fetched; the message says what to put where.
    """

    def download(url: str, file: str, _: object) -> None:
        gdown.download(url, file)

    try:
        pooch.retrieve(address, None, path.name, path.parent, downloader=download)
    # whatever the connection raised
    except Exception as error:
        raise UserError(
            f"reid.pretrained: {name} could not be fetched ({type(error).__name__}): download"
            f" {address} where there is a network, and put it at {path}, or as {path.name} into the"
            f" folder that the environment variable {FOLDER} names, or give its path as"
            " reid.pretrained"
        ) from error
