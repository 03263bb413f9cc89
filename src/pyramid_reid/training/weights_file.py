"""Weights files of any origin, read without running code in them."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from pyramid_reid.core import provenance
from pyramid_reid.core.errors import DAMAGED, UserError, reason
from pyramid_reid.training.foreign_pickle import advice, printable, some

EMA = ("state_dict_ema", "params_ema", "model_ema", "ema_state_dict", "ema")
"""Keys under which checkpoints hold the running mean of their weights (timm, BasicSR, mmengine)."""
PLAIN = ("state_dict", "model_state_dict", "params", "model", "net", "module")
"""Keys under which they hold the weights themselves (torchreid, Lightning, KAIR, fast-reid,
DeepSpeed)."""
EMA_PREFIXES = ("ema.", "model_ema.", "ema_model.")
"""Of the names of a running mean that stands among the weights themselves (Lightning)."""
PREFIXES = ("module.", "extractor.model.", "model.", "backbone.", "net.")
"""What programs put before the names of a network: DataParallel, Lightning, fast-reid, boxmot."""
WRAPPERS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch puts anywhere into names: compile, FSDP and activation checkpoints."""
DEEPEST = 4
"""Wrappers in wrappers that are opened: a hostile file may hold itself."""

_SCALAR = np.float64(0).__reduce__()[0]
_DTYPES: list[type] = [np.dtype, *(type(np.dtype(code)) for code in "?bhilqBHILQefdgFDGSUMm")]
NUMBERS: dict[str, Any] = {
    "numpy.core.multiarray.scalar": _SCALAR,
    "numpy._core.multiarray.scalar": _SCALAR,
    **{f"{each.__module__}.{each.__qualname__}": each for each in _DTYPES},
}
"""What a checkpoint may hold beside weights, by name: NumPy's numbers, as torchreid's Rank-1 is."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Weights of a file.

    Attributes:
        weights: by name, without what DataParallel, torch.compile, Lightning and others put before
            the names of the network.
        ema: where the running mean of the weights stood, which is preferred; empty without one.
    """

    weights: dict[str, Tensor]
    ema: str


def read(path: Path) -> Checkpoint:
    """Weights of a checkpoint (.safetensors, or as torch.save writes it: .pth, .pth.tar, .ckpt).

    Raises:
        UserError: the file is missing or damaged, holds something else than tensors and plain
            values, holds two networks, or a tensor has values that are no finite numbers.
    """
    pickled = path.suffix != ".safetensors"
    try:
        content = _load(path) if pickled else load_file(path)
    except (*DAMAGED, SafetensorError, pickle.UnpicklingError) as error:
        held = advice(path, NUMBERS.keys(), (*EMA, *PLAIN)) if pickled else ""
        # torch's own words advise to run the file's code
        said = type(error).__name__ if "weights_only" in str(error) else printable(reason(error))
        raise UserError(held or f"{path} is not a checkpoint ({said})") from error
    plain, _ = _below(content, PLAIN)
    ema, where = _below(content, EMA)
    if not ema:  # it may stand beside the weights
        ema = {name: value for name, value in plain.items() if name.startswith(EMA_PREFIXES)}
        plain = {name: value for name, value in plain.items() if name not in ema}
        where = f"the names {next(iter(ema)).partition('.')[0]}.…" if ema else ""
        ema = {name.partition(".")[2]: value for name, value in ema.items()}
    plain, ema = _bare(plain, path), _bare(ema, path)
    if not ema.keys() & plain.keys() and len(ema) < len(plain):
        where = ""  # a decay or a counter, no network
    weights = plain | ema
    if not weights:
        raise UserError(
            f"{path} holds no weights by name: save the network's state_dict() with torch.save"
        )
    for name, value in weights.items():
        _check(path, name, value)
    return Checkpoint(weights, where)


def _load(path: Path) -> Any:
    """Content of a pickle that torch can read without running code."""
    with (
        torch.serialization.safe_globals([(each, name) for name, each in NUMBERS.items()]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of pickle protocols and of TorchScript: an error says it
        return torch.load(path, map_location="cpu", weights_only=True)


def _below(
    content: Any, keys: tuple[str, ...], depth: int = DEEPEST
) -> tuple[dict[str, Tensor], str]:
    """Tensors by name in the first of these keys that holds some, and the key.

    Wrappers may hold wrappers. Without any of them, `PLAIN` weights are those of the content
    itself.
    """
    if not isinstance(content, Mapping) or not depth:
        return {}, ""
    for key in keys:
        tensors, _ = _below(content.get(key), PLAIN, depth - 1)
        if tensors:
            return tensors, key
    if keys is EMA:  # {"model": {"state_dict_ema": …}}
        for key in PLAIN:
            tensors, where = _below(content.get(key), EMA, depth - 1)
            if tensors:
                return tensors, f"{key}.{where}"
        return {}, ""
    return {str(name): value for name, value in content.items() if isinstance(value, Tensor)}, ""


def _bare(weights: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Weights by the names that they have in the network.

    Raises:
        UserError: two of them would have the same one.
    """
    bare: dict[str, tuple[str, Tensor]] = {}
    for name, value in weights.items():
        short = name
        for wrapper in WRAPPERS:
            short = short.replace(wrapper, "")
        while short.startswith(PREFIXES):
            short = short.removeprefix(next(each for each in PREFIXES if short.startswith(each)))
        if short in bare:
            raise UserError(
                f"{path} holds two networks, as {printable(bare[short][0])} and {printable(name)}"
                " tell: save one of them alone"
            )
        bare[short] = name, value
    return {short: value for short, (_, value) in bare.items()}


def _check(path: Path, name: str, value: Tensor) -> None:
    """Raise UserError unless a tensor is one of finite numbers."""
    if value.is_meta or value.is_quantized or value.layout != torch.strided:
        raise UserError(
            f"{path}: {printable(name)} is not a plain tensor of numbers: save it as one"
        )
    broken = value.numel() - int(value.isfinite().sum())
    if broken:
        raise UserError(
            f"{path}: {broken} of {value.numel()} values of {printable(name)} are NaN or infinite:"
            " the file is damaged, or its training diverged; give an earlier checkpoint"
        )


def metadata(path: Path) -> dict[str, str]:
    """What a .safetensors file says of itself; {} of another file.

    Raises:
        UserError: it is damaged.
    """
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, "pt") as file:
            return dict(file.metadata() or {})
    except (*DAMAGED, SafetensorError) as error:
        raise UserError(f"{path} is not a checkpoint ({reason(error)})") from error


def of_split(path: Path, split: str, section: str, branch: str = "") -> Path:
    """The file to start a split from: a checkpoint, or the split's in the models of another run.

    Args:
        path: `SECTION.pretrained`: a file, which is every split's, or a folder with
            `[BRANCH/]split_N/model.safetensors`.
        section: reid or restoration.

    Raises:
        UserError: there is none.
    """
    if path.is_file():
        return path
    param = f"{section}.pretrained"
    if not path.is_dir():
        raise UserError(f"{param}: {path} is neither a file nor a folder")
    found = {each.parent.name: each for each in (path / branch).glob("split_*/model.safetensors")}
    if not found:
        example = "/".join(filter(None, [branch, "split_0", "model.safetensors"]))
        folder = "data/models/" + ("reid" if section == "reid" else "reconstructor")
        raise UserError(
            f"{param}: {path} has no {example}: give {folder} of a finished run, or a checkpoint"
        )
    if split not in found:
        raise UserError(
            f"{param}: {path / branch} has networks of {some(sorted(found))}, none of {split}: set"
            " data.first_split and data.splits to splits that are there. Networks of another split"
            " may have learned from this one's test people; where they cannot, copy them into"
            " folders of its name"
        )
    return found[split]


def check_hash(path: Path, sha256: str | None, section: str) -> None:
    """Hold a file or folder against `SECTION.pretrained_sha256`, or print what to set it to.

    Args:
        sha256: as `provenance.sha256` gives it; None where a name stands for a file that its
            authors publish without a hash.

    Raises:
        UserError: it is another.
    """
    param = f"{section}.pretrained_sha256"
    found = provenance.sha256(path)
    if sha256 is None:
        print(f"{path} is not checked; to pin it, set {param}: {found}", flush=True)
    elif found != sha256.lower():
        raise UserError(
            f"{path} has SHA-256 {found}, not that of {param}: give the file that it was, or its"
            " own hash"
        )
