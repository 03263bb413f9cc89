"""The commands that make and use model folders: what each does, prints, and ends with."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from pyramid_reid.core.errors import UserError

if TYPE_CHECKING:
    from pyramid_reid.search.restoring import Report

DONE, PARTLY = 0, 3
"""What commands end with: 3 where files could not be read; `main` makes 2 of errors."""


def pack(given: argparse.Namespace) -> int:
    """`pyramid-reid pack`."""
    from pyramid_reid.search import starting

    made = starting.pack_start(
        given.start, given.model, given.height, given.width, given.restorer, given.out
    )
    if given.json:
        print(json.dumps(made.model_dump(mode="json"), sort_keys=True))
    else:
        network = made.branches["ori"]
        print(
            f"{given.out}: {network.network} at {network.height}x{network.width} in every branch,"
            f" trained on {network.trained_on}; restorer {made.restorer.extractor}. Licence:"
            f" {network.licence}. Read {given.out}/README.md before you use it."
        )
    return DONE


def restore(given: argparse.Namespace) -> int:
    """`pyramid-reid restore`."""
    scales = None if given.scales is None else _numbers(given.scales)
    report = _restored(given, scales)
    if given.json:
        print(json.dumps({**report.to_json(), "out": str(given.out)}))
    else:
        print("\n".join(report.lines(given.out)))
    return PARTLY if report.problems else DONE


def _restored(given: argparse.Namespace, scales: list[int] | None) -> Report:
    if given.ray is None:
        from pyramid_reid.search import model, restoring

        loaded = model.load(given.model, given.device)
        return restoring.restore(loaded, given.images, given.out, scales)
    from pyramid_reid.search.cluster import connection

    connection.check_device(given.device)
    with connection.connected(given.ray) as ray:
        from pyramid_reid.search.cluster import restoring as clustered

        return clustered.restore(ray, given.model, given.device, given.images, given.out, scales)


def export(given: argparse.Namespace) -> int:
    """`pyramid-reid export`."""
    from pyramid_reid.search import exporting

    crops = _crops(given.crops) if given.crops else []
    told = []
    for exported in exporting.export(given.model, given.onnx, crops):
        told.append(exported.to_json())
        if not given.json:
            print(exported.line(), flush=True)
    if given.json:
        print(json.dumps({"files": told, "folder": str(given.onnx)}))
    return DONE


def _crops(folder: Path) -> list[Path]:
    """The first images of a folder, to try networks on."""
    from pyramid_reid.datasets.layout import SUFFIXES

    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if len(found) < 2:
        raise UserError(f"--crops: {folder} holds {len(found)} images, and a ranking needs two")
    return found[:64]


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UserError(f"--scales {text}: give whole numbers, as 2,3,4") from error
