"""Try all fusion weights on a grid; pick the best on validation, and the best on test data."""

from _stage import crops_of, run

# isort: split

from pathlib import Path

from pyramid_reid.core import protocol_record
from pyramid_reid.core.params import BRANCHES, Params
from pyramid_reid.core.tables import write_csv, write_json
from pyramid_reid.evaluation import pictures, weight_sweep
from pyramid_reid.evaluation.rankings import Judging

METRICS, OUT = Path("metrics/weights.json"), Path("data/weights")
PICTURE = Path("plots/weights.png")


def main(params: Params) -> str:
    """Write the figures of equal, chosen and best weights, and those of the whole grid."""
    folders = {branch: Path("data/distances") / branch for branch in BRANCHES}
    recorded = protocol_record.read(crops_of("ori"))
    rule = protocol_record.evaluation_rule(params.evaluation.rule, recorded)
    judging = Judging(rule, params.evaluation.draws, params.seed)
    surface, chosen = weight_sweep.sweep(folders, judging, params.sweep.step)
    write_json(METRICS, chosen)
    pictures.weights(PICTURE, surface, chosen)
    write_csv(OUT / "surface.csv", surface)
    write_csv(OUT / "reachable.csv", weight_sweep.reachable(surface))
    told = ", ".join(f"{name} {figures['mAP']:.1f}" for name, figures in chosen.items())
    return f"mAP of {len(surface)} weights: {told}; all in {METRICS}"


if __name__ == "__main__":
    run(main)
