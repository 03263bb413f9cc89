"""Networks of a model folder as ONNX, checked against torch by ONNX Runtime.

Networks are exported as boxmot takes them (its `ONNXBackend` and `BaseModelBackend`): one input
`images`, (batch, 3, height, width) float32, RGB in [0, 1] less ImageNet's mean over its deviation,
one output `output0`, features that it normalises; and a file name that holds the network's name.
The restorer takes RGB in [0, 1] and gives `h1`, `h2`, `h3` in about [0, 1].
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.kernels import torch_only
from pyramid_reid.core.resize import resize
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.network.preprocessing import normalize, to_float
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.restoration.network.images import to_tensor
from pyramid_reid.retrieval.distance import cosine_distances
from pyramid_reid.retrieval.distance import normalize as unit
from pyramid_reid.search import description as described
from pyramid_reid.search.description import BRANCH_NAMES, Description
from pyramid_reid.search.images import Crop, as_pixels

FILTER = Image.Resampling.BILINEAR
OPSET = 17
IR_VERSION = 10
"""That older versions of ONNX Runtime read, too, as boxmot's exporter has it."""

CLASSES = ((64, 32), (96, 48), (128, 64), (192, 96), (256, 128))
"""Heights and widths of a restorer that cannot take any: a crop is padded to the next one."""

FREE_SIZES = ((40, 20), (57, 23), (7, 5), (64, 32))
"""Heights and widths at which one that says that it takes any is tried."""

CLOSE = 1e-3
"""Largest difference from torch, of features of length 1 and of images in [0, 1]."""

BOXMOT = (256, 128)
"""Height and width to which boxmot resizes crops for an OSNet."""

KNOWN = {
    *("osnet_x1_0", "osnet_x0_75", "osnet_x0_5", "osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x1_0")
}
"""Networks that boxmot has."""

ELSEWHERE = ("veri", "vehicleid", "lmbn", "hacnn", "clip")
"""Parts of a file's name by which boxmot takes another input size or network."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file, and how it compares with torch.

    Attributes:
        what: branches that a network serves, or `restorer`.
        difference: largest, of features of length 1 or of images in [0, 1].
        same_ranking: of the tried crops by each of them; None of a restorer.
        note: what its user must know; may be empty.
    """

    file: str
    what: str
    height: int | None
    width: int | None
    difference: float
    same_ranking: bool | None
    note: str

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        return asdict(self)

    def line(self) -> str:
        """For people."""
        size = "any height and width" if self.height is None else f"{self.height}×{self.width}"
        ranking = ", same ranking" if self.same_ranking else ""
        note = f"; {self.note}" if self.note else ""
        return (
            f"{self.file}: {self.what}, {size}; differs from torch by {self.difference:.1e}"
            f"{ranking}{note}"
        )


def export(model: Path, out: Path, crops: Sequence[Crop] = ()) -> Iterator[Exported]:
    """Write the networks of a model folder, each once, and check them.

    Args:
        model: model folder.
        out: folder of the files.
        crops: that are tried; random ones without any.

    Yields:
        Each file when it is written and checked.

    Raises:
        UserError: the model is damaged, a crop is no image, a file cannot be written, or ONNX
            Runtime gives something else than torch: that file is removed.
    """
    description = described.read(model)
    images = [_pixels(crop) for crop in crops] or _random_crops()
    try:
        out.mkdir(parents=True, exist_ok=True)
        for sha256 in dict.fromkeys(description.branches[name].sha256 for name in BRANCH_NAMES):
            yield _network(model, out, description, sha256, images)
        yield from _restorer(model / description.restorer.file, out, images)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror or error})") from error


def _pixels(crop: Crop) -> NDArray[np.uint8]:
    try:
        return as_pixels(crop)
    except ValueError as error:
        raise UserError(f"--crops: {error}: take it out of the folder, or give another") from error


def file_name(description: Description, branches: Sequence[str]) -> str:
    """Name of a network's file, by which boxmot knows which network it is."""
    network = next(description.branches[name].network for name in BRANCH_NAMES if name in branches)
    network = re.sub(r"\W+", "_", network)  # the description may be anybody's
    origin = re.sub(r"[^a-z0-9]+", "_", description.name.lower()).strip("_")
    if any(part in origin for part in ELSEWHERE) or "osnet" in origin or not origin:
        origin = "pyramid"
    which = "" if len(branches) == len(BRANCH_NAMES) else f"_{'_'.join(branches)}"
    return f"{network}_{origin}{which}.onnx"


def _network(
    folder: Path,
    out: Path,
    description: Description,
    sha256: str,
    crops: Sequence[NDArray[np.uint8]],
) -> Exported:
    branches = [name for name in BRANCH_NAMES if description.branches[name].sha256 == sha256]
    packed = description.branches[branches[0]]
    model, height, width = osnet.load(folder / packed.file)
    path = out / file_name(description, branches)
    axes = {"images": {0: "batch"}, "output0": {0: "batch"}}
    _write(model, (2, 3, height, width), path, ["output0"], axes)
    resized = np.stack([resize(crop, height, width, FILTER) for crop in crops])
    inputs = normalize(to_float(torch.from_numpy(resized)))
    with torch.inference_mode():
        expected = unit(model(inputs).numpy())
    found = unit(_run(path, inputs)[0])
    difference = float(np.abs(expected - found).max())
    same = _ranked_alike(expected, found, difference)
    if difference > CLOSE or not same:
        path.unlink()
        raise UserError(f"{path}: ONNX Runtime gives other features than torch ({difference:.1e})")
    note = ""
    if packed.network not in KNOWN:
        note = f"boxmot has no {packed.network}"
    elif (height, width) != BOXMOT:
        note = (
            f"boxmot resizes crops to {BOXMOT[0]}×{BOXMOT[1]}, so it cannot run this network: train"
            " with reid.height 256 and reid.width 128 for it"
        )
    return Exported(path.name, ", ".join(branches), height, width, difference, same, note)


def _ranked_alike(
    expected: NDArray[np.float32], found: NDArray[np.float32], difference: float
) -> bool:
    """Whether each crop ranks the others alike, but for distances that differ by rounding."""
    ours, theirs = cosine_distances(expected, expected), cosine_distances(found, found)
    order = np.argsort(theirs, axis=1, kind="stable")
    in_their_order = np.take_along_axis(ours, order, axis=1)
    allowed = 4 * difference * np.sqrt(expected.shape[1]) + 1e-6
    return bool((np.diff(in_their_order, axis=1) >= -allowed).all())


def _restorer(path: Path, out: Path, crops: Sequence[NDArray[np.uint8]]) -> Iterator[Exported]:
    """The restorer for any size, or where that fails one for each of `CLASSES`."""
    model = reconstructor.load(path)
    names = ["h1", "h2", "h3"]
    target, axes = out / "restorer.onnx", {"images": {0: "batch", 2: "height", 3: "width"}}
    for name in names:
        axes[name] = {0: "batch", 2: f"{name}_height", 3: f"{name}_width"}
    _write(model, (2, 3, *FREE_SIZES[0]), target, names, axes)
    sizes = [*FREE_SIZES, *dict.fromkeys((crop.shape[0], crop.shape[1]) for crop in crops[:8])]
    try:
        difference = max(_difference(target, model, size, crops) for size in sizes)
    except onnxruntime.capi.onnxruntime_pybind11_state.Fail:
        difference = float("inf")
    if difference <= CLOSE:
        yield Exported(target.name, "restorer", None, None, difference, None, "")
        return
    target.unlink()
    for height, width in CLASSES:
        fixed = out / f"restorer_{height}x{width}.onnx"
        batch = {name: {0: "batch"} for name in ("images", *names)}
        _write(model, (2, 3, height, width), fixed, names, batch)
        difference = _difference(fixed, model, (height, width), crops)
        if difference > CLOSE:
            fixed.unlink()
            raise UserError(
                f"{fixed}: ONNX Runtime restores otherwise than torch: {difference:.1e}"
            )
        note = "its windows are of fixed number: pad a smaller crop by its last row and column"
        yield Exported(fixed.name, "restorer", height, width, difference, None, note)


def _difference(
    path: Path,
    model: reconstructor.Reconstructor,
    size: tuple[int, int],
    crops: Sequence[NDArray[np.uint8]],
) -> float:
    """Largest difference from torch at one size, of some crops brought to it."""
    images = np.stack([resize(crop, *size, FILTER) for crop in crops[:3]])
    inputs = to_tensor(images).contiguous()
    with torch.inference_mode():
        expected = [images.numpy() for images in model(inputs)]
    found = _run(path, inputs)
    return max(float(np.abs(a - b).max()) for a, b in zip(expected, found, strict=True))


def _write(
    model: nn.Module,
    shape: tuple[int, ...],
    path: Path,
    outputs: list[str],
    axes: dict[str, dict[int, str]],
) -> None:
    """Trace a network and write it; the file appears when it is whole."""
    part = path.with_name(f".{path.name}.part")
    with warnings.catch_warnings(), torch.inference_mode(), torch_only():
        # of the exporter by tracing, which needs no further package, and of sizes held constant,
        # which is what the check is for
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model.eval(),
            (torch.rand(shape, generator=torch.Generator().manual_seed(0)),),
            str(part),
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=outputs,
            dynamic_axes=axes,
        )
    graph = onnx.load(str(part))
    graph.ir_version = min(graph.ir_version, IR_VERSION)
    onnx.checker.check_model(graph)
    onnx.save(graph, str(part))
    part.replace(path)


def _run(path: Path, inputs: Tensor) -> list[NDArray[np.float32]]:
    """What ONNX Runtime gives on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails is raised, too
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    outputs: list[NDArray[np.float32]] = session.run(None, {"images": inputs.numpy()})
    return outputs


def _random_crops() -> list[NDArray[np.uint8]]:
    """Smooth noise of several sizes, the same each time."""
    rng = np.random.default_rng(0)
    return [
        resize(rng.integers(0, 256, (8, 4, 3), dtype=np.uint8), height, height // 2, FILTER)
        for height in range(40, 136, 6)
    ]
