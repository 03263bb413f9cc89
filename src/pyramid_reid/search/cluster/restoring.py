"""Restoring on a cluster: each worker reads, restores and writes the files of its jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path, PurePath
from types import ModuleType

from pyramid_reid.search import description, restoring
from pyramid_reid.search.cluster import pipeline
from pyramid_reid.search.restoring import Done, Report

IMAGES = 50
"""Of a job."""

Job = Mapping[PurePath, Path]


def restore(
    ray: ModuleType,
    folder: Path,
    device: str,
    inputs: Sequence[Path],
    out: Path,
    scales: Sequence[int] | None,
) -> Report:
    """`search.restoring.restore` on the machines of a cluster.

    Args:
        folder: the model's, under the same path on every machine; so are `inputs` and `out`.
        device: cpu, for a process per core, or cuda, for one per GPU.

    Raises:
        UserError: as there, or a machine cannot work.
    """
    folder, out = folder.absolute(), out.absolute()
    described = description.read(folder)

    def work(named: Job, wanted: Sequence[int]) -> Iterator[Done]:
        def make() -> Callable[[Job], Done]:
            load = pipeline.once(pipeline.Loader(folder, described.features, device))
            return lambda job: together(restoring.written(load(), job, out, wanted))

        given = {str(path.absolute()): str(path) for path in named.values()}
        rest = iter({name: path.absolute() for name, path in named.items()}.items())
        jobs = list(iter(lambda: dict(islice(rest, IMAGES)), {}))
        for done in pipeline.made(ray, jobs, make, device):
            problems = {given[path]: problem for path, problem in done.problems.items()}
            yield replace(done, problems=problems)

    return restoring.run(work, described, inputs, out, scales)


def together(parts: Iterator[Done]) -> Done:
    """What became of all images of a job."""
    whole = Done(0)
    for part in parts:
        whole.read += part.read
        whole.restored += part.restored
        whole.problems |= part.problems
    return whole
