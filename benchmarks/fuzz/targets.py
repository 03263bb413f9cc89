"""All kinds of bad input."""

from __future__ import annotations

from benchmarks.fuzz.attempt import Target
from benchmarks.fuzz.handed_in import file_names, image_file, manifest_file, params_file, weights
from benchmarks.fuzz.written import checkpoint, crop_store, distances, model_file, tables

TARGETS: dict[str, tuple[Target, int]] = {
    "params.yaml": (params_file, 1500),
    "manifest": (manifest_file, 2500),
    "file names, links": (file_names, 500),
    "images": (image_file, 4000),
    "checkpoints": (checkpoint, 1000),
    "weights": (weights, 1000),
    "model files": (model_file, 300),
    "crop stores": (crop_store, 1000),
    "lists of images": (tables, 500),
    "distances": (distances, 500),
}
"""Of each kind of input, how it is made and how many are tried."""
