"""A Ray Data pipeline: jobs in, what workers make of them out, whatever dies meanwhile."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.search import description
from pyramid_reid.search.cluster import connection

if TYPE_CHECKING:
    from pyramid_reid.search.model import Model

ROUND = 10_000
"""Jobs of one pipeline; each starts its processes anew, so that what they are sent stays small."""
AT_ONCE = 2
"""Jobs that a process works on: one is read while the networks are at another."""
SENT = 4
"""Jobs that are with a process, which never waits for the next one. Ray Data takes twice `AT_ONCE`
for a reason to start further processes, where a machine joins that has room for them."""

Result = TypeVar("Result")
Column = Annotated[NDArray[np.object_], "N"]
Make = Callable[[], Callable[[Any], Any]]
"""Runs once in each process, and gives what makes something of a job."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What was made of a job, or why nothing could be."""

    made: Any = None
    problem: str | None = None


class Worker:
    """A process on a machine of the cluster.

    Args:
        code: of the driver's package.
    """

    def __init__(self, code: str, make: Make) -> None:
        self._problem: str | None = None
        if connection.code() != code:
            self._problem = (
                "has another version of pyramid-reid than the machine where the command was given:"
                " install the same on every machine"
            )
        else:
            self._work = make()

    def __call__(self, batch: dict[str, Column]) -> dict[str, Column]:
        """The answer to each job."""
        return {"answer": objects([self._answer(job) for job in batch["job"]])}

    def _answer(self, job: Any) -> Answer:
        try:
            if self._problem is None:
                return Answer(self._work(job))
            problem = self._problem
        except UserError as error:
            problem = str(error)
        return Answer(problem=f"{socket.gethostname()}: {problem}")


def objects(items: Sequence[Any]) -> Column:
    """A column of objects, which Ray sends as they are."""
    column = np.empty(len(items), object)
    column[:] = items
    return column


def made(ray: ModuleType, jobs: Sequence[Any], make: Make, device: str) -> Iterator[Any]:
    """What workers make of jobs, in the order in which they end; of each job once.

    Ray starts a process that dies anew, here or on another machine, with the jobs that it held. On
    machines that join, further processes start.

    Raises:
        UserError: a worker cannot work.
    """
    for start in range(0, len(jobs), ROUND):
        some = jobs[start : start + ROUND]
        share = connection.share(ray, device)
        dataset = ray.data.from_items(
            [{"job": job} for job in some], override_num_blocks=len(some)
        ).map_batches(
            Worker,
            fn_constructor_args=(connection.code(), make),
            batch_size=None,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(
                min_size=1,
                initial_size=max(1, min(share.number, len(some))),
                max_tasks_in_flight_per_actor=SENT,
                max_concurrent_calls_per_actor=AT_ONCE,
                enable_true_multi_threading=True,
            ),
            num_cpus=share.cores,
            num_gpus=share.gpus,
        )
        for row in dataset.iter_rows():
            answer: Answer = row["answer"]
            if answer.problem is not None:
                raise UserError(answer.problem)
            yield answer.made


@dataclass(frozen=True, slots=True)
class Loader:
    """Loads a model on a machine of the cluster, with the cores that Ray gives the process.

    Attributes:
        features: which the driver's model gives.
    """

    folder: Path
    features: str
    device: str

    def __call__(self) -> Model:
        """The model.

        Raises:
            UserError: it is not there, or another one.
        """
        # threads that wait for each other sleep soon: readers need the cores
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        import ray
        import torch

        from pyramid_reid.search import model

        if description.read(self.folder).features != self.features:
            raise UserError(f"{self.folder} is another model here than where the command was given")
        given = ray.get_runtime_context().get_assigned_resources()
        torch.set_num_threads(max(1, int(given.get("CPU", 1))))
        return model.load(self.folder, self.device)


def once(load: Callable[[], Result]) -> Callable[[], Result]:
    """`load`, which is called when its result is first needed, and not by two threads."""
    lock, cached = Lock(), cache(load)

    def locked() -> Result:
        with lock:
            return cached()

    return locked
