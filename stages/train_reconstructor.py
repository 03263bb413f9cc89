"""Train E and RC on high-resolution crops of training identities; evaluate on other people's."""

import _stage.threads  # noqa: F401
from _stage import run

# isort: split

import json
from pathlib import Path

import pandas as pd

from pyramid_reid.core import crops, figures, protocol_record
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params
from pyramid_reid.core.runtime import derive_seed, is_main, start_torch
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.restoration.training import patches, pictures, pretrained, quality
from pyramid_reid.restoration.training.loop import WATCHED, train, untrained
from pyramid_reid.training import origin, weights_file
from pyramid_reid.training.checkpoints import Checkpoints, digest
from pyramid_reid.training.distributed import join
from pyramid_reid.training.live import LiveCurves

CROPS, OUT = Path("data/crops"), Path("data/models/reconstructor")
METRICS, PLOTS = Path("metrics/reconstructor.json"), Path("plots/reconstructor")
STATES, LIVE = Path("data/checkpoints/reconstructor"), Path("data/live/reconstructor")
SHOWN = 4


def report(compared: pd.DataFrame, loss: pd.DataFrame, watched: pd.DataFrame, people: str) -> str:
    """Write metrics, tables and pictures; returns the figures in a line."""
    tables = {"loss": loss, "watched": watched, "height": quality.by_height(compared)}
    for name, table in tables.items():
        text = table.to_csv(index=False, lineterminator="\n", float_format="%.6f")
        (OUT / f"{name}.csv").write_text(text, encoding="utf-8")
    pictures.psnr_curve(PLOTS / "watched.png", watched, people)
    pictures.psnr_by_height(PLOTS / "height.png", tables["height"])
    summary = quality.summary(compared)
    figures.restoration(PLOTS / "psnr.png", summary)
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n")
    return ", ".join(
        f"{name} {row['psnr']:.2f} dB (bicubic {row['psnr_bicubic']:.2f})"
        for name, row in summary.items()
    )


def main(params: Params) -> str:
    """Write a network per split, PSNR and SSIM beside bicubic, curves and pictures."""
    restoration, device = params.restoration, join(start_torch(params.device, params.threads))
    settings = params.model_dump(include={"seed", "threads", "device", "restoration"})
    settings["degradation"] = protocol_record.read(CROPS).degradation
    start = None if restoration.pretrained is None else Path(restoration.pretrained)
    if start and is_main():
        weights_file.check_hash(start, restoration.pretrained_sha256, "restoration")
    ready = start if not restoration.iterations else None
    trained, compared = [], []
    for split in crops.splits(CROPS):
        store = crops.CropStore(CROPS / split)
        if restoration.learns and not ready and not store.rows("train"):
            raise UserError(
                f"no image of {split} has the role train: check the roles, or take a reconstructor"
                " that is there (restoration.iterations: 0 and restoration.pretrained)"
            )
        first = weights_file.of_split(start, split, "restoration") if start else None
        model = pretrained.finished(ready, split).to(device) if ready else None
        scales = model.architecture.scales if model else restoration.branch_scales
        inputs = [CROPS / split, *([first] if first else [])]
        key = digest(settings, *inputs, rooms=["protocol", "restoration"])
        states = Checkpoints(STATES / split, key)
        seed = derive_seed(params.seed, "reconstructor", split)
        camera_seed = seed if settings["degradation"] == "camera" else None
        seen, validation, unseen = (
            patches.of_roles(store, roles, scales, camera_seed)
            for roles in (patches.TRAIN, patches.VALIDATION, patches.TEST)
        )
        test = quality.judged(unseen)
        watched = quality.judged(validation or unseen, WATCHED)
        live = LiveCurves(LIVE / split)
        if model:
            trained.append(untrained(model, watched, live))
        else:
            trained.append(train(seen, watched, restoration, seed, device, states, live, first))
        if is_main():
            origin_of_start = origin.of_file(start.name, first) if start and first else None
            reconstructor.save(
                OUT / split / "model.safetensors",
                trained[-1].model,
                origin_of_start,
                trained=not ready,
            )
            compared.append(quality.compare(trained[-1].model, test))
            if len(trained) == 1:
                shown = quality.judged(unseen, SHOWN)
                pictures.sheet(PLOTS / "sheet.png", trained[-1].model, shown)
    if not is_main():
        return ""
    loss, curve = (
        pd.concat(tables).groupby("iteration", as_index=False).mean()
        for tables in ([each.loss for each in trained], [each.watched for each in trained])
    )
    people = "Validation people" if validation else "Test people: watched, nothing is chosen"
    gains = report(pd.concat(compared), loss, curve, people)
    return f"{len(trained)} network(s) in {OUT}; on unseen people {gains}"


if __name__ == "__main__":
    run(main)
