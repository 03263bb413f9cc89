"""Fuse the branches' distances and report Rank-k, mAP and mINP. Imports no torch."""

from _stage import crops_of, run

# isort: split

from pathlib import Path

from pyramid_reid.core import crops, protocol_record
from pyramid_reid.core.params import BRANCHES, Params
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.core.tables import write_csv, write_json
from pyramid_reid.evaluation import pictures, queries, ranked_lists, rankings, validation
from pyramid_reid.retrieval.rerank import Rerank

METRICS, UNCERTAINTY = Path("metrics/fusion.json"), Path("metrics/uncertainty.json")
QUERIES = Path("data/evaluation/queries.csv")
CALIBRATION = Path("data/evaluation/calibration.json")
CMC, PLOTS = Path("plots/cmc"), Path("plots/evaluation")


def main(params: Params) -> str:
    """Write the figures, their uncertainty, what each query reached, and pictures."""
    settings, weights = params.evaluation, params.fusion.weights
    folders = {branch: Path("data/distances") / branch for branch in BRANCHES}
    recorded = protocol_record.read(crops_of("ori"))
    rule = protocol_record.evaluation_rule(settings.rule, recorded)
    judging = rankings.Judging(rule, settings.draws, params.seed)
    rerank = Rerank(settings.k1, settings.k2, settings.lambda_value) if settings.rerank else None
    done = rankings.evaluate_splits(folders, weights, judging, rerank)
    metrics = rankings.report(done)
    write_json(METRICS, metrics)

    per_query = queries.table(done)
    write_csv(QUERIES, per_query)
    seed = derive_seed(params.seed, "uncertainty")
    told = queries.uncertainty(per_query, settings.resamples, seed)
    told["queries_without_match"] = sum(len(split.query) for split in done) - len(per_query)
    write_json(UNCERTAINTY, told)
    pictures.uncertainty(PLOTS / "uncertainty.png", metrics, told)

    curves = rankings.cmc_curves(done)
    pictures.cmc(CMC / "cmc.png", curves)
    write_csv(CMC / "cmc.csv", curves)
    tables = queries.by_resolution(per_query)
    pictures.resolution(PLOTS / "resolution.png", tables)
    for figure, table in tables.items():
        write_csv(PLOTS / f"resolution_{figure}.csv", table)

    calibrated = validation.calibrate(folders, weights)
    write_json(CALIBRATION, calibrated.to_json())
    validation.draw(PLOTS / "reliability.png", calibrated)
    if calibrated.fitted:
        write_csv(PLOTS / "reliability.csv", calibrated.bins)
        write_csv(PLOTS / "thresholds.csv", calibrated.errors)

    first = done[0]
    store = crops.CropStore(crops_of("ori") / first.name)
    in_split = {branch: folder / first.name for branch, folder in folders.items()}
    lists = ranked_lists.lists(first, in_split, store, weights, rule)
    ranked_lists.draw(PLOTS / "ranked_lists.png", lists)
    fused = metrics["fused"]
    figures = f"fused Rank-1 {fused['rank1']:.1f} %, mAP {fused['mAP']:.1f} %"
    return f"{figures}; {queries.said_of_galleries(done, per_query)}; all in {METRICS}"


if __name__ == "__main__":
    run(main)
