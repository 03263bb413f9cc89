"""Draw the synthetic set, fetch a public one, or take a folder; list its images with hashes."""

from _stage import IMAGES, image_folder, run

# isort: split

import shutil
from pathlib import Path

import pandas as pd

from pyramid_reid.core import raw_set
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import OWN, Data, Params
from pyramid_reid.datasets import layout
from pyramid_reid.datasets.registry import DATASETS

OUT, DOWNLOADS = Path("data/raw"), Path("data/downloads")


def fetched(data: Data) -> Path | None:
    """The folder of a set that is fetched and unpacked; None for one that is in `data.root`.

    Raises:
        UserError: it is neither there nor can it be fetched.
    """
    dataset, folder = DATASETS[data.name], DOWNLOADS / data.name
    if data.url is None and (data.root != OWN or layout.fits(Path(OWN), dataset.marks)):
        return None
    url = data.url or (dataset.source.url if dataset.source else None)
    if url is None:
        raise UserError(
            f"data.name: {data.name} is not in {OWN} and cannot be downloaded: {dataset.why_not}"
            f" ({dataset.page}); give its folder as data.root, or an address as data.url"
        )
    known_hash = dataset.source.known_hash if dataset.source and not data.url else None
    if data.sha256 is not None:
        known_hash = f"sha256:{data.sha256}"
    from pyramid_reid.datasets import fetch  # loads an HTTP client

    archive = fetch.fetch(url, known_hash, folder, dataset.page)
    shutil.rmtree(folder / "unpacked", ignore_errors=True)  # of a run that was killed
    fetch.unpack(archive, folder / "unpacked")
    return fetch.folder_of_set(folder / "unpacked", dataset.marks)


def main(params: Params) -> str:
    """Write `images.csv`, a row per image; images in `data.root` stay where they are."""
    data, dataset = params.data, DATASETS[params.data.name]
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    if data.name == "synthetic":
        from pyramid_reid.datasets.synthetic import draw  # loads SciPy

        draw.write(IMAGES, params.seed, data.identities, data.images_per_camera)
        unpacked, root = None, IMAGES
    else:
        unpacked = fetched(data)
        root = unpacked or Path(data.root)
    images = dataset.read(root, data.variant or data.camera_pattern)
    if dataset.extract:
        dataset.extract(root, data.variant, IMAGES)
    if dataset.test_sets and (sets := dataset.test_sets(root, data.variant)):
        rows = [(k, pid) for k, pids in enumerate(sets) for pid in pids]
        pd.DataFrame(rows, columns=["split", "pid"]).to_csv(OUT / raw_set.TEST_SETS, index=False)
    if unpacked and not dataset.extract:
        unpacked.rename(IMAGES)
    shutil.rmtree(DOWNLOADS / data.name / "unpacked", ignore_errors=True)
    folder = image_folder(data.root)
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
