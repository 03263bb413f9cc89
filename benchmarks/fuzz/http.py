"""What happens with broken, hostile and huge requests to `pyramid-reid serve`.

Requests go over sockets to a real server, made from good ones by a seeded generator: other methods
and paths, broken headers, JSON, forms and pictures, bodies that are huge, cut off, or of another
length than they say. A 5xx, an answer that does not come, a file from outside the store, a missing
header of security, or a server that does not answer well afterwards is a bug (wrong), and the exit
status is 1.
"""

from __future__ import annotations

import argparse
import json
import random
import socket
import sys
import tempfile
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import uvicorn

from pyramid_reid.core import printing
from pyramid_reid.search.serve import run, security
from pyramid_reid.search.serve.app import create
from pyramid_reid.search.serve.log import SearchLog
from pyramid_reid.search.serve.security import HEADERS, MAX_BODY, Access

if TYPE_CHECKING:
    from pyramid_reid.search.model import Model
    from pyramid_reid.search.store import Store

REQUESTS = 4000
QUICK = 20
"""By so much fewer requests."""
PATIENCE_S = 20
"""So long may an answer take."""
WAIT_S = 1
"""So long does the server wait for the rest of a request."""
SECRETS = (b"root:x:", b"CANARY-OUTSIDE")
"""Of files that no answer may hold: /etc/passwd, and one beside the store."""

PATHS = (
    "/", "/docs", "/login", "/logout", "/page/app.js", "/api/status", "/api/crops", "/api/embed",
    "/api/restore", "/api/search", "/api/openapi.json",
)  # fmt: skip
ESCAPES = (
    "../../../../etc/passwd", "..%2f..%2f..%2fetc%2fpasswd", "%2e%2e/%2e%2e/etc/passwd",
    "....//....//etc/passwd", "/etc/passwd", "..\\..\\etc\\passwd", "%00", "app.js%00.css",
    "file:///etc/passwd", "../canary.txt", "%c0%ae%c0%ae/canary.txt", "?file=/etc/passwd",
)  # fmt: skip
WEIRD = (
    None, True, -1, 0, 1e308, -1e308, 10**400, "", "'", "' or 1=1 --", "\x00", "é" * 300, [], {},
    [[]], [None] * 20, "../../etc/passwd", "\ud800", float("nan"), float("inf"), {"ori": "x"},
    [[[1e-320] * 512] * 4], [[[1.0] * 512] * 4], [[[float("inf")] * 512] * 4], ["0" * 64] * 17,
    "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", 253402300800, "2024-05-12",
    "a" * 10**5,
)  # fmt: skip
KEYS = (
    "ids", "vectors", "weights", "k", "exact", "cameras", "since", "until", "id", "where", "path",
)  # fmt: skip
METHODS = (
    "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW", "get",
)  # fmt: skip
BOUNDARY = b"boundary"


@dataclass(frozen=True, slots=True)
class Gallery:
    """What good requests are made of: files of pictures, and ids of crops in the store."""

    pictures: list[bytes]
    ids: list[str]
    port: int


Draw = random.Random
Maker = Callable[[Draw, Gallery], bytes]


def request(
    draw: Draw, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """The bytes of a request; `headers` come beside, or instead of, the right ones."""
    known = {"Host": "localhost", "Connection": "close", "Content-Length": str(len(body))}
    lines = [f"{name}: {value}" for name, value in {**known, **(headers or {})}.items()]
    draw.shuffle(lines)
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *lines])
    return head.encode("utf-8", "surrogatepass") + b"\r\n\r\n" + body


def form(draw: Draw, parts: list[tuple[str, bytes]]) -> bytes:
    """A form; sometimes its frame is damaged."""
    body = b""
    for name, content in parts:
        kind = b"" if name == "options" else b'; filename="a.png"\r\nContent-Type: image/png'
        body += (
            b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="' + name.encode() + b'"'
            + kind + b"\r\n\r\n" + content + b"\r\n"
        )  # fmt: skip
    body += b"--" + BOUNDARY + b"--\r\n"
    return damaged(draw, body) if draw.random() < 0.3 else body


def damaged(draw: Draw, content: bytes) -> bytes:
    """Bytes that are changed, cut off, doubled or lengthened."""
    if not content:
        return bytes(draw.randrange(256) for _ in range(draw.randrange(64)))
    kind, at = draw.randrange(4), draw.randrange(len(content))
    if kind == 0:
        changed = bytearray(content)
        for _ in range(draw.randint(1, 8)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        return bytes(changed)
    if kind == 1:
        return content[:at]
    if kind == 2:
        return content[:at] + content[draw.randrange(len(content)) :]
    return content[:at] + bytes(draw.randrange(256) for _ in range(9)) + content[at:]


def options(draw: Draw, gallery: Gallery) -> bytes:
    """JSON of a search, of which something is weird."""
    given: dict[str, object] = {"ids": [draw.choice(gallery.ids)], "k": draw.randint(1, 30)}
    for _ in range(draw.randint(0, 3)):
        given[draw.choice(KEYS)] = draw.choice(WEIRD)
    kind = draw.random()
    if kind < 0.05:
        return b"[" * draw.choice((10, 10_000, 200_000))
    if kind < 0.1:
        return json.dumps(draw.choice(WEIRD)).encode("utf-8", "surrogatepass")
    text = json.dumps(given, ensure_ascii=draw.random() < 0.5).encode("utf-8", "surrogatepass")
    return damaged(draw, text) if draw.random() < 0.3 else text


def paths(draw: Draw, _: Gallery) -> bytes:
    """Any method, and paths that lead elsewhere."""
    path = draw.choice((*PATHS, "/page/", "/api/crops/", "/page/app.js/", "//", "*", ""))
    if draw.random() < 0.7:
        path += draw.choice(ESCAPES)
    if draw.random() < 0.2:
        path += "/" + "a" * draw.choice((10, 5000, 70_000))
    return request(draw, draw.choice(METHODS), path)


def listings(draw: Draw, gallery: Gallery) -> bytes:
    """Parameters of the gallery's list."""
    names = ("camera", "since", "until", "offset", "limit", "where", "id")
    pairs = [
        (draw.choice(names), str(draw.choice((*WEIRD, 2**63, 2**40, "lobby", "2024-05-12T10:00"))))
        for _ in range(draw.randint(0, 6))
    ]
    query = urllib.parse.urlencode(pairs, errors="replace")[:5000]
    path = (
        f"/api/crops?{query}" if draw.random() < 0.8 else f"/api/crops/{draw.choice(gallery.ids)}"
    )
    return request(draw, "GET", path + ("%ff%00" if draw.random() < 0.1 else ""))


def headers(draw: Draw, gallery: Gallery) -> bytes:
    """Broken and hostile headers before a good body."""
    body = json.dumps({"ids": [draw.choice(gallery.ids)]}).encode()
    values = (
        "", "localhost", "evil.example", "[", "a" * 9000, "é", "\x01", "-1", "1e3",
        "99999999999999",
        "²", "chunked", "gzip", "null", "http://[", "bytes=0-1", "multipart/form-data",
        "multipart/form-data; boundary=", "application/json; charset=utf-7", "Bearer \u00ff",
        'pyramid-reid="\\377', "multipart/form-data; boundary=" + "b" * 300, "cross-site",
    )  # fmt: skip
    names = (
        "Host", "Origin", "Content-Length", "Content-Type", "Transfer-Encoding", "Cookie",
        "Authorization", "Expect", "Range", "Sec-Fetch-Site", "X-Forwarded-For", "Content-Encoding",
        "Accept", "Upgrade", "X" * 300,
    )  # fmt: skip
    changed = {draw.choice(names): draw.choice(values) for _ in range(draw.randint(1, 4))}
    return request(
        draw, "POST", "/api/search", body, {"Content-Type": "application/json"} | changed
    )


def searches(draw: Draw, gallery: Gallery) -> bytes:
    """JSON bodies."""
    path = draw.choice(("/api/search", "/api/restore", "/api/embed", "/login"))
    kind = "application/x-www-form-urlencoded" if path == "/login" else "application/json"
    return request(draw, "POST", path, options(draw, gallery), {"Content-Type": kind})


def pictures(draw: Draw, gallery: Gallery) -> bytes:
    """Forms with pictures, of which some are none."""
    parts: list[tuple[str, bytes]] = []
    for _ in range(draw.choice((0, 1, 1, 1, 2, 17))):
        content = draw.choice(gallery.pictures)
        if draw.random() < 0.6:
            content = damaged(draw, content)
        if draw.random() < 0.1:  # an image that says it is huge
            content = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"\0\1\0\0" * 2 + content[24:]
        parts.append((draw.choice(("images",) * 9 + ("options", "../../x")), content))
    if draw.random() < 0.5:
        parts.append(("options", options(draw, gallery)))
    path = draw.choice(("/api/search", "/api/embed", "/api/restore"))
    kind = "multipart/form-data; boundary=" + BOUNDARY.decode()
    return request(draw, "POST", path, form(draw, parts), {"Content-Type": kind})


def sizes(draw: Draw, _: Gallery) -> bytes:
    """Bodies that are huge, or of another length than they say."""
    kind = draw.randrange(4)
    if kind == 0:
        return request(draw, "POST", "/api/search", b"x" * draw.choice((MAX_BODY + 1, MAX_BODY)))
    if kind == 1:  # the rest never comes
        return request(draw, "POST", "/api/search", b"{}", {"Content-Length": "100"})
    if kind == 2:
        chunks = draw.choice((b"2\r\n{}\r\n0\r\n\r\n", b"zz\r\n", b"ffffffffff\r\nab", b"-2\r\n{}"))
        head = b"POST /api/search HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks
    return damaged(draw, request(draw, "GET", draw.choice(PATHS)))


MAKERS: dict[str, tuple[Maker, int]] = {
    "paths": (paths, 4),
    "listings": (listings, 3),
    "headers": (headers, 4),
    "searches": (searches, 5),
    "pictures": (pictures, 5),
    "sizes": (sizes, 1),
}
"""Kinds of requests, and how often each is made among the others."""


def answer(port: int, sent: bytes) -> bytes:
    """All that comes back until the server closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) as connection:
        with suppress(OSError):  # the server refused before all of it came
            connection.sendall(sent)
        received = b""
        with suppress(ConnectionResetError):
            while part := connection.recv(2**16):
                received += part
        return received


def outcome(received: bytes) -> tuple[str, str]:
    """Answered, refused, closed or wrong; and what was said."""
    if not received:
        return "closed", ""
    head, _, body = received.partition(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    said = f"{status} {body[:300]!r}"
    if status >= 500 or any(secret in received for secret in SECRETS):
        return "wrong", said
    # what is no HTTP at all is refused by uvicorn, before anything of ours
    if b"Invalid HTTP request received." in body:
        return "refused", said
    lower = head.lower()
    if any(f"{name}: {value}".lower().encode() not in lower for name, value in HEADERS.items()):
        return "wrong", f"{said}, and a header is missing"
    return ("answered" if status < 400 else "refused"), said


@contextmanager
def serving(store: Store, model: Model, log: Path) -> Iterator[int]:
    """A server that waits less long than others for what never comes; its port."""
    security.BODY_S, run.HEADERS_S = WAIT_S, WAIT_S
    listening = run.listen("127.0.0.1", 0)
    server = uvicorn.Server(run.settings(create(store, model, Access(True, {}), SearchLog(log))))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def fuzz(gallery: Gallery, number: int, seed: int) -> dict[str, Counter[str]]:
    """Outcomes of so many requests, by kind; those that are wrong are printed."""
    draw = random.Random(seed)  # noqa: S311
    names = list(MAKERS)
    counts = {name: Counter[str]() for name in names}
    good = request(
        draw, "POST", "/api/search", json.dumps({"ids": gallery.ids[:1], "k": 3}).encode(),
        {"Content-Type": "application/json"},
    )  # fmt: skip
    expected = answer(gallery.port, good).partition(b"\r\n\r\n")[2]
    for made in range(number):
        name = draw.choices(names, [share for _, share in MAKERS.values()])[0]
        sent = MAKERS[name][0](draw, gallery)
        try:
            kind, said = outcome(answer(gallery.port, sent))
        except TimeoutError:
            kind, said = "wrong", f"no answer within {PATIENCE_S} s"
        except (ValueError, IndexError) as error:
            kind, said = "wrong", f"no HTTP: {error}"
        counts[name][kind] += 1
        if kind == "wrong":
            print(f"{name}, request {made}: {said}\n  {sent[:300]!r}", file=sys.stderr, flush=True)
        if made % 200 == 199 and answer(gallery.port, good).partition(b"\r\n\r\n")[2] != expected:
            counts[name]["wrong"] += 1
            print(f"after request {made} a good one is answered otherwise", file=sys.stderr)
    return counts


def table(counts: dict[str, Counter[str]]) -> str:
    """A row per kind of request, and their sums."""
    kinds = ("answered", "refused", "closed", "wrong")
    rows = [f"{'requests':<10} {'tried':>6} " + " ".join(f"{kind:>9}" for kind in kinds)]
    for name, count in {**counts, "all": sum(counts.values(), Counter[str]())}.items():
        rows.append(
            f"{name:<10} {count.total():>6} " + " ".join(f"{count[kind]:>9}" for kind in kinds)
        )
    return "\n".join(rows)


def main() -> None:
    """Try the requests, print the table and one line per figure: NAME VALUE UNIT."""
    printing.end_when_lost()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True, help="a store of `pyramid-reid index`")
    parser.add_argument("--model", type=Path, default=Path("data/model"), help="its model")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK} times fewer requests")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    from pyramid_reid.search.model import load
    from pyramid_reid.search.store import Store

    store, model = Store.open(given.store), load(given.model)
    ids = [row["id"] for row in store.rows(None, 0, 20)]
    begun, number = time.monotonic(), given.requests // (QUICK if given.quick else 1)
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(store, model, Path(folder) / "log") as port,
    ):
        counts = fuzz(Gallery([store.crop(each) for each in ids], ids, port), number, given.seed)
    print(table(counts))
    total = sum(counts.values(), Counter[str]())
    print(f"http.tried {total.total()} requests")
    for kind in ("answered", "refused", "closed", "wrong"):
        print(f"http.{kind} {total[kind]} requests")
    print(f"http.time {time.monotonic() - begun:.0f} s")
    sys.exit(1 if total["wrong"] else 0)


if __name__ == "__main__":
    main()
