"""What programs send and receive: the JSON of a search."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from pyramid_reid.search.description import Branch

MAX_PICTURES = 16
"""Crops of one person in a search."""

MAX_HITS = 500

Id = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Shares = dict[Branch, Annotated[FiniteFloat, Field(ge=0, le=1e6)]]
Vector = Annotated[
    list[Annotated[list[FiniteFloat], Field(min_length=1, max_length=4096)]],
    Field(min_length=4, max_length=4),
]


class Message(BaseModel):
    """A key that is unknown is an error, not ignored."""

    model_config = ConfigDict(extra="forbid")


class Filters(Message):
    """Which crops are searched: of these cameras (none named: of all), in this time."""

    cameras: Annotated[list[Name], Field(max_length=200)] = []
    since: datetime | None = None
    until: datetime | None = None


class Search(Filters):
    """Whom to search for, in which crops, and how branches weigh.

    Everything given is one person: a hit's distance is the mean of its distances to the pictures of
    the request, `ids` and `vectors`.

    Attributes:
        ids: crops of the gallery, or pictures sent shortly before (`queries` of the answer).
        vectors: features from /api/embed: for ori, h1, h2 and h3 a list of numbers.
        weights: per branch, divided by their sum; branches left out weigh 0. None: the model's.
        k: most hits.
        exact: compare with every crop, without the index.
    """

    ids: Annotated[list[Id], Field(max_length=MAX_PICTURES)] = []
    vectors: Annotated[list[Vector], Field(max_length=MAX_PICTURES)] = []
    weights: Shares | None = None
    k: Annotated[int, Field(ge=1, le=MAX_HITS)] = 20
    exact: bool = False


class Restore(Message):
    """A crop of the gallery to restore, where no picture is sent."""

    id: Id


class Asked(BaseModel):
    """What was searched for: a picture, a crop of the gallery or a vector, by its SHA-256."""

    kind: Literal["picture", "crop", "vector"]
    id: str


class Distances(BaseModel):
    """Cosine distances of the branches, 0 to 2."""

    ori: float
    h1: float
    h2: float
    h3: float


class Hit(BaseModel):
    """A crop of the gallery.

    Attributes:
        distance: fused; hits come by it, the nearest first.
        probability: of the same person, where as many pairs are the same as are different; None
            where the model is not calibrated or the weights are not its own.
        columns: further columns of the gallery's table.
    """

    id: str
    rank: int
    distance: float
    distances: Distances
    probability: float | None
    camera: str | None
    time: str | None
    track: str | None
    path: str
    columns: dict[str, str | int | float | bool | None]


class Answer(BaseModel):
    """Hits of a search, and with which weights (adding up to 1) in how many crops.

    Crops that are the query itself are no hits.
    """

    queries: list[Asked]
    weights: dict[str, float]
    searched: int
    hits: list[Hit]
    why_no_probability: str | None


class Embedded(BaseModel):
    """Features of a picture: for ori, h1, h2 and h3 a list of numbers, of Euclidean length 1."""

    id: str
    vector: list[list[float]]


class Embeddings(BaseModel):
    """Features of the pictures that were sent, in their order."""

    features: str
    crops: list[Embedded]


class Restored(BaseModel):
    """A restored image, as PNG in base64."""

    branch: str
    scale: int
    height: int
    width: int
    png: str


class Listed(BaseModel):
    """A crop of the gallery in a list."""

    id: str
    camera: str | None
    time: str | None
    track: str | None


class Listing(BaseModel):
    """A page of the gallery's crops."""

    total: int
    crops: list[Listed]


class Status(BaseModel):
    """What is searched, and by which model.

    Attributes:
        features: hash of what features depend on; vectors of another are not comparable.
        who: name of the token that the request came with.
    """

    model: str
    features: str
    crops: int
    cameras: list[str]
    columns: list[str]
    weights: dict[str, float]
    scales: list[int]
    calibrated: bool
    why_no_calibration: str | None
    max_pictures: int
    max_pixels: int
    logged: bool
    who: str | None
