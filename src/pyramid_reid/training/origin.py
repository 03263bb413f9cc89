"""What trained weights that a network starts from, as far as their file tells."""

from __future__ import annotations

import json
from pathlib import Path

import pooch

from pyramid_reid.training.weights_file import metadata

KEYS = ("network", "architecture")
"""Of the metadata of this project's networks: an OSNet's, and a reconstructor's."""


def unknown(name: str, sha256: str) -> dict[str, str]:
    """What is said of weights whose training nobody recorded: keys trained_on, licence, sha256.

    Args:
        name: of the file or folder, for a reader to recognise it by.
    """
    return {
        "trained_on": f"unknown ({name}, SHA-256 {sha256})",
        "licence": "unknown: ask whoever gave the file",
        "sha256": sha256,
    }


def of_file(name: str, path: Path) -> dict[str, str]:
    """As `unknown`, and what the weights themselves started from where their file tells it.

    Raises:
        UserError: the file is damaged.
    """
    return with_start(unknown(name, pooch.file_hash(path)), path)


def with_start(told: dict[str, str], path: Path) -> dict[str, str]:
    """What is told of weights, and of those that they started from.

    Raises:
        UserError: the file is damaged.
    """
    start = _start(path)
    if start is None:
        return told
    return told | {
        "trained_on": f"{told['trained_on']}, from weights of {start['trained_on']}",
        "licence": f"{told['licence']}. Start: {start['licence']}",
    }


def _start(path: Path) -> dict[str, str] | None:
    """The start in the metadata of this project's networks; others have none, or other keys."""
    for text in (metadata(path).get(key, "") for key in KEYS):
        try:
            start = json.loads(text)["start"]
            return {key: str(start[key]) for key in ("trained_on", "licence")}
        except (ValueError, TypeError, LookupError):
            continue
    return None
