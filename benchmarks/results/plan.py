"""Which experiments are run on real crops, and which rows of the table come from them."""

from __future__ import annotations

from typing import Literal

from benchmarks.results.comparison import Row
from benchmarks.results.records import CHOSEN_WEIGHTS, FIXED_WEIGHTS

SHARED: dict[str, object] = {
    "threads": 1,
    "reid.validation_identities": 5,
    "reid.batch_size": 32,
    "reid.epochs": 30,
    "restoration.iterations": 300,
    "restoration.han_light": "{groups:2,blocks:3,dim:32}",
}
"""Params of all rows, beside the committed ones: a budget for one CPU core, from scratch,
so that a machine runs as many experiments at once as it has cores."""

FOLDERS = {"caviar4reid": "CAVIAR4REID", "prid2011": "prid_2011/single_shot"}
"""Where a set lies below $PYRAMID_REID_DATA."""

SETS: dict[str, dict[str, object]] = {
    "caviar4reid": {},
    "prid2011": {"reid.validation_identities": 20, "reid.epochs": 60},
}
"""Params of all rows of a set."""

EXPERIMENTS: dict[str, dict[str, object]] = {
    "seeds": {"restoration.extractor": "identity", "reid.mixed_resolution": 0.0},
    # with the pyramid of the one before, so that only ori is trained
    "mixed": {"restoration.extractor": "identity", "reid.mixed_resolution": 0.5},
    "bicubic": {"restoration.extractor": "bicubic", "reid.mixed_resolution": 0.0},
    "swinir": {"restoration.extractor": "swinir_light", "reid.mixed_resolution": 0.0},
    "han": {"restoration.extractor": "han_light", "reid.mixed_resolution": 0.0},
}
"""What differs between the experiments. Each sets the same keys, so that their order is free."""

QUICK: dict[str, object] = {
    "reid.height": 32,
    "reid.width": 16,
    "reid.epochs": 2,
    "reid.warmup_epochs": 1,
    "restoration.iterations": 5,
    "sweep.step": 0.25,
}
"""Put in their place to try the programs; the figures mean nothing."""

PAPER: dict[str, object] = {
    "device": "cuda",
    "restoration.head_dim": 64,
    "restoration.iterations": 5000,
    "restoration.lr": 2.0e-4,
    "generation.batch_pixels": 131072,
    "reid.model": "osnet_x1_0",
    "reid.height": 256,
    "reid.width": 128,
    "reid.batch_size": 64,
    "reid.epochs": 250,
    "reid.lr": 1.5e-3,
}
"""Put in their place for the paper's size on a GPU, where the extractors are the large ones."""

Size = Literal["cpu", "quick", "paper"]

ORI = Row("ori alone", "seeds", "ori")
MIXED = Row("ori, mixed resolutions", "mixed", "ori")
CONTROL = Row("four seeds of ori", "seeds", "equal")
PYRAMIDS = {
    "seeds": CONTROL.name,
    "bicubic": "bicubic pyramid",
    "swinir": "SwinIR pyramid",
    "han": "HAN pyramid",
}
"""What the fusion of all branches of an experiment is called."""

SEEDS = [Row(f"ori alone, seed {n}", "seeds", f"h{n - 1}") for n in (2, 3, 4)]
"""The same network as `ORI` by other luck: what a difference between two rows may be due to."""

ALONE = [
    Row(f"{name} ×{n + 1} alone", experiment, f"h{n}")
    for name, experiment in (("bicubic", "bicubic"), ("SwinIR", "swinir"), ("HAN", "han"))
    for n in (1, 2, 3)
]
"""A single enlarged or restored branch."""

FUSED = [Row(name, experiment, "equal") for experiment, name in PYRAMIDS.items()]
"""Fusions with equal weights."""

ROWS = [ORI, *SEEDS, MIXED, *ALONE, *FUSED]
"""Rows of the first two tables."""

WEIGHTED = {
    scheme: [Row(name, experiment, scheme) for experiment, name in PYRAMIDS.items()]
    for scheme in (*FIXED_WEIGHTS, *CHOSEN_WEIGHTS)
}
"""Every fusion, the control first, by its weights."""

PUBLISHED: dict[str, dict[str, tuple[float, float, float | None]]] = {
    "caviar4reid": {
        "ResNet-50": (29.6, 64.0, None),
        "RAIN": (42.0, 77.3, 89.6),
        "INTACT": (44.0, 81.8, 93.9),
        "PS-HRNet": (48.2, 84.5, 96.3),
    },
    "prid2011": {},
}
"""Published Rank-1, 5 and 10 in percent, as the authors of PS-HRNet list them in their repository
(github.com/NUISTGY/PS-HRNet). No method publishes figures on MLR-PRID2011 there."""


def settings(data: str, experiment: str, size: Size) -> dict[str, object]:
    """Params of an experiment that differ from the committed ones, but for folder and splits."""
    other: dict[str, object] = {"cpu": {}, "quick": QUICK, "paper": PAPER}[size]
    given = {"data.name": data} | SHARED | SETS[data] | other | EXPERIMENTS[experiment]
    if size == "paper":
        given["restoration.extractor"] = str(given["restoration.extractor"]).removesuffix("_light")
    return given
