"""Fuse the branches' distances and report Rank-k, mAP and mINP. Imports no torch."""

from _stage import run

# isort: split

import json
from pathlib import Path

import pandas as pd

from pyramid_reid import evaluation, figures
from pyramid_reid.params import BRANCHES, Params

METRICS, CMC = Path("metrics/fusion.json"), Path("plots/cmc")


def main(params: Params) -> str:
    """Write `metrics/fusion.json` and the CMC curves."""
    folders = {branch: Path("data/distances") / branch for branch in BRANCHES}
    results = evaluation.evaluate_splits(folders, params.fusion.weights)
    metrics = evaluation.report(results)
    METRICS.parent.mkdir(exist_ok=True)
    METRICS.write_text(json.dumps(metrics, indent=2, sort_keys=True) + "\n")
    curves: pd.DataFrame = evaluation.cmc_curves(results)
    CMC.mkdir(parents=True, exist_ok=True)
    curves.to_csv(CMC / "cmc.csv", index=False, lineterminator="\n", float_format="%.4f")
    figures.cmc(CMC / "cmc.png", curves)
    fused = metrics["fused"]
    return f"fused Rank-1 {fused['rank1']:.1f} %, mAP {fused['mAP']:.1f} %; all in {METRICS}"


if __name__ == "__main__":
    run(main)
