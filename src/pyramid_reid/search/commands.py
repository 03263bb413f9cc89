"""The commands on a gallery store: what each does, prints, and ends with."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pyramid_reid.core.errors import UserError
from pyramid_reid.search import description
from pyramid_reid.search.distances import proportions
from pyramid_reid.search.store import Store, ann

if TYPE_CHECKING:
    from pyramid_reid.search.indexing.intake import Work
    from pyramid_reid.search.model import Model

MODEL = Path("data/model")
"""Of the pipeline: what `search` embeds new pictures by where no other model is given."""
DONE, PARTLY, INTERRUPTED = 0, 3, 130
"""What commands end with: 3 where files could not be read; `main` makes 2 of errors."""


def index(given: argparse.Namespace) -> int:
    """`pyramid-reid index`."""
    from pyramid_reid.search import gallery, indexing
    from pyramid_reid.search.indexing import report as reports

    patterns = gallery.Patterns.of(given.camera_from, given.time_from, given.columns_from)
    described = description.read(given.model)
    say = _sayer(given)
    with _working(given) as (work, by):
        store = Store.create(given.store, described)
        before = store.count()
        try:
            report = indexing.index(
                store, work, given.gallery, patterns, watch=given.watch, say=say, by=by
            )
        except KeyboardInterrupt:
            say(
                f"interrupted; {store.count() - before:,} crops were added: the same command goes"
                " on with the rest"
            )
            return INTERRUPTED
    if given.json:
        print(json.dumps({**reports.summary(report), "crops": store.count()}))
    else:
        print("\n".join(reports.told(report, store.count())))
    return PARTLY if report.problems else DONE


def search(given: argparse.Namespace) -> int:
    """`pyramid-reid search`."""
    from pyramid_reid.search import answers

    if given.out is not None and given.out.suffix.lower() not in (".csv", ".html"):
        raise UserError(f"--out {given.out} is neither .csv nor .html")
    weights = _weights(given.weights)
    store = Store.open(given.store)
    described = None if given.model is None else _described(given.model, store)

    def embed(paths: list[Path]):  # type: ignore[no-untyped-def] # noqa: ANN202
        nonlocal described
        described = described or _described(MODEL, store)
        try:
            return _loader(given.model or MODEL, given.device)().embed(paths)
        except ValueError as error:
            raise UserError(str(error)) from error

    query = answers.resolve(store, given.query, embed)
    answer = answers.answer(
        store,
        query,
        described=described,
        weights=weights,
        top=given.top,
        where=given.where,
        group=given.group,
        rerank=given.rerank,
        centred=given.centred,
        exact=given.exact,
    )
    if given.out is not None:
        answers.write(answer, store, given.out)
    if given.json:
        print(
            json.dumps(
                {
                    "query": given.query,
                    "hits": answers.records(answer),
                    "why_no_probability": answer.why_no_probability,
                }
            )
        )
    else:
        print("\n".join(answers.lines(answer)))
    return DONE


def forget(given: argparse.Namespace) -> int:
    """`pyramid-reid forget`."""
    store = Store.open(given.store)
    number = store.count(given.where)
    if number and not given.yes:
        question = f"{number:,} of {store.count():,} crops would be removed for good"
        if not sys.stdin.isatty() or given.json:
            raise UserError(f"{question}: give --yes to do it")
        if input(f"{question}. Remove them? [y/N] ").strip().lower() not in ("y", "yes"):
            print("nothing was removed")
            return DONE
    with store.writing():
        number = store.forget(given.where)
    if given.json:
        print(json.dumps({"forgotten": number, "crops": store.count()}))
        return DONE
    print(f"{number:,} crops removed for good; the store holds {store.count():,}")
    if number:
        print("Image files stay where they are: remove them, too, or the next `index` adds them.")
    return DONE


def evaluate(given: argparse.Namespace) -> int:
    """`pyramid-reid evaluate`."""
    from pyramid_reid.search import judge

    verdict = judge.evaluate(
        Store.open(given.store),
        _weights(given.weights),
        given.where,
        given.queries,
        any_camera=given.any_camera,
        centred=given.centred,
    )
    print(json.dumps(asdict(verdict)) if given.json else "\n".join(judge.lines(verdict)))
    return DONE


def optimize(given: argparse.Namespace) -> int:
    """`pyramid-reid optimize`."""
    with _building(given) as by:
        store = Store.open(given.store)
        with store.writing():
            if store.table is not None:
                by.join(store)
            built = store.build_index(anew=given.anew, by=by)
    if given.json:
        print(json.dumps({"crops": store.count(), "index": built and asdict(built)}))
    elif built:
        print(built)
    else:
        print(f"{store.count():,} crops: searched without an index, or it was up to date")
    return DONE


@contextmanager
def _working(given: argparse.Namespace) -> Iterator[tuple[Work, ann.Builds]]:
    """What reads and embeds, and what builds the index: this process, or those of a cluster."""
    from pyramid_reid.search import indexing

    if given.ray is None:
        yield indexing.here(_loader(given.model, given.device)), ann.Here()
        return
    from pyramid_reid.search.cluster import connection

    connection.check_device(given.device)
    with connection.connected(given.ray) as ray:
        from pyramid_reid.search.cluster import indexing as clustered
        from pyramid_reid.search.cluster import optimizing

        yield clustered.of_model(ray, given.model, given.device), optimizing.There(ray)


@contextmanager
def _building(given: argparse.Namespace) -> Iterator[ann.Builds]:
    """What joins files and builds the index: this process, or those of a cluster."""
    if given.ray is None:
        yield ann.Here()
        return
    from pyramid_reid.search.cluster import connection

    with connection.connected(given.ray) as ray:
        from pyramid_reid.search.cluster import optimizing

        yield optimizing.There(ray)


def _described(folder: Path, store: Store) -> description.Description:
    """What a model folder says of its model, of whose features a store must be.

    Raises:
        UserError: it is none, or the store is of another model.
    """
    found = description.read(folder)
    store.check(found)
    return found


def _loader(folder: Path, device: str) -> Callable[[], Model]:
    """Loads the model when it is first needed, and once."""

    @cache
    def load() -> Model:
        # threads that wait for each other sleep soon: readers need the cores
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
        from pyramid_reid.search import model

        return model.load(folder, device)

    return load


def _sayer(given: argparse.Namespace) -> Callable[[str], None]:
    """Lines about what is done go beside the answer of a program."""
    stream = sys.stderr if given.json else sys.stdout
    return lambda line: print(line, file=stream, flush=True)


def _weights(text: str | None) -> dict[str, float] | None:
    """Weights of `ori=0.4,h1=0.2,…`.

    Raises:
        UserError: it is written otherwise.
    """
    if text is None:
        return None
    try:
        pairs = [part.split("=") for part in text.split(",")]
        weights = {name.strip(): float(value) for name, value in pairs}
        return proportions(weights)
    except ValueError as error:
        raise UserError(
            f"--weights {text!r} is not written as ori=0.4,h1=0.2,h2=0.2,h3=0.2 ({error})"
        ) from error
