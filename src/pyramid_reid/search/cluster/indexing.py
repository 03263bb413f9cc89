"""Reading and embedding on a cluster, for `search.indexing.run`, which writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.search import description
from pyramid_reid.search.cluster import pipeline
from pyramid_reid.search.gallery import Frame
from pyramid_reid.search.indexing.embedding import Embeds, embedded, grouped
from pyramid_reid.search.indexing.intake import Intake, Work
from pyramid_reid.search.indexing.known import Known
from pyramid_reid.search.indexing.reading import Crop, Read, ahead, read
from pyramid_reid.search.store.rows import Box

CROPS = {"cpu": 50, "cuda": 300}
"""Of a job, at least, by what embeds them: seconds of a core, a part of a second of a GPU."""

Ids = NDArray[np.bytes_]


@dataclass(frozen=True, slots=True)
class Job:
    """Frames, and id and stamp of what the store had at the place of each of their crops."""

    frames: Sequence[Frame]
    were: Sequence[Sequence[tuple[str, str] | None]]


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a job.

    Attributes:
        reads: of each frame, without pixels.
        features: float16 of each crop that the store did not have, by id.
    """

    reads: list[Read]
    features: dict[str, Annotated[NDArray[np.float16], "4 D"]]


class Snapshot:
    """What the store held when the pipeline was started, as far as a job needs it."""

    def __init__(self, ids: Annotated[Ids, "N"], job: Job) -> None:
        self._ids = ids
        self._places = {
            (frame.path, box): was
            for frame, of_frame in zip(job.frames, job.were, strict=True)
            for (box, _), was in zip(frame.crops, of_frame, strict=True)
        }

    def __contains__(self, identifier: str) -> bool:
        key = np.bytes_(bytes.fromhex(identifier))
        place = np.searchsorted(self._ids, key)
        return bool(place < len(self._ids) and self._ids[place] == key)

    def at(self, path: str, box: Box | None) -> tuple[str, str] | None:
        """Id and stamp of what was at a place, or None."""
        return self._places.get((path, box))


def on(ray: ModuleType, load: Callable[[], Embeds], device: str, crops: int) -> Work:
    """Read and embed on the machines of a cluster.

    Args:
        load: gives the model in each process: `pipeline.Loader`.
        device: cpu, for a process per core, or cuda, for one per GPU.
        crops: of a job.
    """

    def work(frames: Sequence[Frame], known: Known, intake: Intake) -> None:
        ids = ray.put(sorted_ids(known))

        def make() -> Embedding:
            return Embedding(pipeline.once(load), ray.get(ids))

        for made in pipeline.made(ray, list(jobs_of(frames, known, crops)), make, device):
            take(made, intake)

    return work


def of_model(ray: ModuleType, folder: Path, device: str) -> Work:
    """`on`, with a model.

    Args:
        folder: the model's, under the same path on every machine; so are the sources.
    """
    from pyramid_reid.reid.features import BATCH_PIXELS

    folder = folder.absolute()
    described = description.read(folder)
    sizes = [network.height * network.width for network in described.branches.values()]
    batch = max(1, BATCH_PIXELS // min(sizes))  # one that is not full takes as long
    crops = batch * -(-CROPS[device] // batch)
    return on(ray, pipeline.Loader(folder, described.features, device), device, crops)


def take(made: Made, intake: Intake) -> None:
    """Write what a job made, of each crop once."""
    fresh = [
        crop
        for found in made.reads
        for crop in intake.take(found, lambda crop: crop.identifier in made.features)
    ]
    if fresh:
        intake.put(fresh, np.stack([made.features[crop.identifier] for crop in fresh]))


def sorted_ids(known: Known) -> Annotated[Ids, "N"]:
    """Ids of what the store holds, 32 bytes each: processes of a machine read them together."""
    found = sorted(bytes.fromhex(identifier) for identifier in known.identifiers())
    return np.array(found, "S32")


def jobs_of(frames: Sequence[Frame], known: Known, crops: int) -> Iterator[Job]:
    """Jobs of some crops each, but for frames that have more."""
    some, number = list[Frame](), 0
    for frame in frames:
        some.append(frame)
        number += len(frame.crops)
        if number >= crops:
            yield _job(some, known)
            some, number = [], 0
    if some:
        yield _job(some, known)


def _job(frames: Sequence[Frame], known: Known) -> Job:
    return Job(frames, [[known.at(frame.path, box) for box, _ in frame.crops] for frame in frames])


class Embedding:
    """Makes features of jobs; jobs may come from two threads.

    Args:
        load: gives the model; called where there is something to embed.
        ids: of what the store holds, sorted.
    """

    def __init__(self, load: Callable[[], Embeds], ids: Annotated[Ids, "N"]) -> None:
        self._load, self._ids = load, ids

    def __call__(self, job: Job) -> Made:
        """Read the frames of a job, and embed what the store does not have."""
        known = Snapshot(self._ids, job)
        made = Made([], {})

        def fresh() -> Iterator[Crop]:
            seen = set[str]()
            for found in ahead(lambda frame: read(frame, known), job.frames):
                made.reads.append(
                    replace(found, crops=[replace(crop, pixels=None) for crop in found.crops])
                )
                for crop in found.crops:
                    if crop.identifier not in known and crop.identifier not in seen:
                        seen.add(crop.identifier)
                        yield crop

        for crops in grouped(fresh()):
            features = embedded(self._load(), crops).astype(np.float16)
            made.features.update(zip((crop.identifier for crop in crops), features, strict=True))
        return made
