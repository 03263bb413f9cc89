"""Made-up crops and models for the benchmarks of the search."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search import description
from pyramid_reid.search.description import Description

MADE = {"trained_on": "nothing", "licence": "MIT"}


def write_crops(folder: Path, number: int) -> list[Path]:
    """JPEG files of the sizes of people in a street, 110 to 290 pixels high."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for place in range(number):
        height = int(rng.integers(110, 290))
        width = int(height * rng.uniform(0.34, 0.44))
        coarse = rng.integers(40, 200, (height // 12 + 1, width // 12 + 1, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        noisy = np.asarray(image, np.float32) + rng.normal(0, 6, (height, width, 1))
        path = folder / f"c{place % 4 + 1}_{place // 20:05d}_{place:06d}.jpg"
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path, quality=90)
        paths.append(path)
    return paths


def describe(hashes: dict[str, str] | None = None) -> Description:
    """A description of four OSNet-x0.25 and bicubic restoration."""
    known = hashes or dict.fromkeys(("restorer", *BRANCHES), "0" * 64)
    branch = {**MADE, "network": "osnet_x0_25", "height": 256, "width": 128}
    return Description.model_validate_json(
        json_of(
            {
                "format": 1,
                "name": "made up",
                "restorer": {
                    **MADE,
                    "file": "restorer.safetensors",
                    "sha256": known["restorer"],
                    "extractor": "bicubic",
                    "scales": [2, 3, 4],
                },
                "branches": {
                    name: {**branch, "file": f"{name}.safetensors", "sha256": known[name]}
                    for name in BRANCHES
                },
                "weights": dict.fromkeys(BRANCHES, 0.25),
                "calibration": None,
                "why_no_calibration": "nothing was trained",
                "trained": {},
            }
        )
    )


def json_of(value: object) -> str:
    """As JSON."""
    import json

    return json.dumps(value)


def write_model(folder: Path) -> Path:
    """A model folder whose networks have random weights: speed does not depend on them."""
    from pyramid_reid.reid.network import osnet
    from pyramid_reid.restoration.network import reconstructor
    from pyramid_reid.restoration.network.reconstructor import Architecture

    folder.mkdir(parents=True)
    architecture = Architecture(size=None, head_dim=1, scales=(2, 3, 4))
    reconstructor.save(folder / "restorer.safetensors", reconstructor.build(architecture, 0).eval())
    for number, branch in enumerate(BRANCHES):
        network = osnet.build("osnet_x0_25", 4, seed=number)
        osnet.save(folder / f"{branch}.safetensors", network, "osnet_x0_25", 256, 128)
    hashes = {
        name: hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()
        for name in ("restorer", *BRANCHES)
    }
    description.write(folder, describe(hashes))
    return folder
