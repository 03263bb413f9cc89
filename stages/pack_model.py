"""Pack restorer, OSNets and calibration as one folder for use without DVC. Imports no torch."""

from _stage import crops_of, run

# isort: split

from pathlib import Path

from pyramid_reid.core.params import Params
from pyramid_reid.search.packing import files

OUT = Path("data/model")
FOUND = files.Run(
    Path("data/models"),
    crops_of("ori"),
    Path("data/evaluation/calibration.json"),
    Path("metrics/fusion.json"),
)


def main(params: Params) -> str:
    """Write the model folder."""
    mirrored = params.distances.mirrored
    packed = files.pack(FOUND, OUT, params.data.name, params.fusion.weights, mirrored=mirrored)
    of = f", {packed.trained['split']} of {packed.trained['splits']}"
    calibrated = "calibrated" if packed.calibration else "not calibrated"
    return f"model of {packed.name}{of}, {calibrated}, in {OUT}"


if __name__ == "__main__":
    run(main)
