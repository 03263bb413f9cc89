"""From the command's options to a server that runs until it is ended."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from pyramid_reid.core.errors import UserError, reason
from pyramid_reid.search.model import load
from pyramid_reid.search.serve import log as logs
from pyramid_reid.search.serve.app import create
from pyramid_reid.search.serve.security import Access, access
from pyramid_reid.search.store import Store

TOKENS = "PYRAMID_REID_TOKEN"
"""Environment variable with tokens, separated by spaces."""

CONNECTIONS = 64
"""At once; each may bring a body of `security.MAX_BODY` bytes."""


HEADERS_S = 15
"""Seconds within which the head of a request must have come."""


def serve(
    store_folder: str | Path,
    model_folder: Path,
    host: str,
    port: int,
    tokens: Sequence[str],
    log: Path | None,
    no_log: bool,
) -> int:
    """Serve a store until the process is told to end.

    Args:
        tokens: TOKEN or NAME=TOKEN each; none: those of the environment variable `TOKENS`.
        log: None: `log.FILE` in the store.

    Returns:
        0.

    Raises:
        UserError: store, model, address, tokens or log cannot be used as given.
    """
    store = Store.open(store_folder)
    allowed, made = access(host, tokens or os.environ.get(TOKENS, "").split())
    search_log = logs.SearchLog(log_path(allowed, store_folder, log, no_log))
    model = load(model_folder)
    store.check(model.description)
    listening = listen(host, port)
    app = create(store, model, allowed, search_log)
    model.dim  # noqa: B018 (loads the networks, so that the first search does not wait for them)
    announce(host, listening.getsockname()[1], made, search_log.path)
    uvicorn.Server(settings(app)).run(sockets=[listening])
    return 0


def log_path(allowed: Access, store: str | Path, log: Path | None, no_log: bool) -> Path | None:
    """Where searches are logged; None: nowhere.

    Raises:
        UserError: nowhere, although others may ask; or in object storage, where no file grows
            line by line.
    """
    if no_log and not allowed.local:
        raise UserError(
            "--no-log is for a server that only this machine reaches: leave it out, or --host and"
            " --token"
        )
    if no_log:
        return None
    if log is None and not isinstance(store, Path):
        raise UserError(f"{store} cannot hold the log of searches: name a file by --log")
    return log or Path(store) / logs.FILE


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        UserError: the address is no address of this machine, or taken.
    """
    listening = None
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()
    except (OSError, OverflowError, UnicodeError) as error:
        if listening is not None:
            listening.close()
        raise UserError(
            f"nothing can listen at {host}, port {port} ({reason(error)}): give another --host or"
            " --port"
        ) from error
    return listening


def announce(host: str, port: int, made: str | None, log: Path | None) -> None:
    """Say where the page is, the token that was made, and where searches are logged."""
    name = socket.gethostname() if host in ("", "0.0.0.0", "::") else host  # noqa: S104
    shown = f"[{name}]" if ":" in name else name
    print(f"Open http://{shown}:{port}/ (Ctrl-C ends it)", file=sys.stderr)
    if made is not None:
        print(f"Token, shown this once: {made}", file=sys.stderr)
    print(
        "Searches are not logged" if log is None else f"Searches are logged in {log}",
        file=sys.stderr,
        flush=True,
    )


class Impatient(H11Protocol):
    """Closes a connection whose request does not come: idle ones would keep others out."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch."""
        super().connection_made(transport)
        self._seen: object = None
        self.loop.call_later(HEADERS_S, self._watch)

    def _watch(self) -> None:
        if self.transport.is_closing():
            return
        if self.cycle is self._seen and self.conn.their_state is h11.IDLE:
            self.transport.close()
            return
        self._seen = self.cycle
        self.loop.call_later(HEADERS_S, self._watch)


def settings(app: FastAPI) -> uvicorn.Config:
    """How the application is served."""
    return uvicorn.Config(
        app,
        http=Impatient,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # a client could name another address to the log
        ws="none",
        lifespan="off",
        limit_concurrency=CONNECTIONS,
        timeout_graceful_shutdown=5,
    )
