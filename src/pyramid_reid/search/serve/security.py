"""Who may ask, what a request may weigh, and what every answer says to browsers."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pyramid_reid.core.errors import UserError

MAX_BODY = 2**23
"""Bytes of a request: a crop of a person has some 10 KB, `MAX_PICTURES` of them fit."""

BODY_S = 60
"""Seconds within which a body must have come."""

LEAST_TOKEN = 16
"""Characters of a token; what is shorter can be guessed."""

WRONG_S = 0.5
"""Seconds that a wrong token waits for its answer."""

COOKIE = "pyramid-reid"

SESSION_S = 12 * 3600
"""Seconds for which somebody who handed in a token stays logged in."""

OPEN = {"/login", "/page/login.js", "/page/style.css", "/page/favicon.svg"}
"""Paths that are answered without a token: what it takes to hand one in."""

SAFE = ("GET", "HEAD")

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    # pictures of people stay out of the browser's cache, or `forget` would not forget them
    "cache-control": "no-store",
}


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address. A name other than localhost is none."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """Who may ask.

    Attributes:
        loopback: the address is one that only this machine reaches.
        tokens: by name; empty where everybody on this machine may ask.
    """

    loopback: bool
    tokens: Mapping[str, str]

    @property
    def local(self) -> bool:
        """Whether only users of this machine ask: before tokens, a proxy may stand."""
        return self.loopback and not self.tokens

    def name_of(self, token: str) -> str | None:
        """The name of a token; None where there is no such token."""
        return _same(token, self.tokens)

    def session(self, name: str) -> str:
        """What the cookie of a token's holder says: until when it holds, and a proof.

        It takes the token alone to check it, so every process that was given it does.
        """
        until = str(int(time.time()) + SESSION_S)
        return f"{until}.{_proof(self.tokens[name], until)}"

    def holder(self, headers: Headers) -> str | None:
        """The name of the token that a request brings, as a header or as a cookie."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.name_of(token.strip())
        # not http.cookies, which reads none behind one of another service that it does not like
        until, _, proof = cookie_parser(headers.get("cookie", "")).get(COOKIE, "").partition(".")
        if not until.isdecimal() or len(until) > len(str(2**63)) or int(until) < time.time():
            return None
        return _same(proof, {name: _proof(token, until) for name, token in self.tokens.items()})


def _proof(token: str, until: str) -> str:
    """What only a holder of the token can have made."""
    return hmac.new(token.encode(), f"session until {until}".encode(), "sha256").hexdigest()


def _same(given: str, known: Mapping[str, str]) -> str | None:
    """The name of what was given, compared with all in a time that does not depend on it."""
    found = None
    for name, expected in known.items():
        if hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
            found = name
    return found


def access(host: str, given: Sequence[str]) -> tuple[Access, str | None]:
    """Who may ask at an address.

    Args:
        host: address to listen at.
        given: tokens, as TOKEN or NAME=TOKEN.

    Returns:
        The access, and the token that was made because none was given for an address that other
        machines reach.

    Raises:
        UserError: a token is short or holds other than visible ASCII, or a name comes twice.
    """
    tokens: dict[str, str] = {}
    for number, each in enumerate(given, 1):
        before, _, after = each.partition("=")
        # the = at the end of base64 separates nothing
        name, token = (before, after) if after.strip("=") else ("token", each)
        if len(token) < LEAST_TOKEN or not all("!" <= letter <= "~" for letter in token):
            raise UserError(  # which does not tell what may be a secret
                f"token {number} of {len(given)} must have at least {LEAST_TOKEN} letters, digits"
                " or signs and no space: leave --token out and one is made"
            )
        if name in tokens:
            raise UserError(f"two tokens are named {name!r}: give NAME=TOKEN, each with its name")
        tokens[name] = token
    loopback, made = is_loopback(host), None
    if not loopback and not tokens:
        made = secrets.token_urlsafe(24)
        tokens["token"] = made
    return Access(loopback, tokens), made


class Guard:
    """Stands before the application: checks each request, and adds `HEADERS` to each answer.

    An answer of its own is JSON, `{"error": …}`: 400 without a usable Host, 403 from a foreign
    page, 401 without a token, 413 or 408 where a body is too large or too slow. The body is read
    here, whole, so that the application never waits for one.

    It leaves the holder's name (or None) as `scope["state"]["who"]`.
    """

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on to the application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # there are no WebSockets
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = Headers(scope=scope)

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = _foreign(scope["method"], headers, self._access)
        if refused:
            await _answer(guarded, *refused)
            return
        who = self._access.holder(headers)
        if self._access.tokens and who is None and scope["path"] not in OPEN:
            if "authorization" in headers:
                await wait()
            if scope["method"] in SAFE and not scope["path"].startswith("/api/"):
                await _answer(guarded, 303, "log in", location="/login")
            else:
                await _answer(
                    guarded,
                    401,
                    "a token is needed: send the header `Authorization: Bearer TOKEN`",
                    **{"www-authenticate": "Bearer"},
                )
            return
        scope.setdefault("state", {})["who"] = who
        body = await _body(headers, receive)
        if body is None:
            return  # the other side has gone
        if isinstance(body, tuple):
            await _answer(guarded, *body, connection="close")
            return
        await self._app(scope, _replayed(body, receive), guarded)


def _foreign(method: str, headers: Headers, access: Access) -> tuple[int, str] | None:
    """Status and reason where a request comes through a name or a page that is not this one's."""
    host = headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if not name or len(headers.getlist("host")) != 1:
        return 400, "the request names no host"
    # a foreign name that points to this machine: DNS rebinding
    if access.local and not is_loopback(name):
        return 400, "this address answers to localhost only, not to another name"
    if method in SAFE:
        return None
    origin = headers.get("origin")
    if origin is not None and _host_of(origin) != host.lower():
        return 403, "the request comes from the page of another site"
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return 403, "the request comes from the page of another site"
    return None


def _host_of(origin: str) -> str | None:
    """Host and port of an origin; None where it is none (`null`, too, is foreign)."""
    try:
        parts = urlsplit(origin.lower())
    except ValueError:
        return None
    return parts.netloc if parts.scheme in ("http", "https") else None


async def _body(headers: Headers, receive: Receive) -> bytes | tuple[int, str] | None:
    """The whole body; status and reason where it is too large or too slow; None: it broke off."""
    too_large = 413, f"a request may have {MAX_BODY} bytes: send fewer or smaller pictures"
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length[:20]) > MAX_BODY:
        return too_large
    chunks, size = [], 0
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return None
                chunks.append(message.get("body", b""))
                size += len(chunks[-1])
                if size > MAX_BODY:
                    return too_large
                if not message.get("more_body", False):
                    return b"".join(chunks)
    except TimeoutError:
        return 408, f"the body did not come within {BODY_S} s"


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that was read, and then what comes."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _answer(send: Send, status: int, said: str, **headers: str) -> None:
    body = json.dumps({"error": said}).encode()
    headers |= {"content-type": "application/json", "content-length": str(len(body))}
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def wait() -> None:
    """Delay the answer to a wrong token, so that tokens cannot be tried in numbers."""
    await asyncio.sleep(WRONG_S)


def token_of_form(body: bytes) -> str:
    """The field `token` of the login form; empty where there is none."""
    try:
        fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=8)
    except ValueError:
        return ""
    return fields.get("token", [""])[0]
