"""A training's figures while it runs, written by dvclive for `dvc plots show` and editors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from dvclive.live import Live

from pyramid_reid.core.runtime import is_main
from pyramid_reid.training.course import Log


class LiveCurves:
    """A folder with `plots/metrics/NAME.tsv` per figure and the last values in `metrics.json`.

    Only the main process writes. The folder is no stage's output, as it holds what differs from
    run to run, such as the speed. It begins anew with each training; one that goes on from a
    checkpoint logs again what it has behind it, as a killed one may have logged more.
    """

    def __init__(self, folder: Path) -> None:
        # dvclive would write a dvc.yaml and save an experiment: both are the pipeline's own
        self._live = Live(str(folder), dvcyaml=None, save_dvc_exp=False) if is_main() else None

    def log(self, step: int, figures: Mapping[str, float]) -> None:
        """Add a point to the curve of each figure; it is on disk when this returns.

        Args:
            step: epoch or iteration, from 1.
        """
        if self._live is None:
            return
        self._live.step = step
        for name, value in figures.items():
            self._live.log_metric(name, value)
        self._live.make_summary()  # type: ignore[no-untyped-call]


class MeanCurve:
    """The curve of a training that is done for several splits: their mean, rewritten as it grows.

    Args:
        file: the table; only the main process writes it.
        columns: of the table, the step first.
    """

    def __init__(self, file: Path, columns: Sequence[str]) -> None:
        self._file, self._columns = file, list(columns)
        self._points: list[dict[str, float]] = []

    def of_split(self, live: LiveCurves) -> Log:
        """What logs a split's training, here and in its live curves."""
        return partial(self._log, live)

    def _log(self, live: LiveCurves, step: int, figures: Mapping[str, float]) -> None:
        live.log(step, figures)
        self._points.append({self._columns[0]: step, **figures})
        self.write()

    def write(self) -> pd.DataFrame:
        """Write and return the mean over the splits so far, a row per step."""
        points = pd.DataFrame(self._points, columns=self._columns)
        mean = points.groupby(self._columns[0], as_index=False).mean()
        if is_main():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            mean.to_csv(self._file, index=False, lineterminator="\n", float_format="%.6f")
        return mean
