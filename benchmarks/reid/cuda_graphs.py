"""Training on a GPU with its passes recorded as CUDA graphs, and operation by operation.

    python -m benchmarks.reid.cuda_graphs

Random images, 256×128, four epochs each; of images per second the least and most of epochs 2 to 4.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core.runtime import pin_environment, start_torch  # noqa: E402

pin_environment(threads=1)

import numpy as np  # noqa: E402
import torch  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.errors import UserError  # noqa: E402
from pyramid_reid.core.params import load  # noqa: E402
from pyramid_reid.reid.training import loop  # noqa: E402
from pyramid_reid.training.checkpoints import Checkpoints  # noqa: E402

CROPS, PEOPLE, SIZE = 512, 32, (256, 128)
NETWORKS = {"osnet_x0_25": 32, "osnet_x1_0": 64}
"""Batch size by network."""


@contextmanager
def nothing(*_: object) -> Iterator[None]:
    """In the place of `replayed`."""
    yield


def measure(device: torch.device, network: str, size: int) -> tuple[list[float], list[float]]:
    """Images per second of epochs 2 to 4, and the loss of all epochs."""
    images = np.random.default_rng(0).integers(0, 256, (CROPS, *SIZE, 3), dtype=np.uint8)
    params = load(ROOT / "params.yaml").reid.model_copy(
        update={"model": network, "batch_size": size, "epochs": 4, "warmup_epochs": 1, "lr": 1e-3}
    )
    speeds: list[float] = []

    def log(_: int, figures: Mapping[str, float]) -> None:
        if "images_per_s" in figures:
            speeds.append(figures["images_per_s"])

    with tempfile.TemporaryDirectory() as folder:
        place = Checkpoints(Path(folder), "key")
        pids = np.arange(CROPS) % PEOPLE
        _, curve = loop.train(images, pids, params, 0, device, place, log=log)
    return speeds[1:], curve.loss.tolist()


def main() -> None:
    """Print the table."""
    device = start_torch("cuda", 1)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}\n")
    print("| network | batch | passes | images/s | loss |\n|---|---|---|---|---|")
    recorded = loop.replayed
    for network, size in NETWORKS.items():
        for name, way in (("as graphs", recorded), ("operation by operation", nothing)):
            loop.replayed = way
            speeds, losses = measure(device, network, size)
            told = " ".join(f"{loss:.4f}" for loss in losses)
            print(
                f"| {network} | {size} | {name} | {min(speeds):.0f} to {max(speeds):.0f} | {told} |"
            )
    loop.replayed = recorded


if __name__ == "__main__":
    printing.end_when_lost()
    try:
        main()
    except UserError as error:
        sys.exit(f"cuda_graphs: {error}")
