"""A model folder without any training: every branch the same published network."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import pooch

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Reid
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.training import starts
from pyramid_reid.reid.training.pretrained import CLASSIFIER, matching
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.search import description
from pyramid_reid.search.description import BRANCH_NAMES, BranchNetwork, Description, Restorer
from pyramid_reid.search.packing import files
from pyramid_reid.training import origin, weights_file

NETWORKS = get_args(Reid.model_fields["model"].annotation)
SCALES = (2, 3, 4)
"""Of bicubic restoration, as in params.yaml."""

NO_CALIBRATION = (
    "nothing was trained, so there are no validation identities whose distances could be calibrated"
)


def pack_start(
    start: str, network: str, height: int, width: int, restorer: str, out: Path
) -> Description:
    """Write a model folder whose four branches are one network, for whoever has no identities.

    Args:
        start: name of a start, or path of a checkpoint.
        network: name of the network that it holds.
        height, width: of its input in pixels.
        restorer: bicubic, or path of a reconstructor (`data/models/reconstructor/split_0/model.\
safetensors` of a run).
        out: folder that is made; it appears when it is whole.

    Raises:
        UserError: `out` is there already, or what is asked for is not there, damaged or unfit.
    """
    if network not in NETWORKS:
        raise UserError(f"no network {network}: the networks are {', '.join(NETWORKS)}")
    if min(height, width) < 16:
        raise UserError(
            f"an input of {height}x{width} pixels is too small for an OSNet: from 16 on"
        )
    if start == starts.IMAGENET:
        raise UserError("imagenet weights tell things apart, not people: train on them, or take"
                        f" another start ({', '.join(starts.IDS)}, or a path)")  # fmt: skip
    path = _file(start, network)
    with appearing(out) as folder:
        branch = _network(start, path, network, height, width, folder)
        description = Description(
            format=1,
            name=start if start in starts.ORIGINS else Path(start).name.partition(".")[0],
            restorer=_restorer(restorer, folder),
            branches=dict.fromkeys(BRANCH_NAMES, branch),
            weights=dict.fromkeys(BRANCH_NAMES, 1 / len(BRANCH_NAMES)),
            calibration=None,
            why_no_calibration=NO_CALIBRATION,
            trained={},
        )
        files.finish(folder, description)
    return description


@contextmanager
def appearing(out: Path) -> Iterator[Path]:
    """A folder that has its name only when all of it is written.

    Raises:
        UserError: something of this name is there already, or it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already: remove it, or choose another --out")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        try:
            folder.chmod(0o777 & ~_umask())
            yield folder
            folder.replace(out)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error})") from error


def _umask() -> int:
    """The user's mask, which a folder of `tempfile` does not follow."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _file(start: str, network: str) -> Path:
    """The file of a start, of the pinned hash where there is one."""
    named = start in starts.ORIGINS
    path = starts.locate(start, network, pooch.os_cache("pyramid-reid")) if named else Path(start)
    if not path.is_file():
        raise UserError(f"--start: {start} is no file, and none of {', '.join(starts.IDS)}")
    if named:
        starts.check_pinned(path, start, network)
    return path


def _network(
    start: str, path: Path, network: str, height: int, width: int, folder: Path
) -> BranchNetwork:
    """Write the one network, whose classifier, which knows other people, is left out."""
    weights, told = weights_file.read(path).weights, starts.record(start, path)
    starts.check(starts.origin(start, told["sha256"]), weights, "")
    model = osnet.build(network, 1, seed=0)
    fitting = matching(model, weights)
    missing = [
        name
        for name in model.state_dict()
        if name not in fitting and not name.startswith(CLASSIFIER)
        and not name.endswith("num_batches_tracked")
    ]  # fmt: skip
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} weights of {network}, the first {missing[0]}: give the"
            " network that it holds as --model"
        )
    model.load_state_dict(dict(fitting), strict=False)
    target = folder / "network.safetensors"
    osnet.save(target, model, network, height, width, told)
    return BranchNetwork(
        file=target.name,
        sha256=files.sha256_of(target),
        trained_on=told["trained_on"],
        licence=told["licence"],
        network=network,
        height=height,
        width=width,
    )


def _trained_on(path: Path) -> tuple[str, str]:
    """What trained a restorer, and its licence: the model that it is taken from may tell."""
    sha256 = files.sha256_of(path)
    if (described := path.parent / description.FILE).exists():
        model = description.parse(described)
        if model.restorer.sha256 == sha256:
            return model.restorer.trained_on, model.restorer.licence
    told = origin.unknown(path.name, sha256)
    return told["trained_on"], told["licence"]


def _restorer(restorer: str, folder: Path) -> Restorer:
    if restorer != "bicubic":
        path = Path(restorer)
        reconstructor.load(path)  # whether it is whole
        return files.restorer(path, folder, *_trained_on(path))
    architecture = reconstructor.Architecture(size=None, head_dim=1, scales=SCALES)
    own = folder / "restorer.safetensors"
    reconstructor.save(own, reconstructor.build(architecture, 0))
    return Restorer(
        file=own.name,
        sha256=files.sha256_of(own),
        trained_on=files.NOT_TRAINED,
        licence=files.MIT,
        extractor="bicubic",
        scales=SCALES,
    )
