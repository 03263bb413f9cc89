"""Calibration from distance files: pairs of validation identities of all splits, never of test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.figures import COLORS, plot, save
from pyramid_reid.evaluation.calibration import Fit, errors_at, fit, pairs, reliability
from pyramid_reid.evaluation.rankings import common_splits, distance_runs, labels
from pyramid_reid.evaluation.weight_sweep import VALIDATION
from pyramid_reid.retrieval.fusion import fuse
from pyramid_reid.retrieval.metrics import Rule

AT_MOST = 10**6
"""Pairs of different people of a split that are kept, taken at even steps: more change nothing."""

THRESHOLDS = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Probabilities at which errors are counted."""

DIGITS = 6
"""Decimals that are written of what was fitted."""

NONE_HELD_OUT = (
    "no validation identities were held out of training (reid.validation_identities is 0), and on"
    " test identities nothing is fitted"
)


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What was fitted, or why nothing was.

    Attributes:
        fitted: None where `why_none` says why.
        errors, bins: of the same pairs, as `errors_at` and `reliability` give them; empty without
            a fit.
    """

    fitted: Fit | None
    why_none: str | None
    errors: pd.DataFrame
    bins: pd.DataFrame

    def to_json(self) -> dict[str, Any]:
        """As it is written for `pack_model`."""
        thresholds = self.errors.round(DIGITS).to_dict("records")
        fitted = None if self.fitted is None else asdict(self.fitted)
        return {"calibration": fitted, "why_none": self.why_none, "thresholds": thresholds}


def calibrate(folders: Mapping[str, Path], weights: Mapping[str, float], rule: Rule) -> Calibrated:
    """Fit the probability of the same person on the fused distances of validation identities.

    Args:
        folders: of each branch's distances, with a subfolder per split.
        weights: of each branch; divided by their sum, so that distances lie in [0, 2].
        rule: by which rankings are judged; it says which pairs of a person count.

    Raises:
        UserError: the branches do not belong together, or a file is damaged.
    """
    splits = [f"{name}/{VALIDATION}" for name in common_splits(folders)]
    first = next(iter(folders.values()))
    held_out = [split for split in splits if (first / split).is_dir()]
    if not held_out:
        return Calibrated(None, NONE_HELD_OUT, pd.DataFrame(), pd.DataFrame())
    total = sum(weights.values())
    shares = {branch: weight / total for branch, weight in weights.items()}
    found = [_of_split(folders, split, shares, rule) for split in held_out]
    same, different = (np.concatenate([each[kind] for each in found]) for kind in (0, 1))
    identities = len(set().union(*(each[2] for each in found)))
    try:
        fitted = fit(same, different, identities)
    except UserError as error:
        return Calibrated(None, str(error), pd.DataFrame(), pd.DataFrame())
    fitted = Fit(
        round(fitted.slope, DIGITS),
        round(fitted.intercept, DIGITS),
        identities,
        fitted.same_pairs,
        fitted.different_pairs,
    )
    errors = errors_at(THRESHOLDS, fitted, same, different)
    return Calibrated(fitted, None, errors, reliability(fitted, same, different))


def _of_split(
    folders: Mapping[str, Path], split: str, shares: Mapping[str, float], rule: Rule
) -> tuple[NDArray[np.float32], NDArray[np.float32], set[int]]:
    """Fused distances of the same and of different people in a split, and its people."""
    query, gallery = labels({branch: folder / split for branch, folder in folders.items()})
    files = {branch: folder / split / "distmat.npy" for branch, folder in folders.items()}
    step = -(-len(query) * len(gallery) // AT_MOST)
    same, different, seen = [], [], 0
    for start, parts in distance_runs(files, len(query), len(gallery)):
        try:
            fused = fuse(parts, shares)
        except ValueError as error:
            raise UserError(f"{split}: {error}; run `dvc repro`") from error
        kinds = pairs(fused, query.iloc[start : start + len(fused)], gallery, rule)
        same.append(kinds[0])
        different.append(kinds[1][-seen % step :: step])
        seen += len(kinds[1])
    return np.concatenate(same), np.concatenate(different), set(query.pid)


def draw(path: Path, calibrated: Calibrated) -> None:
    """Draw stated against observed probability and both errors, or that there is neither."""
    if calibrated.fitted is None:
        figure, axes = plot(2.0, "", "", "Probability of the same person: not calibrated")
        axes.set_axis_off()
        said = str(calibrated.why_none).replace("; ", ";\n").replace(", and", ",\nand")
        axes.text(0, 0.5, said, transform=axes.transAxes, va="center", fontsize="small")
        save(figure, path)
        return
    save(_reliability(calibrated), path)


def _reliability(calibrated: Calibrated) -> Figure:
    bins = calibrated.bins
    identities = calibrated.fitted.identities if calibrated.fitted else 0
    title = f"Pairs of {identities} validation identities, both kinds weighing the same"
    figure, axes = plot(
        4.2, "stated probability of the same person", "observed share of same pairs", title
    )
    axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", label="as stated")
    axes.plot(bins.stated, bins.observed, color=COLORS["fused"], marker="o", label="observed")
    errors = calibrated.errors
    for name, label, branch, marker in (
        ("false_accepts", "different pairs taken for the same from here on", "ori", "^"),
        ("false_rejects", "same pairs not taken for it from here on", "h1", "v"),
    ):
        share = errors[name] / 100
        axes.plot(errors.probability, share, color=COLORS[branch], marker=marker, label=label)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(frameon=False, fontsize="small")
    return figure
