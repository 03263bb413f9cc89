"""Train E and RC on the training identities' high-resolution crops; judge on the others'."""

import _threads  # noqa: F401
from _stage import run

# isort: split

import json
from pathlib import Path

import pandas as pd

from pyramid_reid import crops, figures
from pyramid_reid.checkpoints import Checkpoints, digest
from pyramid_reid.params import Params
from pyramid_reid.restoration import pyramid, quality
from pyramid_reid.restoration.pairs import high_resolution
from pyramid_reid.restoration.training import train
from pyramid_reid.runtime import derive_seed, start_torch

CROPS, OUT = Path("data/crops"), Path("data/models/reconstructor")
METRICS, PLOTS = Path("metrics/reconstructor.json"), Path("plots/reconstructor")


def main(params: Params) -> str:
    """Write a network per split, PSNR and SSIM beside bicubic, and the loss curve."""
    restoration, device = params.restoration, start_torch(params.device, params.threads)
    settings = params.model_dump(include={"seed", "threads", "device", "restoration"})
    curves, measured = [], []
    for split in crops.splits(CROPS):
        key = digest(settings, CROPS / split)
        checkpoints = Checkpoints(Path("data/checkpoints/reconstructor") / split, key)
        store = crops.CropStore(CROPS / split)
        seen = high_resolution(store, restoration.scales, test=False)
        unseen = high_resolution(store, restoration.scales, test=True)
        seed = derive_seed(params.seed, "reconstructor", split)
        model, curve = train(seen, restoration, seed, device, checkpoints)
        pyramid.save(OUT / split / "model.safetensors", model)
        curves.append(curve)
        measured.append(quality.measure(model, unseen))
    mean = pd.concat(curves).groupby("iteration", as_index=False).mean()
    figures.training(PLOTS / "loss.png", mean, "iteration", "Reconstructor", figures.COLORS["h2"])
    mean.to_csv(PLOTS / "loss.csv", index=False, lineterminator="\n", float_format="%.6f")
    summary = quality.summary(pd.concat(measured))
    figures.restoration(PLOTS / "psnr.png", summary)
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
    gains = ", ".join(
        f"{name} {row['psnr']:.2f} dB (bicubic {row['psnr_bicubic']:.2f})"
        for name, row in summary.items()
    )
    return f"{len(curves)} network(s) in {OUT}; on unseen people {gains}"


if __name__ == "__main__":
    run(main)
