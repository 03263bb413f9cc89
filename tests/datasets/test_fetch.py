"""Downloads from a real server on the loopback that misbehaves, and archives that do."""

import hashlib
import io
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_reid.core.errors import UserError
from pyramid_reid.datasets import fetch

PAGE = "https://example.org/the-set"


class Handler(BaseHTTPRequestHandler):
    """Serves one file as its server's attributes say, and keeps what it was asked for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        behaviour = self.server
        asked, condition = self.headers["Range"], self.headers["If-Range"]
        behaviour.asked.append(asked)
        status = behaviour.statuses.pop(0) if behaviour.statuses else 200
        if status != 200:
            self.send_error(status)
            return
        content, start = behaviour.content, 0
        if asked and behaviour.ranges and condition in (None, behaviour.etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206)
            first = start + behaviour.shift
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        if behaviour.ranges:
            self.send_header("Accept-Ranges", "bytes")
        if behaviour.etag:
            self.send_header("ETag", behaviour.etag)
        if behaviour.length:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = start + behaviour.breaks.pop(0) if behaviour.breaks else len(content)
        behaviour.sent += len(content[start:stop])
        self.wfile.write(content[start:stop])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server that behaves, until a test changes it."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(fetch, "PAUSE_S", 0)
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.content = archive_of({"VIPeR/cam_a/000_45.bmp": noise(200_000)})
    served.url = f"http://127.0.0.1:{served.server_port}/files/the%20set.zip"
    served.asked, served.statuses, served.breaks, served.sent = [], [], [], 0
    served.etag, served.ranges, served.shift, served.length = '"one"', True, 0, True
    thread = threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield served
    served.shutdown()
    served.server_close()
    thread.join()


def noise(size):
    return np.random.default_rng(0).bytes(size)


def archive_of(files):
    """Bytes of a zip."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


def sha256(content):
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def md5(content):
    return f"md5:{hashlib.md5(content).hexdigest()}"  # noqa: S324 (what others have published)


@pytest.mark.parametrize("algorithm", [sha256, md5])
def test_a_file_is_fetched_once(server, tmp_path, algorithm):
    arguments = server.url, algorithm(server.content), tmp_path / "d", PAGE
    archive = fetch.fetch(*arguments)
    assert archive.read_bytes() == server.content
    assert archive.name.endswith("-the_set.zip")
    assert fetch.fetch(*arguments) == archive
    assert server.asked == [None]
    assert [path.name for path in (tmp_path / "d").iterdir()] == [archive.name]


def test_a_broken_download_goes_on_where_it_broke_off(server, tmp_path):
    server.breaks = [70_000, 50_000]
    archive = fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert archive.read_bytes() == server.content
    assert server.asked == [None, "bytes=65536-", "bytes=114688-"]
    assert server.sent < len(server.content) + 2 * fetch.PIECE


def test_another_run_goes_on_where_the_first_gave_up(server, tmp_path):
    server.breaks = [70_000, *[0] * 10]
    with pytest.raises(UserError, match=r"broke off after 65536 bytes .*command again to go on"):
        fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert len(server.asked) == fetch.ATTEMPTS
    server.breaks, server.asked = [], []
    archive = fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert archive.read_bytes() == server.content
    assert server.asked == ["bytes=65536-"]


@pytest.mark.parametrize(("etag", "ranges"), [(None, True), ('W/"weak"', True), ('"one"', False)])
def test_a_server_that_cannot_go_on_sends_all_of_it_again(server, tmp_path, etag, ranges):
    server.breaks, server.etag, server.ranges = [70_000], etag, ranges
    archive = fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert archive.read_bytes() == server.content
    assert server.sent == len(server.content) + 70_000


def test_what_a_server_that_cannot_go_on_gave_is_not_promised(server, tmp_path):
    server.breaks, server.ranges = [70_000] * 10, False
    with pytest.raises(UserError, match=r"broke off after 65536 bytes .*to begin anew"):
        fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)


def test_a_file_that_changes_between_two_parts_is_never_mixed(server, tmp_path):
    server.breaks = [70_000, *[0] * 10]
    with pytest.raises(UserError, match="broke off"):
        fetch.fetch(server.url, None, tmp_path, PAGE)
    server.content = archive_of({"other": noise(90_000)})
    server.breaks, server.etag = [], '"two"'
    archive = fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert archive.read_bytes() == server.content


def test_a_kill_between_two_versions_never_mixes_them(server, tmp_path, monkeypatch):
    server.breaks = [70_000, *[0] * 10]
    with pytest.raises(UserError, match="broke off"):
        fetch.fetch(server.url, None, tmp_path, PAGE)
    server.content = archive_of({"other": noise(90_000)})
    server.breaks, server.etag = [], '"two"'
    write = Path.write_text

    def killed(path, text):
        write(path, text)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", killed)  # the new version is noted, and no more
        with pytest.raises(KeyboardInterrupt):
            fetch.fetch(server.url, None, tmp_path, PAGE)
    archive = fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert archive.read_bytes() == server.content


@pytest.mark.parametrize("change", ["shift", "shorter"])
def test_a_server_that_answers_with_another_part_is_asked_for_all_of_it(server, tmp_path, change):
    server.breaks = [70_000, *[0] * 10]
    with pytest.raises(UserError, match="broke off"):
        fetch.fetch(server.url, None, tmp_path, PAGE)
    server.breaks, server.asked = [], []
    if change == "shift":
        server.shift = 5
    else:  # although its ETag says that it is the same file
        server.content = archive_of({"other": noise(10_000)})
    archive = fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert archive.read_bytes() == server.content
    assert server.asked == ["bytes=65536-", None]


def test_a_download_of_unknown_length_is_checked_by_its_hash(server, tmp_path):
    server.length, server.breaks = False, [70_000]
    with pytest.raises(UserError, match="gave no zip or tar archive"):
        fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    archive = fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert archive.read_bytes() == server.content


def test_a_first_download_says_the_hash_to_pin_and_is_kept(server, tmp_path):
    digest = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(UserError, match=f"data.sha256={digest}"):
        fetch.fetch(server.url, None, tmp_path, PAGE)
    assert fetch.fetch(server.url, f"sha256:{digest.upper()}", tmp_path, PAGE).exists()
    assert server.asked == [None]


def test_a_file_of_another_hash_is_refused_and_kept_for_a_look(server, tmp_path):
    server.content, expected = archive_of({"evil": b"x"}), sha256(server.content)
    for _ in range(2):
        with pytest.raises(UserError) as caught:
            fetch.fetch(server.url, expected, tmp_path, PAGE)
        assert expected.removeprefix("sha256:") in str(caught.value)
        assert sha256(server.content).removeprefix("sha256:") in str(caught.value)
    assert server.asked == [None]


def test_a_page_instead_of_an_archive_is_shown_and_not_kept(server, tmp_path):
    server.content = b"<html>Please log in</html>"
    with pytest.raises(UserError, match=f"<html>Please log in.*{PAGE}"):
        fetch.fetch(server.url, None, tmp_path, PAGE)
    assert not list(tmp_path.iterdir())


def test_a_missing_file_names_the_page_and_a_server_s_fault_is_tried_again(server, tmp_path):
    server.statuses = [404]
    with pytest.raises(UserError, match=f"404 Not Found.*{PAGE}"):
        fetch.fetch(server.url, None, tmp_path, PAGE)
    server.statuses, server.asked = [503, 500], []
    assert fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE).exists()
    assert server.asked == [None] * 3


def test_a_server_that_is_not_there_is_named(server, tmp_path):
    url = server.url.replace(str(server.server_port), "1")
    with pytest.raises(UserError, match=f"127.0.0.1:1/.* cannot be reached .*refused.*{PAGE}"):
        fetch.fetch(url, None, tmp_path, PAGE)


@pytest.mark.parametrize("url", ["http://[::1", "http://a:port/b.zip", "http://./b.zip"])
def test_an_address_that_is_none_is_named(tmp_path, url):
    with pytest.raises(UserError, match=r"cannot be reached .*https://example\.org"):
        fetch.fetch(url, None, tmp_path, PAGE)


def test_no_address_names_a_file_outside_the_folder(server, tmp_path):
    url = server.url.replace("the%20set.zip", "%2e%2e%2f%2e%2e%2fevil%00.zip?a=/b")
    archive = fetch.fetch(url, sha256(server.content), tmp_path / "d", PAGE)
    assert archive.resolve().parent == tmp_path / "d"
    assert archive.name.endswith("-evil_.zip")


def test_a_download_that_the_disk_has_no_room_for_is_not_begun(server, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 99}))
    with pytest.raises(UserError, match="room for 99"):
        fetch.fetch(server.url, None, tmp_path, PAGE)


# Archives.


def tar_of(*members, mode="w"):
    """Bytes of a tar with (name, type, link, content) as its members."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode=mode) as archive:
        for name, kind, link, content in members:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def zip_of(name, content=b"x", mode=0, *, flags=0):
    """Bytes of a zip with one member of a Unix mode."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
        archive.writestr(info, content)
    data = bytearray(packed.getvalue())
    if flags:
        data[6] |= flags
        data[data.index(b"PK\x01\x02") + 8] |= flags
    return bytes(data)


def zip_twice():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a", b"1")
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("a", b"2")
    return packed.getvalue()


FILE, ZEROS = tarfile.REGTYPE, bytes(30_000_000)
GOOD = zip_of("a", noise(5000))
MALICIOUS = {
    "tar absolute": (lambda: tar_of(("/evil", FILE, "", b"x")), "outside"),
    "tar parent": (lambda: tar_of(("a/../../evil", FILE, "", b"x")), "outside"),
    "tar symlink": (lambda: tar_of(("a", tarfile.SYMTYPE, "/etc/passwd", b"")), "'a' is a link"),
    "tar through a link": (
        lambda: tar_of(("a", tarfile.SYMTYPE, "..", b""), ("a/evil", FILE, "", b"x")),
        "'a' is a link",
    ),
    "tar link": (lambda: tar_of(("a", tarfile.LNKTYPE, "../evil", b"")), "'a' is a link"),
    "tar device": (lambda: tar_of(("a", tarfile.CHRTYPE, "", b"")), "'a' is a special file"),
    "tar pipe": (lambda: tar_of(("a", tarfile.FIFOTYPE, "", b"")), "'a' is a special file"),
    "tar twice": (lambda: tar_of(*[("a", FILE, "", b"x")] * 2), "'a' twice"),
    "tar bomb": (lambda: tar_of(("a", FILE, "", ZEROS), mode="w:gz"), "larger than 50 times"),
    "tar bomb of many": (
        lambda: tar_of(*[(str(k), FILE, "", ZEROS[:300_000]) for k in range(30)], mode="w:xz"),
        "larger than 50 times",
    ),
    "tar cut off": (lambda: tar_of(("a", FILE, "", noise(5000)), mode="w:gz")[:-900], "cannot"),
    "tar file and folder": (
        lambda: tar_of(("a", FILE, "", b"x"), ("a/b", FILE, "", b"x")),
        "cannot be unpacked",
    ),
    "zip absolute": (lambda: zip_of("/evil"), "outside"),
    "zip parent": (lambda: zip_of("../evil"), "outside"),
    "zip backslash": (lambda: zip_of("..\\evil"), "outside"),
    "zip symlink": (lambda: zip_of("a", b"/etc/passwd", stat.S_IFLNK | 0o777), "'a' is a link"),
    "zip device": (lambda: zip_of("a", b"", stat.S_IFCHR | 0o666), "'a' is a special file"),
    "zip twice": (zip_twice, "'a' twice"),
    "zip bomb": (lambda: zip_of("a", ZEROS), "larger than 50 times"),
    "zip encrypted": (lambda: zip_of("a", flags=1), "encrypted"),
    "zip damaged": (lambda: GOOD.replace(GOOD[200:220], bytes(20)), "cannot be unpacked"),
    "zip that lies about its size": (
        lambda: zip_of("a", ZEROS).replace(len(ZEROS).to_bytes(4, "little"), b"\x05\0\0\0"),
        "cannot be unpacked",
    ),
}


@pytest.mark.parametrize("name", MALICIOUS)
def test_a_malicious_or_damaged_archive_is_refused_as_a_whole(tmp_path, name):
    make, said = MALICIOUS[name]
    archive = tmp_path / "archive"
    archive.write_bytes(make())
    with pytest.raises(UserError, match=said) as caught:
        fetch.unpack(archive, tmp_path / "in" / "out")
    assert str(archive) in str(caught.value)
    assert [path.name for path in tmp_path.rglob("*")] in (["archive", "in"], ["in", "archive"])


def test_too_many_members_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, "MAX_MEMBERS", 3)
    (tmp_path / "a.zip").write_bytes(archive_of({str(k): b"" for k in range(4)}))
    with pytest.raises(UserError, match="more than 3"):
        fetch.unpack(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_an_honest_archive_is_unpacked(tmp_path, mode):
    files = {"a/b/c.png": noise(3000), "ä ö,.txt": b"", "a/inner.zip": GOOD}
    (tmp_path / "archive").write_bytes(
        archive_of(files)
        if mode == "zip"
        else tar_of(
            ("a", tarfile.DIRTYPE, "", b""),
            *[(name, FILE, "", content) for name, content in files.items()],
            mode=mode,
        )
    )
    fetch.unpack(tmp_path / "archive", tmp_path / "out")
    found = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path / "out")): path.read_bytes() for path in found} == files


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="./\\aä", min_size=1, max_size=6), min_size=1, max_size=4))
def test_no_name_leads_out_of_the_folder(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("any")
    for kind in ("tar", "zip"):
        archive = folder / kind
        if kind == "tar":
            archive.write_bytes(tar_of(*[(name, FILE, "", b"x") for name in names]))
        else:
            archive.write_bytes(archive_of(dict.fromkeys(names, b"x")))
        try:
            fetch.unpack(archive, folder / "in" / f"out-{kind}")
        except UserError:
            assert not (folder / "in" / f"out-{kind}").exists()
        outside = [
            path
            for path in folder.rglob("*")
            if path.is_file() and not path.is_relative_to(folder / "in" / f"out-{kind}")
        ]
        assert set(outside) <= {folder / "tar", folder / "zip"} | set(
            (folder / "in" / "out-tar").rglob("*")
        )


def test_the_set_s_folder_is_found_in_the_archive_and_moved_into_place_once(tmp_path):
    archive, folder = tmp_path / "a.zip", tmp_path / "set"
    files = {"x/VIPeR/cam_a/1.bmp": b"1", "x/VIPeR/cam_b/1.bmp": b"2", "x/readme.txt": b""}
    archive.write_bytes(archive_of(files))
    fetch.install(archive, ("cam_a", "cam_b"), folder)
    assert sorted(path.name for path in folder.iterdir()) == ["cam_a", "cam_b"]
    made = folder.stat().st_ino
    fetch.install(archive, ("cam_a", "cam_b"), folder)
    assert folder.stat().st_ino == made
    (folder / "cam_a/1.bmp").write_bytes(b"0")  # a damaged disk
    fetch.install(archive, ("cam_a", "cam_b"), folder)
    assert (folder / "cam_a/1.bmp").read_bytes() == b"1"
    archive.write_bytes(archive_of({"cam_a/2.bmp": b"1", "cam_b/2.bmp": b"2"}))
    fetch.install(archive, ("cam_a", "cam_b"), folder)
    assert [path.name for path in (folder / "cam_a").iterdir()] == ["2.bmp"]
    for wrong, said in (({"a/b": b""}, "no folder"), ({"a/m": b"", "b/m": b""}, "several")):
        archive.write_bytes(archive_of(wrong))
        with pytest.raises(UserError, match=f"holds {said}.* with m"):
            fetch.install(archive, ("m",), folder)
        assert (folder / "cam_a").exists()
    assert not (tmp_path / "set.unpacking").exists()


def test_the_stage_fetches_checks_unpacks_and_lists(server, tmp_path, raw_params):
    crops = {"crops/manifest.csv": b"path,pid,camid\na/1.png,1,1\na/2.png,1,2\n"}
    server.content = archive_of(crops | {"crops/a/1.png": b"1", "crops/a/2.png": b"2"})
    raw_params["data"] |= {"name": "manifest", "url": server.url}
    digest = hashlib.sha256(server.content).hexdigest()

    def stage():
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw_params))
        command = [sys.executable, ROOT / "stages" / "download.py"]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
        )
        assert "Traceback" not in done.stderr
        return done

    first = stage()
    assert first.returncode == 1
    assert f"data.sha256={digest}" in first.stderr
    raw_params["data"]["sha256"] = digest
    assert "2 images of 1 people in data/downloads/manifest/set" in stage().stdout
    table = pd.read_csv(tmp_path / "data/raw/images.csv", keep_default_na=False)
    assert list(table.path) == ["a/1.png", "a/2.png"]
    assert list(table.sha256) == [hashlib.sha256(content).hexdigest() for content in (b"1", b"2")]
    assert server.asked == [None]
    raw_params["data"] |= {"name": "mta_reid", "url": None, "sha256": None}
    assert "its authors send the address by e-mail" in stage().stderr
    raw_params["data"] |= {"name": "dukemtmc_reid"}
    assert "withdrew it in 2019" in stage().stderr
