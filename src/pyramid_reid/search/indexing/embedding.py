"""Crops become features in this process, in groups that fill the networks' batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Annotated, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.gallery import Frame
from pyramid_reid.search.indexing.intake import Intake, Work
from pyramid_reid.search.indexing.known import Known
from pyramid_reid.search.indexing.reading import Crop, ahead, read

CHUNK = 300
"""Crops that are embedded together: a multiple of the networks' batch."""
CHUNK_PIXELS = 2**24
"""Of crops that are embedded together, but for one that is larger."""


class Embeds(Protocol):
    """What gives features: `search.model.Model`."""

    def embed(self, images: Iterable[Any]) -> Annotated[NDArray[np.float32], "N 4 D"]:
        """Features of crops, float32."""


def here(load: Callable[[], Embeds]) -> Work:
    """Read and embed in this process: threads read ahead of the networks.

    Args:
        load: gives the model, of the store's features; called where there is something to embed.
    """

    def work(frames: Sequence[Frame], known: Known, intake: Intake) -> None:
        def fresh() -> Iterator[Crop]:
            for found in ahead(lambda frame: read(frame, known), frames):
                yield from intake.take(found, lambda crop: crop.pixels is not None)

        for crops in grouped(fresh()):
            intake.put(crops, embedded(load(), crops))

    return work


def grouped(crops: Iterable[Crop]) -> Iterator[list[Crop]]:
    """Crops that are embedded together: at most `CHUNK`, of at most `CHUNK_PIXELS` or one."""
    group, pixels = list[Crop](), 0
    for crop in crops:
        size = 0 if crop.pixels is None else crop.pixels.shape[0] * crop.pixels.shape[1]
        if group and pixels + size > CHUNK_PIXELS:
            yield group
            group, pixels = [], 0
        group.append(crop)
        pixels += size
        if len(group) == CHUNK:
            yield group
            group, pixels = [], 0
    if group:
        yield group


def embedded(model: Embeds, crops: Sequence[Crop]) -> Annotated[NDArray[np.float32], "n 4 D"]:
    """Features of crops.

    Raises:
        UserError: the model gives none.
    """
    try:
        return model.embed([crop.pixels for crop in crops])
    except ValueError as error:
        raise UserError(
            f"{crops[0].path} and {len(crops) - 1} more cannot be embedded: {error}"
        ) from error
