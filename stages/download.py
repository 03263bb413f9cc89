"""Draw the synthetic set, or record the folder of a real one, as a list of images with hashes."""

from _stage import image_folder, run

# isort: split

import shutil
from pathlib import Path

from pyramid_reid.datasets import DATASETS, raw, synthetic
from pyramid_reid.params import Params

OUT = Path("data/raw")


def main(params: Params) -> str:
    """Write `images.csv`, a row per image; the images of a real set stay where they are."""
    data = params.data
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    root = image_folder(data.root)
    if data.root is None:
        synthetic.write(root, params.seed, data.identities, data.images_per_camera)
    images = raw.record(root, DATASETS[data.name].read(root, data.variant))
    images.to_csv(OUT / "images.csv", index=False, lineterminator="\n")
    return f"{len(images)} images of {images.pid.nunique()} people in {root}, listed in {OUT}"


if __name__ == "__main__":
    run(main)
