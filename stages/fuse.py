"""Fuse the branches' distances and report Rank-k, mAP and mINP. Imports no torch."""

from _stage import crops_of, run

# isort: split

from pathlib import Path

from pyramid_reid.core import crops, protocol_record
from pyramid_reid.core.params import BRANCHES, Params
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.core.tables import write_csv, write_json
from pyramid_reid.evaluation import (
    mean_colour,
    pictures,
    queries,
    ranked_lists,
    rankings,
    validation,
)
from pyramid_reid.retrieval.rerank import Rerank

METRICS = Path("metrics/fusion.json")
OUT, PLOTS = Path("data/evaluation"), Path("plots/evaluation")


def main(params: Params) -> str:
    """Write the figures, their uncertainty, what each query reached, and pictures."""
    settings, weights = params.evaluation, params.fusion.weights
    folders = {branch: Path("data/distances") / branch for branch in BRANCHES}
    recorded = protocol_record.read(crops_of("ori"))
    rule = protocol_record.evaluation_rule(settings.rule, recorded)
    judging = rankings.Judging(rule, settings.draws, params.seed)
    reranking = Rerank(settings.k1, settings.k2, settings.lambda_value) if settings.rerank else None
    moved = {"centred": params.distances.centred, "whitened": params.distances.whitened}
    done = rankings.evaluate_splits(folders, weights, judging, reranking, **moved)
    metrics = rankings.report(done)
    stores = {split.name: crops.CropStore(crops_of("ori") / split.name) for split in done}
    colours = [
        mean_colour.of_split(store, rule, settings.draws, derive_seed(params.seed, "gallery", name))
        for name, store in stores.items()
    ]
    write_json(METRICS, metrics | {"mean_colour": rankings.means(colours)})

    per_query = queries.table(done)
    write_csv(OUT / "queries.csv", per_query)
    seed = derive_seed(params.seed, "uncertainty")
    told = queries.uncertainty(per_query, settings.resamples, seed)
    told["queries_without_match"] = sum(len(split.query) for split in done) - len(per_query)
    write_json(OUT / "uncertainty.json", told)
    pictures.uncertainty(PLOTS / "uncertainty.png", metrics, told)

    curves = rankings.cmc_curves(done)
    pictures.cmc(PLOTS / "cmc.png", curves)
    write_csv(OUT / "cmc.csv", curves)
    for figure, table in queries.by_resolution(per_query).items():
        write_csv(OUT / f"resolution_{figure}.csv", table)

    calibrated = validation.calibrate(folders, weights, rule)
    write_json(OUT / "calibration.json", calibrated.to_json())
    validation.draw(PLOTS / "reliability.png", calibrated)
    if calibrated.fitted:
        write_csv(OUT / "reliability.csv", calibrated.bins)
        write_csv(OUT / "thresholds.csv", calibrated.errors)

    first = done[0]
    in_split = {branch: folder / first.name for branch, folder in folders.items()}
    lists = ranked_lists.lists(first, in_split, stores[first.name], weights, rule)
    ranked_lists.draw(PLOTS / "ranked_lists.png", lists)
    fused = metrics["fused"]
    figures = f"fused Rank-1 {fused['rank1']:.1f} %, mAP {fused['mAP']:.1f} %"
    return f"{figures}; {queries.said_of_galleries(done, per_query)}; all in {METRICS}"


if __name__ == "__main__":
    run(main)
