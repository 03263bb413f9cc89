"""The command line `pyramid-reid`: what each command takes, and what it ends with."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from pyramid_reid.core.errors import UserError


def main() -> int:
    """Run the command that is given; the number to end with (2: it could not be done)."""
    given = _parser().parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a traceback
    try:
        code: int = given.run(given)
    except UserError as error:
        print(f"pyramid-reid {given.command}: {error}", file=sys.stderr)
        return 2
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pyramid-reid", description="Tools beside the stages of the pipeline."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    runs = commands.add_parser(
        "compare",
        help="the first stage whose bytes differ between two runs",
        description="Name the first stage whose bytes differ between two runs, and by how much"
        " their figures do. Ends with 0 when all outs are the same, with 1 when some differ, and"
        " with 2 when it cannot tell, as `diff` does.",
    )
    for name in ("a", "b"):
        runs.add_argument(name, help="folder with a dvc.lock, Git revision, or experiment")
    runs.set_defaults(run=_compare)

    per_query = commands.add_parser(
        "compare-queries",
        help="the same queries in two experiments: differences with intervals and p",
        description="Compare two experiments query by query: A minus B in points of percent, with"
        " 95 % intervals and paired tests over identities. A and B are their"
        " data/evaluation/queries.csv; `dvc get . data/evaluation/queries.csv --rev NAME -o B.csv`"
        " fetches that of another experiment.",
    )
    for name in ("a", "b"):
        per_query.add_argument(name, type=Path, help="queries.csv of an experiment")
    per_query.add_argument("--resamples", type=int, default=10_000, help="of identities and signs")
    per_query.add_argument("--seed", type=int, default=0, help="of the resamples")
    per_query.set_defaults(run=_compare_queries)
    _add_serve(commands)
    return parser


def _add_serve(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    serve = commands.add_parser(
        "serve",
        help="a page in the browser, and a JSON interface, that search a store",
        description="Search a store from a browser: give crops of a person, move the weights of the"
        " branches, filter by camera and time, mark hits and export the case. Programs send the same"
        " searches as JSON (described at /docs). Only this machine reaches it unless --host names"
        " another address, which then needs a token. Ends with Ctrl-C.",
    )
    serve.add_argument(
        "--store", type=Path, required=True, help="folder that `pyramid-reid index` filled"
    )
    serve.add_argument(
        "--model", type=Path, help="model folder; by default the one that filled the store"
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen at (%(default)s)")
    serve.add_argument("--port", type=int, default=8000, help="0: any that is free (%(default)s)")
    serve.add_argument(
        "--token",
        action="append",
        default=[],
        metavar="[NAME=]TOKEN",
        help="who may ask, once per person; the log names them. By default those in the environment"
        " variable PYRAMID_REID_TOKEN, separated by spaces, which other users of this machine do not"
        " see; without any, another address than this machine's gets a token that is printed",
    )
    logs = serve.add_mutually_exclusive_group()
    logs.add_argument(
        "--log", type=Path, help="file for who searched what and when (searches.jsonl in the store)"
    )
    logs.add_argument(
        "--no-log", action="store_true", help="log no searches; only where this machine alone asks"
    )
    serve.set_defaults(run=_serve)


def _compare(given: argparse.Namespace) -> int:
    from pyramid_reid.compare import differences, runs

    ours, theirs = (runs.read(name, Path()) for name in (given.a, given.b))
    for part in (differences.first_stage, differences.figures, differences.records):
        print("\n".join(part(ours, theirs)))
    return 1 if differences.changed_stages(ours, theirs) else 0


def _compare_queries(given: argparse.Namespace) -> int:
    from pyramid_reid.compare import queries

    print(queries.report(given.a, given.b, given.resamples, given.seed))
    return 0


def _serve(given: argparse.Namespace) -> int:
    from pyramid_reid.search.serve.run import serve

    return serve(
        given.store, given.model, given.host, given.port, given.token, given.log, given.no_log
    )
