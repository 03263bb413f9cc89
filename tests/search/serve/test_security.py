"""Who is answered, and what every answer says to browsers."""

import asyncio
import json
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.testclient import TestClient

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.serve import security
from pyramid_reid.search.serve.app import create
from pyramid_reid.search.serve.log import SearchLog
from pyramid_reid.search.serve.run import listen, log_path
from pyramid_reid.search.serve.security import Access, Guard, access

ANNA, BEN = "a-token-of-anna-1", "the-token-of-ben-2"


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(security, "WRONG_S", 0)


@pytest.fixture
def network(stored, model, log):
    """A program on another machine."""
    allowed, _ = access("0.0.0.0", [f"anna={ANNA}", f"ben={BEN}"])  # noqa: S104
    return TestClient(
        create(stored, model, allowed, log), "http://gallery.example:8000", follow_redirects=False
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.9"])
def test_this_machine_needs_no_token(host):
    allowed, made = access(host, [])
    assert allowed.loopback
    assert not allowed.tokens
    assert made is None


@pytest.mark.parametrize(
    "host",
    ["0.0.0.0", "::", "10.0.0.1", "gallery.example", "", "127.0.0.1.evil"],  # noqa: S104
)
def test_another_address_gets_a_token_that_no_one_can_guess(host):
    (one, made), (_, another) = access(host, []), access(host, [])
    assert not one.loopback
    assert one.tokens == {"token": made}
    assert len(made) >= 32
    assert made != another
    with pytest.raises(UserError, match="--no-log is for"):
        log_path(one, None, None, True)


@pytest.mark.parametrize(
    "given", [["short"], ["name=short"], ["with spaces in it 1234"], ["a" * 15], ["a=" + "ä" * 20]]
)
def test_a_token_that_can_be_guessed_is_refused(given):
    with pytest.raises(UserError, match=r"^token 1 of 1 must have at least 16"):
        access("0.0.0.0", given)  # noqa: S104


def test_what_base64_ends_with_is_a_part_of_the_token():
    made = "AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/abcdE="
    for given, name in ((made, "token"), (f"anna={made}", "anna"), (made + "=", "token")):
        allowed, _ = access("0.0.0.0", [given])  # noqa: S104
        assert allowed.tokens == {name: given.removeprefix("anna=")}


def test_two_tokens_of_one_name_are_refused():
    with pytest.raises(UserError, match="two tokens are named 'anna'"):
        access("0.0.0.0", [f"anna={ANNA}", f"anna={BEN}"])  # noqa: S104


@pytest.mark.parametrize(
    "path", ["/api/status", "/api/crops", f"/api/crops/{'0' * 64}", "/api/openapi.json"]
)
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer wrong"},
        {"authorization": f"Basic {ANNA}"},
        {"authorization": "Bearer "},
        {"authorization": "Bearer \xff".encode("latin-1")},
        {"cookie": f"pyramid-reid={ANNA}"},
        {"cookie": 'pyramid-reid="\\377'},
    ],
)
def test_without_a_token_nothing_is_told(network, path, headers):
    answer = network.get(path, headers=headers)
    assert answer.status_code == 401
    assert set(answer.json()) == {"error"}


def test_without_a_token_the_page_leads_to_the_login(network):
    for path in ("/", "/docs", "/page/app.js"):
        answer = network.get(path)
        assert (answer.status_code, answer.headers["location"]) == (303, "/login")
    assert network.get("/login").status_code == 200


def test_a_token_in_the_header(network, log, crops):
    headers = {"authorization": f"Bearer {BEN}"}
    assert network.get("/api/status", headers=headers).json()["who"] == "ben"
    files = [("images", ("a.png", crops[0].read_bytes()))]
    assert network.post("/api/search", files=files, headers=headers).status_code == 200
    assert '"who": "ben"' in log.path.read_text()
    assert BEN not in log.path.read_text()


def test_the_login_sets_a_cookie_that_scripts_and_other_sites_do_not_get(network):
    assert network.post("/login", data={"token": "wrong"}).status_code == 401
    answer = network.post("/login", data={"token": ANNA})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert ANNA not in cookie
    assert network.get("/api/status").json()["who"] == "anna"
    assert network.get("/").status_code == 200
    network.post("/logout")
    assert network.get("/api/status").status_code == 401


@pytest.mark.parametrize(
    "other", ['prefs={"theme":"dark"}', "flag", "path=/x", "q=a b", "name=J\xfcrgen", "theme=dark"]
)
def test_cookies_of_other_services_of_the_host_change_nothing(network, other):
    network.post("/login", data={"token": ANNA})
    ours = f"pyramid-reid={network.cookies['pyramid-reid']}"
    network.cookies.clear()
    for cookie in (f"{other}; {ours}", f"{ours}; {other}"):
        answer = network.get("/api/status", headers={"cookie": cookie.encode("latin-1")})
        assert answer.status_code == 200
    assert (
        network.get("/api/status", headers={"cookie": other.encode("latin-1")}).status_code == 401
    )


@pytest.fixture
def beside(stored, model, log):
    """What makes another process with some tokens, to which the same browser comes."""

    def start(*tokens, host="0.0.0.0"):  # noqa: S104
        app = create(stored, model, access(host, tokens)[0], log)
        return TestClient(app, "http://gallery.example:8000", follow_redirects=False)

    return start


def test_a_login_holds_in_every_process_that_has_the_token(network, beside):
    network.post("/login", data={"token": ANNA})
    for tokens, status in (([f"a={ANNA}"], 200), ([f"anna={BEN}"], 401), ([], 401)):
        other = beside(*tokens)
        other.cookies = network.cookies
        assert other.get("/api/status").status_code == status


def test_a_login_ends(network, monkeypatch):
    network.post("/login", data={"token": ANNA})
    until, _, proof = network.cookies["pyramid-reid"].partition(".")
    now = time.time()
    assert now + 11 * 3600 < int(until) < now + 13 * 3600
    with monkeypatch.context() as patch:
        patch.setattr(security.time, "time", lambda: int(until) + 1)
        assert network.get("/api/status").status_code == 401
    assert network.get("/api/status").status_code == 200
    for forged in (f"{int(until) + 1}.{proof}", f"{until}.{'0' * 64}", f"{'9' * 5000}.{proof}"):
        network.cookies.clear()
        headers = {"cookie": f"pyramid-reid={forged}"}
        assert network.get("/api/status", headers=headers).status_code == 401


def test_behind_a_proxy_of_this_machine_a_token_is_what_counts(beside, stored):
    behind = beside(ANNA, host="127.0.0.1")
    assert behind.get("/api/status").status_code == 401
    headers = {"authorization": f"Bearer {ANNA}", "origin": "https://gallery.example"}
    headers["host"] = "gallery.example"
    assert behind.post("/api/search", headers=headers, json={}).status_code == 422
    headers["origin"] = "https://evil.example"
    assert behind.post("/api/search", headers=headers, json={}).status_code == 403
    with pytest.raises(UserError, match="--no-log is for"):
        log_path(access("127.0.0.1", [ANNA])[0], stored.folder, None, True)


@pytest.mark.parametrize("body", [b"", b"token=", b"\xff\xfe", b"token=a&" * 100, b"token=%ff%00"])
def test_a_broken_login(network, body):
    assert network.post("/login", content=body).status_code == 401


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "[", "10.0.0.1"]
)
def test_this_machine_is_not_reached_by_another_name(client, host):
    """DNS rebinding: a page's own name is made to point to 127.0.0.1."""
    assert client.get("/api/status", headers={"host": host}).status_code == 400


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:9000", "127.0.0.1:8000", "[::1]:8000", "LOCALHOST"]
)
def test_this_machine_is_reached_by_its_names(client, host):
    assert client.get("/api/status", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost:1234"},
        {"origin": "file://"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
@pytest.mark.parametrize("path", ["/api/search", "/api/embed", "/api/restore", "/login", "/logout"])
def test_pages_of_other_sites_ask_for_nothing(client, path, headers):
    assert client.post(path, headers=headers).status_code == 403


def test_the_page_itself_asks(client):
    headers = {"origin": "http://localhost:8000", "sec-fetch-site": "same-origin"}
    assert client.post("/api/search", headers=headers, json={}).status_code == 422


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 200), ("GET", "/docs", 200), ("GET", "/api/status", 200),
        ("GET", "/none", 404),
        ("POST", "/api/search", 415), ("PUT", "/api/search", 405), ("GET", "/api/search", 405),
        ("DELETE", "/api/crops", 405), ("GET", f"/api/crops/{'0' * 64}", 404),
    ],
)  # fmt: skip
def test_every_answer_is_guarded(client, method, path, status):
    answer = client.request(method, path)
    assert answer.status_code == status
    for name, value in security.HEADERS.items():
        assert answer.headers[name] == value
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy


PATHS = [
    "/page/../app.py", "/page/..%2fapp.py", "/page/%2e%2e/%2e%2e/run.py", "/page/index.html",
    "/page//etc/passwd", "//etc/passwd", "/api/crops/..%2f..%2fetc%2fpasswd",
    "/api/crops/../../etc",
    "/page/app.js%00", "/page/", "/api/crops/", f"/api/crops/{'0' * 63}", f"/api/crops/{'A' * 64}",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_path_leads_to_a_file(client, path):
    answer = client.get(path)
    assert answer.status_code in (404, 422)
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_large_is_not_kept(client, chunked):
    body = b"x" * (security.MAX_BODY + 1)
    answer = client.post("/api/search", content=iter([body]) if chunked else body)
    assert answer.status_code == 413


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(security, "BODY_S", 0.05)
    sent = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/api/search",
        "headers": [(b"host", b"localhost")],
    }  # fmt: skip
    asyncio.run(Guard(None, Access(True, {}))(scope, receive, send))
    assert sent[0]["status"] == 408


def test_get_changes_nothing(client, stored, log):
    before = stored.table.version, log.path.read_bytes()
    for path in ("/", "/api/status", "/api/crops", "/login", "/logout", "/api/search"):
        client.get(path)
    assert (stored.table.version, log.path.read_bytes()) == before


def test_an_address_that_is_taken_is_said():
    taken = listen("127.0.0.1", 0)
    with pytest.raises(UserError, match=r"nothing can listen at 127\.0\.0\.1, port"):
        listen("127.0.0.1", taken.getsockname()[1])
    taken.close()
    with pytest.raises(UserError, match="nothing can listen at"):
        listen("192.0.2.1", 0)


def test_lines_of_the_log_are_whole(tmp_path):
    logs = [SearchLog(tmp_path / "log.jsonl") for _ in range(2)]  # as of two processes

    def write(number):
        logs[number % 2].write({"number": number, "text": "\n" * 99})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(200)))
    lines = [json.loads(line) for line in logs[0].path.read_text().splitlines()]
    assert sorted(line["number"] for line in lines) == list(range(200))
