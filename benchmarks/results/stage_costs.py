"""Processor time of the stages that a command runs, whatever else the machine does meanwhile."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

POLL_S = 0.5
"""Between two looks: what a stage does after the last one is not counted."""


class StageCosts:
    """Samples the processes below this one while the context is open.

    Attributes:
        seconds: of user and system time on all cores, by stage (`train_reid ori`).
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._of_processes: dict[tuple[str, int], float] = {}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        for (stage, _), seconds in self._of_processes.items():
            self.seconds[stage] = round(self.seconds.get(stage, 0) + seconds, 1)

    def _watch(self) -> None:
        while not self._ended.wait(POLL_S):
            for process in psutil.Process().children(recursive=True):
                try:
                    stage, times = stage_of(process.cmdline()), process.cpu_times()
                except psutil.Error:  # it has ended since
                    continue
                if stage:
                    self._of_processes[stage, process.pid] = times.user + times.system


def stage_of(words: list[str]) -> str | None:
    """The stage that a process runs, by its command line; None where it is no stage."""
    for place, word in enumerate(words):
        if word.startswith("stages/") and word.endswith(".py"):
            return " ".join([Path(word).stem, *words[place + 1 :]])
    return None
