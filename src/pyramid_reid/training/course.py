"""The course of a training: its steps since the last checkpoint, its loss curve, and divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from tqdm import tqdm

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import progress
from pyramid_reid.training.checkpoints import Checkpoints

Log = Callable[[int, Mapping[str, float]], None]
"""Takes a step, from 1, and its figures."""


class Stateful(Protocol):
    """A part of a training that a checkpoint holds: network, optimiser, …."""

    def state_dict(self) -> Any:
        """Its state, of tensors and plain values."""

    def load_state_dict(self, state_dict: Any, /) -> Any:
        """Take a state back."""


@dataclass(frozen=True, slots=True)
class Seeded:
    """A generator of random numbers as a part of a training."""

    generator: torch.Generator

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Where its sequence stands."""
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Go on from there."""
        self.generator.set_state(state_dict["state"])


@dataclass(frozen=True, slots=True)
class Bounds:
    """When a training has diverged, and what to do then.

    Attributes:
        worst: a loss from which it does not come back.
        remedy: which params to change, for the message.
    """

    worst: float
    remedy: str


class Course:
    """The steps of one training (epochs or iterations), resumed and watched.

        course = Course(…)
        for step in course:
            …
            course.log(loss=…)
        return course.curve

    A step that `saves` is followed by a checkpoint; the last checkpoint holds only what is `kept`,
    for nothing goes on from it.

    Args:
        checkpoints: of this training; the last of them is loaded into the parts.
        log: gets each point of the curve; those behind a checkpoint again, as live curves begin
            anew with each process.
        unit: of a step: epoch, iteration.
        steps: in all.
        every: steps between checkpoints.
        kept: parts of which the result is made, by name.
        resumed: parts that only going on needs.
        bounds: of a loss that is no longer one.
        bar: what the progress bar counts, how many there are in a step, and its title.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        log: Log,
        *,
        unit: str,
        steps: int,
        every: int,
        kept: Mapping[str, Stateful],
        resumed: Mapping[str, Stateful],
        bounds: Bounds,
        bar: tuple[str, int, str],
    ) -> None:
        self._checkpoints, self._log, self._unit = checkpoints, log, unit
        self._steps, self._every = steps, every
        self._kept, self._resumed, self._bounds = kept, resumed, bounds
        self._step = self._saved = 0
        self.curve: list[dict[str, float]] = []
        self._load()
        counted, in_step, title = bar
        self._bar: tqdm[None] = progress(
            (), title, counted, total=steps * in_step, initial=self._step * in_step
        )

    def __iter__(self) -> Iterator[int]:
        """The steps that are left, from 1, each followed by its checkpoint."""
        while self._step < self._steps:
            self._step += 1
            yield self._step
            if self.saves():
                self._save()
        self._bar.close()

    @property
    def step(self) -> int:
        """The step that runs, or the last that was finished; 0 before the first."""
        return self._step

    def saves(self) -> bool:
        """Whether this step is followed by a checkpoint."""
        return self._step % self._every == 0 or self._step == self._steps

    def advance(self, number: int) -> None:
        """Move the bar by so many of what it counts."""
        self._bar.update(number)

    def log(self, *, loss: float, unkept: Mapping[str, float] = {}, **figures: float) -> None:
        """Add this step to the curve.

        Args:
            unkept: figures that differ from run to run, such as the speed: logged, but no part of
                the curve.

        Raises:
            UserError: the loss is no number or out of bounds; the last good checkpoint stays.
        """
        if not math.isfinite(loss) or loss >= self._bounds.worst:
            raise UserError(self._diverged(loss, figures))
        point = {"loss": loss, **figures}
        self.curve.append({self._unit: self._step, **point})
        self._log(self._step, {**point, **unkept})
        shown = {name: f"{value:.4g}" for name, value in point.items()}
        self._bar.set_postfix(shown, refresh=False)

    def _diverged(self, loss: float, figures: Mapping[str, float]) -> str:
        kept = (
            f"the last good checkpoint, of {self._unit} {self._saved}, is {self._checkpoints.path}"
            if self._saved
            else "no checkpoint was written before"
        )
        rate = f" at learning rate {figures['lr']:.4g}" if "lr" in figures else ""
        return (
            f"the loss is {loss:.4g} in {self._unit} {self._step}{rate}: {self._bounds.remedy}"
            f" ({kept})"
        )

    def _load(self) -> None:
        state = self._checkpoints.load()
        if state is None:
            return
        self._step = self._saved = state["step"]
        self.curve = state["curve"]
        finished = self._step == self._steps
        for name, part in {**self._kept, **({} if finished else self._resumed)}.items():
            part.load_state_dict(state[name])
        for point in self.curve:
            self._log(
                int(point[self._unit]), {name: point[name] for name in point if name != self._unit}
            )

    def _save(self) -> None:
        parts = {**self._kept, **(self._resumed if self._step < self._steps else {})}
        states = {name: part.state_dict() for name, part in parts.items()}
        self._checkpoints.save({"step": self._step, "curve": self.curve, **states})
        self._saved = self._step
