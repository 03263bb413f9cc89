"""Draw the synthetic set, fetch a public one, or take a folder; list its images with hashes."""

from _stage import image_folder, run

# isort: split

import shutil
from pathlib import Path

import pandas as pd

from pyramid_reid.core import raw_set
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Data, Params
from pyramid_reid.datasets import layout
from pyramid_reid.datasets.registry import DATASETS

OUT, DOWNLOADS = Path("data/raw"), Path("data/downloads")


def downloaded(data: Data) -> Path:
    """Fetch and unpack a set, once; its folder. It is no out, so that no failure loses it."""
    dataset, folder = DATASETS[data.name], DOWNLOADS / data.name
    url = data.url or (dataset.source.url if dataset.source else None)
    if url is None:
        raise UserError(
            f"data.name: {data.name} cannot be downloaded: {dataset.why_not} ({dataset.page}); give"
            " its folder as data.root, or an address as data.url"
        )
    known_hash = dataset.source.known_hash if dataset.source and not data.url else None
    if data.sha256 is not None:
        known_hash = f"sha256:{data.sha256}"
    from pyramid_reid.datasets import (
        fetch,  # loads an HTTP client, which a set on disk can do without
    )

    archive = fetch.fetch(url, known_hash, folder, dataset.page)
    fetch.install(archive, dataset.marks, folder / "set")
    return folder / "set"


def main(params: Params) -> str:
    """Write `images.csv`, a row per image; the images of a real set stay where they are."""
    data = params.data
    dataset, folder = DATASETS[data.name], image_folder(data.root, data.name)
    shutil.rmtree(OUT, ignore_errors=True)
    if data.name == "synthetic":
        from pyramid_reid.datasets.synthetic import draw  # loads SciPy

        draw.write(folder, params.seed, data.identities, data.images_per_camera)
        root = folder
    else:
        root = Path(data.root) if data.root else downloaded(data)
    images = dataset.read(root, data.variant or data.camera_pattern)
    OUT.mkdir(parents=True, exist_ok=True)
    if dataset.extract:
        dataset.extract(root, data.variant, folder)
    if dataset.test_sets:
        rows = [(k, pid) for k, pids in enumerate(dataset.test_sets(root)) for pid in pids]
        pd.DataFrame(rows, columns=["split", "pid"]).to_csv(OUT / raw_set.TEST_SETS, index=False)
    table = layout.record(folder, images)
    table.to_csv(OUT / raw_set.IMAGES, index=False, lineterminator="\n")
    names, said = layout.names(images), ""
    for note in layout.name_notes(names):
        print(f"download: note: {note}", flush=True)
    for name, rows, what in (
        (raw_set.NAMES, names, "numbers of names"),
        (raw_set.FURTHER, layout.further(images), "further columns"),
    ):
        if len(rows):
            rows.to_csv(OUT / name, index=False, lineterminator="\n")
            said += f", {what} in {OUT / name}"
    return f"{len(table)} images of {table.pid.nunique()} people in {folder}, listed in {OUT}{said}"


if __name__ == "__main__":
    run(main)
