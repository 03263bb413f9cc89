"""From a query to its hits: which crops, in what order, and how that is shown."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search import centring
from pyramid_reid.search.description import Description
from pyramid_reid.search.distances import proportions
from pyramid_reid.search.store import Store, filters
from pyramid_reid.search.store.rows import BOX

if TYPE_CHECKING:
    import pandas as pd

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What formulas of spreadsheets begin with, as `serve/page/table.js` has it."""
RERANKED = 200
"""Hits at least that are re-ranked: their neighbourhoods among each other count. As many are
ordered anew by centred features."""
ORDERED = ("reranked", "centred")
"""Columns by one of which the nearest hits may be ordered anew."""
THUMBNAIL = 160
"""Height in pixels of pictures in a page."""
SHORTEST_ID = 6
"""Letters of an id that are taken for one."""
SAME_WEIGHT = 1e-6
TOGETHER = 10_000
"""Crops that are read at once to find groups: their features are 100 MB."""
REST = 1000
"""Letters of a condition beside its lists of values, at most."""


@dataclass(frozen=True, slots=True)
class Query:
    """Crops of one person that are searched for.

    Attributes:
        names: as they were given.
        pictures: each as a JPEG or PNG file, or None where its file is gone.
        identifiers: of those that the store holds; they are no hits.
        features: mean over the crops: distances to it are the mean distances to the
            crops.
    """

    names: list[str]
    pictures: list[bytes | None]
    identifiers: list[str]
    features: Annotated[NDArray[np.float32], "4 D"]


@dataclass(frozen=True, slots=True)
class Answer:
    """Hits, the nearest first.

    Attributes:
        hits: rank, distance, probability (where it is known), perhaps `reranked` or `centred`, and
            `crops` (how many the hit's group has in all), then the branches' distances and the
            store's columns.
        why_no_probability: None where there is one.
    """

    query: Query
    hits: pd.DataFrame
    why_no_probability: str | None


def resolve(
    store: Store,
    given: Sequence[str],
    embed: Callable[[list[Path]], Annotated[NDArray[np.float32], "n 4 D"]],
) -> Query:
    """The query of image files and of ids of crops in the store, whole or their beginnings.

    Args:
        embed: gives features of files that the store does not hold.

    Raises:
        UserError: one is neither, or several crops' ids begin with it.
    """
    features: list[NDArray[np.float32] | None] = []
    pictures, identifiers, new = list[bytes | None](), list[str](), list[Path]()
    for name in given:
        path = Path(name)
        if path.is_file():
            try:
                content = path.read_bytes()
            except OSError as error:
                raise UserError(f"{path} cannot be read: {error.strerror}") from error
            pictures.append(content)
            found = store.find(hashlib.sha256(content).hexdigest())
        else:
            found = store.find(name.lower()) if len(name) >= SHORTEST_ID else []
            if len(found) != 1:
                what = (
                    "the beginning of several crops' ids" if found else "neither a file nor an id"
                )
                raise UserError(
                    f"{name!r} is {what}: give an image, or the id of a crop in {store.folder}"
                )
            try:
                pictures.append(store.crop(found[0]))
            except UserError:  # its features are there all the same
                pictures.append(None)
        if found:
            identifiers.append(found[0])
            features.append(store.vector(found[0]))
        else:
            new.append(path)
            features.append(None)
    embedded = iter(embed(new)) if new else iter(())
    rows = [next(embedded) if row is None else row for row in features]
    return Query(list(given), pictures, identifiers, np.mean(rows, axis=0, dtype=np.float32))


def answer(
    store: Store,
    query: Query,
    *,
    described: Description | None = None,
    weights: Mapping[str, float] | None = None,
    top: int = 20,
    where: str | None = None,
    group: str | None = None,
    rerank: bool = False,
    centred: str | None = None,
    exact: bool = False,
) -> Answer:
    """Search.

    Args:
        described: a model of the store's features, whose weights and calibration hold; None: that
            by which the store was filled last.
        weights: None takes the model's.
        top: hits, or groups where `group` names a column; the nearest crop stands for its group.
        rerank: order the `RERANKED` nearest hits, or `top` if that is more, by k-reciprocal
            re-ranking; groups that have none of these come after them, by distance.
        centred: the query's camera; order the same hits by features less the mean of their camera.
        exact: compare with every crop.

    Raises:
        UserError: there is no such column, or it cannot group; the condition does not parse; the
            store is empty; a camera has too few crops for a mean, or a hit has none; or hits are to
            be ordered in two ways.
    """
    model = described or store.description
    used = dict(model.weights) if weights is None else dict(weights)
    shares = proportions({str(name): value for name, value in used.items()})
    if group is not None:
        _check_group(store, group)

    def nearest(number: int, condition: str | None) -> pd.DataFrame:
        wanted = number + len(query.identifiers)
        found = store.search(query.features, shares, wanted, condition, exact=exact)
        hits = found.to_pandas(integer_object_nulls=True)
        return hits[~hits["id"].isin(query.identifiers)].head(number).reset_index(drop=True)

    if rerank and centred is not None:
        raise UserError("--rerank and --centred order the nearest crops in two ways: give one")
    number = max(top, RERANKED) if rerank or centred is not None else top
    hits = nearest(number, where)
    whole = len(hits) < number
    if rerank:
        hits = _reranked(store, query, hits, shares)
    if centred is not None:
        hits = _centred(store, query, hits, shares, centred)
    if group is not None:
        hits = _first_of_each(hits, group)
        if not whole and len(hits) < top:
            hits = _with_further(hits, nearest, group, where, top, number)
        hits = hits.head(top)
        hits = hits.assign(crops=_sizes(store, hits[group], where, query.identifiers))
    hits = hits.head(top).reset_index(drop=True)
    hits.insert(0, "rank", np.arange(1, len(hits) + 1))
    fitted, why = model.calibration, _why_not(model, shares)
    if fitted is not None and why is None:
        exponent = np.clip(fitted.slope * hits["distance"] + fitted.intercept, -700, 700)
        hits["probability"] = 1 / (1 + np.exp(exponent))
    numbers = ["rank", "distance", "probability", *ORDERED, "crops", *BRANCHES]
    first = [name for name in numbers if name in hits]
    return Answer(query, hits[[*first, *(name for name in hits if name not in first)]], why)


def _why_not(described: Description, shares: Mapping[str, float]) -> str | None:
    """Why there is no probability, or None."""
    if described.calibration is None:
        return described.why_no_calibration or "the model has no calibration"
    own = proportions({str(name): value for name, value in described.weights.items()})
    if any(abs(own[branch] - shares[branch]) > SAME_WEIGHT for branch in BRANCHES):
        return "the model is calibrated for its own weights, not for those given"
    return None


def _check_group(store: Store, column: str) -> None:
    """Check that a store's crops can be grouped by a column.

    Raises:
        UserError: there is none, or it holds neither text nor numbers.
    """
    import pyarrow as pa

    if column not in store.columns():
        raise UserError(
            f"--group {column}: there is no such column; there are {', '.join(store.columns())}"
        )
    if store.table is None:  # the search says so
        return
    kind, known = store.table.schema.field(column).type, pa.types
    tests = (known.is_string, known.is_large_string, known.is_boolean)
    if not any(test(kind) for test in (*tests, known.is_integer, known.is_floating)):
        raise UserError(f"--group {column}: it holds neither text nor numbers: give another column")


def _first_of_each(hits: pd.DataFrame, column: str) -> pd.DataFrame:
    """The first hit of each group; a crop without a value is a group of its own."""
    keys = hits[column].astype(object).where(hits[column].notna(), "\0" + hits["id"])
    return hits[~keys.duplicated()]


def _with_further(
    groups: pd.DataFrame,
    nearest: Callable[[int, str | None], pd.DataFrame],
    column: str,
    where: str | None,
    top: int,
    number: int,
) -> pd.DataFrame:
    """Groups, and further ones until there are enough of them or no more.

    Each question leaves out the crops of the groups that are known, so that a large group does not
    have to be read in whole to see what comes after it.

    Args:
        groups: a hit of each group among the nearest `number` hits.
        nearest: gives so many hits that a condition holds for, fewer where there are no more.

    Raises:
        UserError: so many groups are known that no condition can leave them out.
    """
    import pandas as pd

    whole = False
    while not whole and len(groups) < top:
        number = max(number, min(4 * number, TOGETHER))
        hits = nearest(number, _besides(groups[column], column, where))
        whole = len(hits) < number
        joined = _first_of_each(pd.concat([groups, hits], ignore_index=True), column)
        if not whole and len(joined) == len(groups):
            raise UserError(
                f"--group {column}: {len(groups):,} groups were found, too many for a condition"
                " that leaves them out while more are looked for: give a smaller --top"
            )
        groups = joined
    order = [name for name in (*ORDERED, "distance") if name in groups]
    return groups.sort_values(order, kind="stable")


def _besides(values: pd.Series, column: str, where: str | None) -> str | None:
    """A condition for crops of further groups; of as many as fit into it, the nearest first."""
    known = next(_lists(values, where), None)
    # in SQL, null is not among any values and not outside of them
    return _both(where, known and f"`{column}` is null or `{column}` not in ({known})")


def _sizes(store: Store, groups: pd.Series, where: str | None, besides: Sequence[str]) -> list[int]:
    """How many crops each group has, of those that a condition holds for.

    Args:
        besides: ids of crops that do not count.
    """
    import pyarrow.compute as pc

    counts = Counter[Any]()
    others = f"id not in ({', '.join(map(filters.quoted, besides))})" if besides else None
    for some in _lists(groups, where, others):
        condition = _both(where, others, f"`{groups.name}` in ({some})")
        for batch in store.batches([str(groups.name)], condition):
            for found in pc.value_counts(batch[groups.name]).to_pylist():
                counts[found["values"]] += found["counts"]
    return [
        1 if missing else counts[value]
        for value, missing in zip(groups, groups.isna(), strict=True)
    ]


def _lists(values: pd.Series, *beside: str | None) -> Iterator[str]:
    """Values as literals of SQL, so many in each list that a condition takes it.

    Args:
        beside: conditions that stand beside a list.
    """
    room = filters.LONGEST - sum(len(each or "") for each in beside) - REST
    some, length = list[str](), 0
    for literal in map(_literal, values[values.notna()]):
        if some and length + len(literal) > room:
            yield ", ".join(some)
            some, length = [], 0
        some.append(literal)
        length += len(literal) + 2
    if some:
        yield ", ".join(some)


def _literal(value: Any) -> str:
    """A value of a column as a literal of SQL."""
    if isinstance(value, str):
        return filters.quoted(value)
    if isinstance(value, float) and math.isinf(value):
        return f"cast('{value}' as double)"
    return str(value).lower()  # true and false, and numbers


def _both(*conditions: str | None) -> str | None:
    """A condition that holds where all of some do; None where there is none."""
    return " and ".join(f"({each})" for each in conditions if each) or None


def _reranked(
    store: Store, query: Query, hits: pd.DataFrame, shares: Mapping[str, float]
) -> pd.DataFrame:
    """Hits in the order of their re-ranked distance, which becomes the column `reranked`."""
    from pyramid_reid.retrieval.rerank import Rerank, join
    from pyramid_reid.retrieval.rerank import rerank as run

    if hits.empty:
        return hits.assign(reranked=[])
    features = vectors(store, hits["id"].tolist())
    length = np.linalg.norm(query.features, axis=1, keepdims=True)
    queries = (query.features / length)[None]
    joined = [
        join({branch: each[:, n] for n, branch in enumerate(BRANCHES)}, shares)
        for each in (queries, features)
    ]
    runs = run(joined[0], joined[1], sum(shares.values()), Rerank())
    distances = np.concatenate([rows for _, rows in runs])[0]
    return hits.assign(reranked=distances).sort_values("reranked", kind="stable")


def _centred(
    store: Store, query: Query, hits: pd.DataFrame, shares: Mapping[str, float], camera: str
) -> pd.DataFrame:
    """Hits in the order of the distance of features less the mean of their camera, in `centred`.

    Args:
        camera: of the query.

    Raises:
        UserError: the query is from another camera, a hit has none, or a camera has too few crops.
    """
    for identifier in query.identifiers:
        if (own := store.row(identifier)["camera"]) not in (None, camera):
            raise UserError(f"--centred {camera}: crop {identifier[:10]} is from camera {own}")
    if hits.empty:
        return hits.assign(centred=[])
    if hits["camera"].isna().any():
        raise UserError(
            "--centred: crops without a camera are among the nearest: index with cameras"
            " (--camera-from), or leave them out by --where 'camera is not null'"
        )
    features = vectors(store, hits["id"].tolist())
    cameras = hits["camera"].to_numpy()
    found = centring.distances(store, query.features, camera, features, cameras, shares)
    return hits.assign(centred=found).sort_values("centred", kind="stable")


def vectors(store: Store, identifiers: Sequence[str]) -> Annotated[NDArray[np.float32], "n 4 D"]:
    """Features of crops, in the order of the ids."""
    found = dict[str, NDArray[np.float32]]()
    for condition in filters.among(identifiers):
        for names, features in store.features(condition):
            found.update(zip(names, features, strict=True))
    return np.stack([found[identifier] for identifier in identifiers])


def records(answer: Answer) -> list[dict[str, Any]]:
    """Hits as programs take them: no NaN and no infinity, which JSON does not know."""
    return [
        {str(name): _plain(value) for name, value in row.items()}
        for row in answer.hits.to_dict("records")
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, dict) or value is None:
        return value
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def lines(answer: Answer) -> list[str]:
    """Hits as a table for a terminal."""
    columns = ["rank", "distance", "probability", *ORDERED, "crops", "camera", "time", "path"]
    shown = [name for name in columns if name in answer.hits]
    shown = [n for n in shown if n not in ("camera", "time") or answer.hits[n].notna().any()]
    hits = records(answer)
    rows = [shown, *([_cell(name, hit[name]) for name in shown] for hit in hits)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(shown))]
    table = [
        "  ".join(
            cell if name == "path" else cell.rjust(width)
            for name, cell, width in zip(shown, row, widths, strict=True)
        )
        for row in rows
    ]
    if answer.why_no_probability:
        table.append(f"no probability: {answer.why_no_probability}")
    return table


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("distance", *ORDERED):
        return f"{value:.4f}"
    if name == "probability":
        return f"{value:.3f}"
    # what would move a terminal's cursor or colours is shown as it is written
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in str(value))


def write(answer: Answer, store: Store, path: Path) -> None:
    """Write hits as .csv, or as one .html page with pictures in it.

    Raises:
        UserError: it is neither, or cannot be written.
    """
    kind = path.suffix.lower()
    if kind == ".csv":
        text = table(answer)
    elif kind == ".html":
        text = page(answer, store)
    else:
        raise UserError(f"--out {path} is neither .csv nor .html")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from error


def table(answer: Answer) -> str:
    """Hits as comma-separated values, a box as four columns."""
    head = _flat(dict.fromkeys(map(str, answer.hits)))
    rows = [list(head), *(list(_flat(hit).values()) for hit in records(answer))]
    return "".join(",".join(map(_field, row)) + "\n" for row in rows)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row whose box is four values, each empty where there is none."""
    flat = dict[str, Any]()
    for name, value in row.items():
        flat |= {**dict.fromkeys(BOX), **(value or {})} if name == "box" else {name: value}
    return flat


def _field(value: Any) -> str:
    """A value in a table; a spreadsheet would compute a text that begins as a formula does."""
    text = "" if value is None else str(value)
    if isinstance(value, str) and text.startswith(FORMULA):
        text = f"'{text}"
    return '"' + text.replace('"', '""') + '"' if set(text) & set('",\r\n') else text


def page(answer: Answer, store: Store) -> str:
    """Hits as a page that needs nothing beside it."""
    queries = "".join(
        f"<figure>{_picture(content)}<figcaption>{html.escape(name)}</figcaption></figure>"
        for name, content in zip(answer.query.names, answer.query.pictures, strict=True)
    )
    hits = []
    for row in records(answer):
        try:
            picture = _picture(store.crop(row["id"]))
        except UserError as error:
            picture = f"<p>{html.escape(str(error))}</p>"
        told = [f"{row['rank']}: distance {row['distance']:.4f}"]
        if row.get("probability") is not None:
            told.append(f"probability {row['probability']:.3f}")
        told += [
            f"{name} {row[name]}"
            for name in ("camera", "time", "track", "path")
            if row.get(name) is not None
        ]
        caption = "<br>".join(map(html.escape, told))
        hits.append(f"<figure>{picture}<figcaption>{caption}</figcaption></figure>")
    why = answer.why_no_probability
    note = f"<p>No probability: {html.escape(why)}.</p>" if why else ""
    return (
        "<!doctype html>\n<html lang='en'><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        "<meta http-equiv='Content-Security-Policy'"
        " content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        "<title>Search</title>\n<style>body{font:14px sans-serif;margin:1em}"
        "section{display:flex;flex-wrap:wrap;gap:1em}figure{margin:0;max-width:14em}"
        "figcaption{overflow-wrap:anywhere}img{height:160px}</style>\n"
        f"<h1>Query</h1>\n<section>{queries}</section>\n<h1>Hits</h1>\n{note}"
        f"<p>A rank is no identification: look at each hit.</p>\n<section>{''.join(hits)}</section>"
        "\n</html>\n"
    )


def _picture(content: bytes | None) -> str:
    """A thumbnail as an element that holds its own data."""
    from PIL import Image

    from pyramid_reid.core.decode import decode

    if content is None:
        return "<p>its file is gone</p>"
    try:
        image = Image.fromarray(decode(content))
    except ValueError as error:
        return f"<p>{html.escape(str(error))}</p>"
    image.thumbnail((2 * THUMBNAIL, THUMBNAIL))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85)
    return f"<img alt='' src='data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}'>"
