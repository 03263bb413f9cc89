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
        behaviour.asked.append(self.path)
        status = behaviour.statuses.pop(0) if behaviour.statuses else 200
        if status != 200:
            self.send_error(status)
            return
        content = behaviour.content
        self.send_response(200)
        if behaviour.length:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        stop = behaviour.breaks.pop(0) if behaviour.breaks else len(content)
        self.wfile.write(content[:stop])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server that behaves, until a test changes it."""
    monkeypatch.setenv("NO_PROXY", "*")
    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.content = archive_of({"VIPeR/cam_a/000_45.bmp": noise(200_000)})
    served.url = f"http://127.0.0.1:{served.server_port}/files/the%20set.zip"
    served.asked, served.statuses, served.breaks, served.length = [], [], [], True
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
    assert fetch.fetch(*arguments) == archive
    assert len(server.asked) == 1
    assert [path.name for path in (tmp_path / "d").iterdir()] == [archive.name]


@pytest.mark.parametrize("length", [True, False])
def test_a_download_that_breaks_off_is_not_kept_and_begins_anew(server, tmp_path, length):
    server.breaks, server.length = [70_000], length
    with pytest.raises(UserError, match=f"{server.url} .*try again, or .*{PAGE}"):
        fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert not list(tmp_path.iterdir())
    archive = fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE)
    assert archive.read_bytes() == server.content


def test_a_first_download_says_the_hash_to_pin_and_is_kept(server, tmp_path):
    digest = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(UserError, match=f"data.sha256={digest}"):
        fetch.fetch(server.url, None, tmp_path, PAGE)
    assert fetch.fetch(server.url, f"sha256:{digest.upper()}", tmp_path, PAGE).exists()
    assert len(server.asked) == 1


def test_a_file_of_another_hash_is_refused(server, tmp_path):
    server.content, expected = archive_of({"evil": b"x"}), sha256(server.content)
    with pytest.raises(UserError) as caught:
        fetch.fetch(server.url, expected, tmp_path, PAGE)
    for digest in (expected, sha256(server.content)):
        assert digest.removeprefix("sha256:") in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_page_instead_of_an_archive_is_shown_and_not_kept(server, tmp_path):
    server.content = b"<html>Please log in</html>"
    with pytest.raises(UserError, match=f"<html>Please log in.*{PAGE}"):
        fetch.fetch(server.url, None, tmp_path, PAGE)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [404, 503])
def test_a_server_that_refuses_is_named_with_the_page(server, tmp_path, status):
    server.statuses = [status]
    with pytest.raises(UserError, match=f"{status} .*{PAGE}"):
        fetch.fetch(server.url, None, tmp_path, PAGE)
    assert fetch.fetch(server.url, sha256(server.content), tmp_path, PAGE).exists()


def test_a_server_that_is_not_there_is_named(server, tmp_path):
    url = server.url.replace(str(server.server_port), "1")
    with pytest.raises(UserError, match=f"127.0.0.1:1/.* cannot be fetched.*refused.*{PAGE}"):
        fetch.fetch(url, None, tmp_path, PAGE)


@pytest.mark.parametrize("url", ["http://[::1", "http://a:port/b.zip", "http://./b.zip"])
def test_an_address_that_is_none_is_named(tmp_path, url):
    with pytest.raises(UserError, match=PAGE) as caught:
        fetch.fetch(url, None, tmp_path, PAGE)
    assert url in str(caught.value)


def test_no_address_names_a_file_outside_the_folder(server, tmp_path):
    url = server.url.replace("the%20set.zip", "%2e%2e%2f%2e%2e%2fevil%00.zip?a=/b")
    archive = fetch.fetch(url, sha256(server.content), tmp_path / "d", PAGE)
    assert archive.resolve().parent == tmp_path / "d"


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "d").write_text("a file")
    with pytest.raises(UserError, match=f"cannot be kept in {tmp_path / 'd'}"):
        fetch.fetch(server.url, None, tmp_path / "d", PAGE)


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


FILE, ZEROS = tarfile.REGTYPE, bytes(30_000_000)
GOOD = zip_of("a", noise(5000))
MALICIOUS = {
    "tar absolute": (lambda: tar_of(("/evil", FILE, "", b"x")), "leads outside"),
    "tar parent": (lambda: tar_of(("a/../../evil", FILE, "", b"x")), "leads outside"),
    "tar symlink": (lambda: tar_of(("a", tarfile.SYMTYPE, "/etc/passwd", b"")), "'a' is a link or"),
    "tar through a link": (
        lambda: tar_of(("a", tarfile.SYMTYPE, "..", b""), ("a/evil", FILE, "", b"x")),
        "'a' is a link or",
    ),
    "tar link": (lambda: tar_of(("a", tarfile.LNKTYPE, "../evil", b"")), "'a' is a link or"),
    "tar device": (lambda: tar_of(("a", tarfile.CHRTYPE, "", b"")), "'a' is a link or"),
    "tar pipe": (lambda: tar_of(("a", tarfile.FIFOTYPE, "", b"")), "'a' is a link or"),
    "tar bomb": (lambda: tar_of(("a", FILE, "", ZEROS), mode="w:gz"), "50 times itself"),
    "tar bomb of many": (
        lambda: tar_of(*[(str(k), FILE, "", ZEROS[:300_000]) for k in range(30)], mode="w:xz"),
        "50 times itself",
    ),
    "tar cut off": (lambda: tar_of(("a", FILE, "", noise(5000)), mode="w:gz")[:-900], "cannot"),
    "tar file and folder": (
        lambda: tar_of(("a", FILE, "", b"x"), ("a/b", FILE, "", b"x")),
        "cannot be unpacked",
    ),
    "zip absolute": (lambda: zip_of("/evil"), "leads outside"),
    "zip parent": (lambda: zip_of("../evil"), "leads outside"),
    "zip bomb": (lambda: zip_of("a", ZEROS), "50 times itself"),
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


def test_a_bomb_of_empty_members_is_refused(tmp_path):
    (tmp_path / "a.tgz").write_bytes(
        tar_of(*[(str(k), FILE, "", b"") for k in range(3000)], mode="w:gz")
    )
    with pytest.raises(UserError, match="50 times itself"):
        fetch.unpack(tmp_path / "a.tgz", tmp_path / "out")


def test_links_and_devices_of_a_zip_become_files(tmp_path):
    for kind in (stat.S_IFLNK, stat.S_IFCHR):
        (tmp_path / "a.zip").write_bytes(zip_of("a", b"/etc/passwd", kind | 0o777))
        fetch.unpack(tmp_path / "a.zip", tmp_path / str(kind))
        assert not (tmp_path / str(kind) / "a").is_symlink()
        assert (tmp_path / str(kind) / "a").read_bytes() == b"/etc/passwd"


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


def test_the_set_s_folder_is_found_in_the_archive(tmp_path):
    marks = ("cam_a", "cam_b")
    for top in ("", "VIPeR/", "x/VIPeR/"):
        for name in marks:
            (tmp_path / top / name).mkdir(parents=True)
        assert fetch.folder_of_set(tmp_path, marks) == tmp_path / top
        for name in marks:
            (tmp_path / top / name).rmdir()
    with pytest.raises(UserError, match="holds no folder with m"):
        fetch.folder_of_set(tmp_path, ("m",))
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m").touch()
    with pytest.raises(UserError, match="holds several folders with m"):
        fetch.folder_of_set(tmp_path, ("m",))


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
    assert "2 images of 1 people in data/raw/images" in stage().stdout
    table = pd.read_csv(tmp_path / "data/raw/images.csv", keep_default_na=False)
    assert list(table.path) == ["a/1.png", "a/2.png"]
    assert list(table.sha256) == [hashlib.sha256(content).hexdigest() for content in (b"1", b"2")]
    assert len(server.asked) == 1
    raw_params["data"] |= {"name": "mta_reid", "url": None, "sha256": None}
    assert (
        "is not in data/own and cannot be downloaded: its authors send the address by e-mail"
        in stage().stderr
    )
    raw_params["data"] |= {"name": "dukemtmc_reid"}
    assert "withdrew it in 2019" in stage().stderr
