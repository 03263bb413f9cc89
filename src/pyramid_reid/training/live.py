"""A training's figures while it runs, kept by dvclive for `dvc plots show` and editors."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dvclive.live import Live

from pyramid_reid.core.runtime import is_main


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
