"""From what a request asks for to one feature of the person."""

from __future__ import annotations

import base64
import hashlib
import io
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pyramid_reid.core.crops import Pixels
from pyramid_reid.core.decode import decode
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search.serve.messages import Asked, Restored

if TYPE_CHECKING:
    from pyramid_reid.search.model import Model
    from pyramid_reid.search.store import Store

MAX_PIXELS = 2**20
"""Of a query's picture: of a larger one, restoring ×4 alone would take gigabytes. A picture of this
size is no crop of a person but a photograph with one in it."""

REMEMBERED = 256
"""Pictures whose features are kept, so that another weight needs neither picture nor network."""

PATIENCE_S = 60
"""Seconds that a picture waits for those before it."""

Vector = Annotated[NDArray[np.float32], "4 D"]


class Refusal(Exception):  # noqa: N818 (an answer, not a fault of this program)
    """A request that cannot be answered: the status, and a sentence that says why."""

    def __init__(self, status: int, said: str) -> None:
        super().__init__(said)
        self.status = status


class Queries:
    """Pictures, crops of the gallery and vectors as features.

    Args:
        model: restores and embeds pictures; one request at a time, and none waits for long.
        store: gives the features and files of the gallery's crops.
    """

    def __init__(self, model: Model, store: Store) -> None:
        self._model, self._store = model, store
        self._busy = threading.Lock()
        self._remembered = OrderedDict[str, Vector]()
        self._lookups: dict[str, Vector | None] = {}
        self._version: tuple[bytes | None, int] | None = None
        self._remembering = threading.Lock()

    def embed(self, contents: Sequence[bytes]) -> list[tuple[Asked, Vector]]:
        """Features of pictures, which are remembered for a while.

        Raises:
            Refusal: one is no image, or too large; or the network is busy.
        """
        asked = [self.picture(content) for content in contents]
        known = {each.id: self._recall(each.id) for each in asked}
        new = [number for number, each in enumerate(asked) if known[each.id] is None]
        if new:
            crops = [to_crop(contents[number], number) for number in new]
            with self._network():
                features = self._model.embed(crops)
            for number, vector in zip(new, features, strict=True):
                known[asked[number].id] = vector
                self._remember(asked[number].id, vector)
        return [(each, vector) for each in asked if (vector := known[each.id]) is not None]

    def by_picture(self, contents: Sequence[bytes]) -> list[tuple[Asked, Vector]]:
        """As `embed`, but with the store's own features of pictures that it holds."""
        found: dict[int, tuple[Asked, Vector]] = {}
        for number, content in enumerate(contents):
            asked = self.picture(content)
            vector = self._stored(asked.id)
            if vector is not None:
                found[number] = asked, vector
        new = [number for number in range(len(contents)) if number not in found]
        embedded = self.embed([contents[number] for number in new])
        found.update(zip(new, embedded, strict=True))
        return [found[number] for number in range(len(contents))]

    @staticmethod
    def picture(content: bytes) -> Asked:
        """A picture by the hash of its file, which is a crop's id, too, where it is that file."""
        return Asked(kind="picture", id=hashlib.sha256(content).hexdigest())

    def by_id(self, asked: str) -> tuple[Asked, Vector]:
        """Features of a crop of the gallery, or of a picture sent before.

        Raises:
            Refusal: there is none of this id.
        """
        vector = self._stored(asked)
        if vector is not None:
            return Asked(kind="crop", id=asked), vector
        vector = self._recall(asked)
        if vector is not None:
            return Asked(kind="picture", id=asked), vector
        raise Refusal(
            404, f"{asked} is no crop of the gallery and no picture of the last: send it again"
        )

    def _stored(self, asked: str) -> Vector | None:
        """Features of a crop of the gallery, looked up once: a slider asks for them many times.

        They hold for one version of the table, as `forget` makes another.
        """
        version = self._store.version()
        with self._remembering:
            if self._version != version:
                self._lookups.clear()
                self._version = version
            if asked in self._lookups:
                return self._lookups[asked]
        found = self._store.vector(asked) if self._store.find(asked) else None
        with self._remembering:
            if self._version == version and len(self._lookups) < REMEMBERED:
                self._lookups[asked] = found
        return found

    def by_vector(self, given: Sequence[Sequence[float]]) -> tuple[Asked, Vector]:
        """A vector that a program sends, its branches scaled to length 1.

        Raises:
            Refusal: it has not the model's shape, or no direction.
        """
        dim = self._model.dim
        if any(len(branch) != dim for branch in given):
            raise Refusal(422, f"a vector has {len(BRANCHES)} branches of {dim} numbers each")
        vector = unit(np.asarray(given, np.float64))
        return Asked(kind="vector", id=hashlib.sha256(vector.tobytes()).hexdigest()), vector

    def restore(self, content: bytes) -> list[Restored]:
        """The restored images of a picture.

        Raises:
            Refusal: it is no image, or too large; or the network is busy.
        """
        crop = to_crop(content, 0)
        with self._network():
            images = self._model.restore(crop)
        scales = self._model.description.restorer.scales
        return [
            Restored(
                branch=branch, scale=scale, height=image.shape[0], width=image.shape[1],
                png=base64.b64encode(png(image)).decode(),
            )
            for branch, scale, image in zip(BRANCHES[1:], scales, images, strict=True)
        ]  # fmt: skip

    @contextmanager
    def _network(self) -> Iterator[None]:
        if not self._busy.acquire(timeout=PATIENCE_S):
            raise Refusal(503, "other pictures come first: try again in a minute")
        try:
            yield
        finally:
            self._busy.release()

    def _recall(self, asked: str) -> Vector | None:
        with self._remembering:
            if asked in self._remembered:
                self._remembered.move_to_end(asked)
            return self._remembered.get(asked)

    def _remember(self, asked: str, vector: Vector) -> None:
        with self._remembering:
            self._remembered[asked] = vector
            while len(self._remembered) > REMEMBERED:
                self._remembered.popitem(last=False)


def unit(vector: Annotated[NDArray[np.float64], "4 D"]) -> Vector:
    """Features with every branch scaled to length 1.

    Raises:
        Refusal: a branch has no direction.
    """
    largest = np.abs(vector).max(axis=1, keepdims=True)
    if not largest.all():
        raise Refusal(422, "a branch's feature is zero and has no direction")
    scaled = vector / largest  # squares of very large or small numbers would be none
    return np.asarray(scaled / np.linalg.norm(scaled, axis=1, keepdims=True), np.float32)


def to_crop(content: bytes, number: int) -> Annotated[Pixels, "H W 3"]:
    """A picture of a request, decoded.

    Raises:
        Refusal: it is no image, or too large.
    """
    try:
        size = _size(content)
        if size[0] * size[1] > MAX_PIXELS:
            raise Refusal(
                422,
                f"picture {number + 1} has {size[0]}x{size[1]} pixels, more than {MAX_PIXELS:,}:"
                " cut the person out of it first",
            )
        return decode(content)
    except ValueError as error:
        raise Refusal(422, f"picture {number + 1} {error}") from error


def _size(content: bytes) -> tuple[int, int]:
    """Width and height that an image's header gives, before anything is decoded; 0: no image."""
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "BMP")) as image:
            return image.size
    except Exception:  # noqa: BLE001 (`decode` says what is wrong)
        return 0, 0


def png(image: Annotated[Pixels, "H W 3"]) -> bytes:
    """An image as the bytes of a PNG."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()
