"""The JSON interface, and the page that uses it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from fastapi import FastAPI, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import RedirectResponse, Response
from starlette.exceptions import HTTPException

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search import answers
from pyramid_reid.search.distances import proportions
from pyramid_reid.search.serve import bodies, security
from pyramid_reid.search.serve.log import SearchLog
from pyramid_reid.search.serve.messages import (
    MAX_PICTURES,
    Answer,
    Asked,
    Distances,
    Embedded,
    Embeddings,
    Filters,
    Hit,
    Id,
    Listed,
    Listing,
    Name,
    Restore,
    Restored,
    Search,
    Status,
)
from pyramid_reid.search.serve.queries import MAX_PIXELS, Queries, Refusal
from pyramid_reid.search.serve.security import Access, Guard
from pyramid_reid.search.store import filters

if TYPE_CHECKING:
    from pyramid_reid.search.model import Model
    from pyramid_reid.search.store import Store
    from pyramid_reid.search.store.rows import Row

Result = TypeVar("Result")

PAGE = {
    name: (files(__package__) / "page" / name).read_bytes()
    for name in (
        "index.html",
        "login.html",
        "docs.html",
        "style.css",
        "app.js",
        "login.js",
        "table.js",
        "docs.js",
        "favicon.svg",
    )
}
"""All files that the page has: a request picks one by its name, and opens none."""

TYPES = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}

STARTS = {b"\xff\xd8\xff": "image/jpeg", b"\x89PNG\r\n\x1a\n": "image/png"}
"""Of the pictures that a store gives, by their first bytes."""

LOGGED_HITS = 10
"""Ids of hits in a line of the log."""

MAX_OFFSET = 2**31 - 1
"""LanceDB takes no larger one."""

LISTED = ("id", "camera", "time", "track")
OWN = (*LISTED, "path", "box", "rank", "distance", "probability", *BRANCHES)
"""Columns of a store's row that have their own place in a hit, or none."""


@dataclass(frozen=True)
class Server:
    """What requests are answered from."""

    store: Store
    model: Model
    access: Access
    log: SearchLog
    queries: Queries


def create(store: Store, model: Model, access: Access, log: SearchLog) -> FastAPI:
    """The application.

    Args:
        store: what is searched.
        model: embeds and restores pictures.
        access: who may ask.
        log: where searches are written down.
    """
    server = Server(store, model, access, log, Queries(model, store))
    app = FastAPI(
        title="pyramid-reid",
        description="A gallery of crops, searched for a person.",
        docs_url=None,  # FastAPI's page loads its scripts from elsewhere; /docs is our own
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
    )
    app.add_middleware(Guard, access=access)
    app.add_exception_handler(Refusal, _refused)
    app.add_exception_handler(UserError, _cannot)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    _pages(app, access)
    _interface(app, server)
    return app


def _pages(app: FastAPI, access: Access) -> None:
    def page(name: str) -> Response:
        return Response(PAGE[name], media_type=TYPES[name.rpartition(".")[2]])

    @app.get("/", include_in_schema=False)
    def index() -> Response:
        return page("index.html")

    @app.get("/docs", include_in_schema=False)
    def docs() -> Response:
        return page("docs.html")

    @app.get("/page/{name}", include_in_schema=False)
    def part(name: str) -> Response:
        if name not in PAGE or name.endswith(".html"):
            raise Refusal(404, "there is no such page")
        return page(name)

    @app.get("/login", include_in_schema=False)
    def login() -> Response:
        return page("login.html")

    @app.post("/login", include_in_schema=False)
    async def enter(request: Request) -> Response:
        name = access.name_of(security.token_of_form(await request.body()))
        if name is None:
            await security.wait()
            raise Refusal(401, "this is not the token")
        response = RedirectResponse("/", 303)
        response.set_cookie(
            security.COOKIE, access.session(name), httponly=True, samesite="strict", path="/"
        )
        return response

    @app.post("/logout", include_in_schema=False)
    def leave() -> Response:
        response = RedirectResponse("/login", 303)
        response.delete_cookie(security.COOKIE, path="/", httponly=True, samesite="strict")
        return response


def _interface(app: FastAPI, server: Server) -> None:
    store, model = server.store, server.model

    @app.get("/api/status")
    def status(request: Request) -> Status:
        """What is searched, and by which model."""
        described, counted = model.description, _at_once(store, _count)
        return Status(
            model=described.name,
            features=described.features,
            crops=counted[0],
            cameras=counted[1],
            columns=counted[2],
            weights=proportions(model.weights),
            scales=list(described.restorer.scales),
            calibrated=described.calibration is not None,
            why_no_calibration=described.why_no_calibration,
            max_pictures=MAX_PICTURES,
            max_pixels=MAX_PIXELS,
            logged=server.log.path is not None,
            who=request.state.who,
        )

    @app.get("/api/crops")
    def crops(
        camera: Annotated[list[Name] | None, Query(max_length=200)] = None,
        since: datetime | None = None,
        until: datetime | None = None,
        offset: Annotated[int, Query(ge=0, le=MAX_OFFSET)] = 0,
        limit: Annotated[int, Query(ge=1, le=200)] = 48,
    ) -> Listing:
        """A page of the gallery's crops."""
        where = condition(Filters(cameras=camera or [], since=since, until=until))

        def page(now: Store) -> tuple[int, list[Row]]:
            return now.count(where), now.rows(where, offset, limit)

        total, rows = _at_once(store, page)
        listed = [Listed(**{name: plain(row.get(name)) for name in LISTED}) for row in rows]
        return Listing(total=total, crops=listed)

    @app.get(
        "/api/crops/{id}", response_class=Response, responses={200: {"content": {"image/*": {}}}}
    )
    def crop(id: Annotated[Id, Path()]) -> Response:  # noqa: A002 (the name in the interface)
        """The picture of a crop of the gallery."""
        content = _crop(store, id)
        for start, media_type in STARTS.items():
            if content.startswith(start):
                return Response(content, media_type=media_type)
        raise Refusal(404, f"the file of crop {id} is no image any more")

    @app.post("/api/embed", openapi_extra=bodies.described(None))
    async def embed(request: Request) -> Embeddings:
        """Features of pictures."""
        pictures, _ = await bodies.read(request, None)
        if not pictures:
            raise Refusal(422, "send one picture at least, as the form's field `images`")

        def work() -> Embeddings:
            found = server.queries.embed(pictures)
            _log(server, request, "embed", [asked for asked, _ in found])
            return Embeddings(
                features=model.description.features,
                crops=[Embedded(id=asked.id, vector=vector.tolist()) for asked, vector in found],
            )

        return await run_in_threadpool(work)

    @app.post("/api/restore", openapi_extra=bodies.described(Restore))
    async def restore(request: Request) -> list[Restored]:
        """The three restored images of a picture or of a crop of the gallery."""
        pictures, options = await bodies.read(request, Restore)
        if len(pictures) + (options is not None) != 1:
            raise Refusal(422, "send one picture, or the id of one crop")

        def work() -> list[Restored]:
            content = pictures[0] if options is None else _crop(store, options.id)
            return server.queries.restore(content)

        return await run_in_threadpool(work)

    @app.post("/api/search", openapi_extra=bodies.described(Search))
    async def search(request: Request) -> Answer:
        """The gallery's crops, those first that are nearest to the person asked for.

        Pictures come as `images` of a form, whose field `options` holds the JSON described here;
        without pictures, the JSON may be the body.
        """
        pictures, options = await bodies.read(request, Search)
        return await run_in_threadpool(_search, server, request, pictures, options or Search())


def _search(server: Server, request: Request, pictures: Sequence[bytes], options: Search) -> Answer:
    number = len(pictures) + len(options.ids) + len(options.vectors)
    if not 1 <= number <= MAX_PICTURES:
        raise Refusal(
            422, f"ask by 1 to {MAX_PICTURES} pictures, ids and vectors of one person, not {number}"
        )
    try:
        weights = proportions(
            {str(name): share for name, share in (options.weights or server.model.weights).items()}
        )
    except ValueError as error:
        raise Refusal(422, str(error)) from error
    where = condition(options)
    found = [
        *server.queries.by_picture(pictures),
        *map(server.queries.by_id, options.ids),
        *map(server.queries.by_vector, options.vectors),
    ]
    asked = [each for each, _ in found]
    query = answers.Query(
        names=[],
        pictures=[],
        identifiers=[each.id for each in asked if each.kind != "vector"],
        features=np.mean([vector for _, vector in found], axis=0, dtype=np.float32),
    )

    def find(now: Store) -> tuple[int, list[dict[str, Any]], str | None]:
        searched = now.count(where)
        if not searched:
            return 0, [], None
        answer = answers.answer(
            now,
            query,
            described=server.model.description,
            weights=weights,
            top=options.k,
            where=where,
            exact=options.exact,
        )
        return searched, answers.records(answer), answer.why_no_probability

    searched, rows, why = _at_once(server.store, find)
    _log(server, request, "search", asked, options, weights, [row["id"] for row in rows])
    return Answer(
        queries=asked,
        weights=weights,
        searched=searched,
        hits=[_hit(row) for row in rows],
        why_no_probability=why,
    )


def _at_once(store: Store, ask: Callable[[Store], Result]) -> Result:
    """Several questions to the store as it is at one moment."""
    try:
        return ask(store.snapshot())
    except UserError:  # `forget` may have removed that version
        return ask(store.snapshot())


def _count(store: Store) -> tuple[int, list[str], list[str]]:
    """Crops, cameras and columns."""
    return store.count(), store.cameras(), store.columns()


def _hit(row: Mapping[str, Any]) -> Hit:
    further = {name: plain(value) for name, value in row.items() if name not in OWN}
    return Hit(
        rank=row["rank"],
        distance=row["distance"],
        distances=Distances(**{each: row[each] for each in BRANCHES}),
        probability=row.get("probability"),
        columns=further,
        **{name: plain(row[name]) for name in (*LISTED, "path")},
    )


def plain(value: object) -> Any:
    """A value of a table as JSON has it."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)


def condition(wanted: Filters) -> str | None:
    """A filter as the store's SQL, its values as literals; None where nothing is filtered.

    Raises:
        Refusal: a time is outside the calendar.
    """
    parts = []
    if wanted.cameras:
        parts.append(f"camera in ({', '.join(map(filters.quoted, wanted.cameras))})")
    if wanted.since is not None:
        parts.append(f"time >= {filters.quoted(moment(wanted.since))}")
    if wanted.until is not None:
        parts.append(f"time <= {filters.quoted(moment(wanted.until))}")
    return " and ".join(parts) or None


def moment(time: datetime) -> str:
    """A time as the store keeps it: text that sorts as time does, in UTC where a zone is given.

    Raises:
        Refusal: it is outside the calendar.
    """
    if time.tzinfo is None:
        return time.isoformat()
    try:
        return time.astimezone(UTC).replace(tzinfo=None).isoformat()
    except OverflowError as error:
        raise Refusal(422, "the time is outside the calendar") from error


def _crop(store: Store, asked: str) -> bytes:
    """The file of a crop of the gallery.

    Raises:
        Refusal: the gallery has no such crop, or its file has gone.
    """
    try:
        return store.crop(asked)
    except UserError as error:
        raise Refusal(404, str(error)) from error


def _log(
    server: Server,
    request: Request,
    kind: str,
    asked: Sequence[Asked],
    options: Search | None = None,
    weights: Mapping[str, float] | None = None,
    hits: Sequence[str] = (),
) -> None:
    """Write down a search, before it is answered."""
    given = options.model_dump(mode="json") if options else {}
    server.log.write(
        {
            "who": request.state.who,
            "address": request.client.host if request.client else None,
            "kind": kind,
            "queries": [each.model_dump() for each in asked],
            "filters": {name: given[name] for name in Filters.model_fields if given.get(name)},
            "weights": weights,
            "k": options.k if options else None,
            "hits": list(hits[:LOGGED_HITS]),
        }
    )


def _error(status: int, said: str) -> Response:
    body = json.dumps({"error": said}).encode()
    return Response(body, status, media_type="application/json")


def _refused(_: Request, error: Exception) -> Response:
    return _error(error.status if isinstance(error, Refusal) else 400, str(error))


def _cannot(_: Request, error: Exception) -> Response:
    """The machine's side is at fault, and the message says what to do there."""
    return _error(503, str(error))


def _http(_: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    response = _error(error.status_code, str(error.detail))
    response.headers.update(error.headers or {})
    return response


def _invalid(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    return _error(422, bodies.first_error(error.errors()))
