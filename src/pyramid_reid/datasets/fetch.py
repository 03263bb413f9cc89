"""Downloads that go on where they broke off, are checked by hash, and are unpacked safely."""

from __future__ import annotations

import lzma
import os
import re
import shutil
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import unquote

import pooch
import requests

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.progress import bytes_bar
from pyramid_reid.datasets.layout import fits

PIECE = 2**14  # of a download; the last one is lost where it breaks off
TIMEOUT_S = (10, 60)  # to connect; between two pieces
ATTEMPTS = 5  # in one run, without any progress
PAUSE_S = 2.0
MAX_RATIO = 50
"""Bytes unpacked per byte of archive. Archives of images stay below 2, tables below 20."""
MAX_MEMBERS = 1_000_000
BEFORE_CONTENT = (
    requests.ConnectionError,
    requests.exceptions.InvalidURL,
    requests.exceptions.InvalidSchema,
    requests.TooManyRedirects,
)
BROKEN = (
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,  # an encrypted member
    NotImplementedError,  # a compression that zipfile does not know
    ValueError,
)


def fetch(url: str, known_hash: str | None, folder: Path, page: str) -> Path:
    """Download an archive once and check it.

    Args:
        url: http or https.
        known_hash: `sha256:HEX` or `md5:HEX`; None stops after the download and says the SHA-256.
        folder: keeps the archive and what there is of a download that broke off.
        page: where else to look, for messages.

    Returns:
        The archive in `folder`.

    Raises:
        UserError: the server cannot be reached, refuses, or breaks off again and again; what came
            is no archive; its hash is another or not known. The archive is kept, to be checked.
    """
    # of the address, what no file system minds; and its hash, for two may end alike
    name = re.sub(r"[^A-Za-z0-9._+-]+", "_", unquote(url.partition("?")[0]).rpartition("/")[2])
    archive = folder / f"{sha256(url.encode()).hexdigest()[:8]}-{name[-100:] or 'archive'}"
    pooch.get_logger().setLevel("ERROR")  # it would advise how to call it
    try:
        pooch.retrieve(
            url, None, fname=archive.name, path=folder, downloader=_Resuming(archive, page)
        )
    except OSError as error:
        raise UserError(f"{url} cannot be kept in {folder}: {error}") from error
    if not (zipfile.is_zipfile(archive) or tarfile.is_tarfile(archive)):
        start = archive.read_bytes()[:60]
        archive.unlink()
        raise UserError(
            f"{url} gave no zip or tar archive, but a file that begins with {start!r}; get the set"
            f" from {page} and give its folder as data.root"
        )
    digest = sha256_of(archive)
    if known_hash is None:
        raise UserError(
            f"{url} is now in {archive}, and no hash of it is known; if you trust it, go on with"
            f" data.sha256={digest}, which pins it (nothing is downloaded again)"
        )
    algorithm, _, expected = known_hash.partition(":")
    found = pooch.file_hash(str(archive), alg=algorithm)
    if found != expected.lower():
        raise UserError(
            f"{archive} has {algorithm} {found} instead of {expected}: remove it to download it"
            f" again, or, if you trust it, set data.sha256={digest}"
        )
    return archive


def install(archive: Path, marks: tuple[str, ...], folder: Path) -> None:
    """Unpack an archive and move the folder in it that holds the set to `folder`, in one step.

    Does nothing where `folder` was made of this archive before, and is still as it was made.

    Args:
        archive: as `fetch` gives it.
        marks: glob patterns of what the set's folder holds.
        folder: what was there is replaced.

    Raises:
        UserError: the archive is refused, or holds no such folder or several.
    """
    digest = sha256_of(archive)
    record = folder.with_name(folder.name + ".sha256")
    if folder.exists() and record.exists() and record.read_text() == f"{digest} {_tree(folder)}":
        return
    unpacked = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(unpacked, ignore_errors=True)  # of a run that was killed
    unpack(archive, unpacked)
    try:
        for down in (".", "*", "*/*", "*/*/*"):
            candidates = [unpacked] if down == "." else sorted(unpacked.glob(down))
            found = [path for path in candidates if fits(path, marks)]
            if found:
                break
        if len(found) != 1:
            number = "several folders" if found else "no folder"
            raise UserError(f"{archive} holds {number} with {', '.join(marks)}, as the set has")
        record.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)
        found[0].rename(folder)
        record.write_text(f"{digest} {_tree(folder)}")
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _tree(folder: Path) -> str:
    """SHA-256 of the files below a folder, their names included."""
    sha = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        sha.update(os.fsencode(path.relative_to(folder)) + f"\0{sha256_of(path)}\n".encode())
    return sha.hexdigest()


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    return str(pooch.file_hash(str(file), alg="sha256"))


class _Resuming:
    """A downloader for pooch, whose own begins anew each time."""

    def __init__(self, archive: Path, page: str) -> None:
        self._part = archive.with_name(archive.name + ".part")
        self._version = archive.with_name(archive.name + ".version")
        self._page = page
        self._resumable = False

    def __call__(self, url: str, output_file: str, _pooch: object = None) -> None:
        """Download `url` to `output_file`."""
        failures, had = 0, -1
        while True:
            try:
                self._try(url)
                break
            except _BrokenOffError as error:
                size = self._size()
                failures = 0 if size > had else failures + 1
                had = max(had, size)
                if failures + 1 >= ATTEMPTS:
                    again = "to go on" if self._resumable else "to begin anew: it cannot go on"
                    raise UserError(
                        f"{url} broke off after {size} bytes ({error}); run the same command again"
                        f" {again}"
                    ) from error
                time.sleep(PAUSE_S)
        self._version.unlink(missing_ok=True)
        self._part.replace(output_file)

    def _size(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _try(self, url: str) -> None:
        """Ask for what is missing, if the server can say that the rest is of the same file."""
        version = self._version.read_text() if self._version.exists() else ""
        have = self._size() if version else 0
        headers = {"Accept-Encoding": "identity"}
        if have:
            headers |= {"Range": f"bytes={have}-", "If-Range": version}
        try:
            with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
                if answer.status_code == requests.codes.requested_range_not_satisfiable:
                    self._part.unlink()  # longer than the file is now
                    raise _BrokenOffError("the file has changed on the server")
                if answer.status_code >= 500:
                    raise _BrokenOffError(f"{answer.status_code} {answer.reason}")
                if not answer.ok:
                    raise UserError(
                        f"{url} is not to be had ({answer.status_code} {answer.reason}); get the"
                        f" set from {self._page} and give its folder as data.root"
                    )
                self._keep(answer, have)
        except requests.RequestException as error:
            if isinstance(error, BEFORE_CONTENT) and not self._size():
                raise UserError(
                    f"{url} cannot be reached ({_cause(error)}); try later, or get the set from"
                    f" {self._page} and give its folder as data.root"
                ) from error
            raise _BrokenOffError(_cause(error)) from error

    def _keep(self, answer: requests.Response, have: int) -> None:
        """Write an answer to the part that there is, or over it when it is the whole file."""
        resumed = answer.status_code == requests.codes.partial_content
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            self._part.unlink()
            raise _BrokenOffError("the server sent another part than the one asked for")
        self._resumable = resumed or (not have and answer.headers.get("Accept-Ranges") == "bytes")
        have = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None and length.isdecimal() else None
        room = shutil.disk_usage(self._part.parent).free
        if total is not None and total - have > room:
            raise UserError(f"{answer.url} has {total} bytes, {self._part.parent} room for {room}")
        etag = answer.headers.get("ETag", "W/")
        version = answer.headers.get("Last-Modified", "") if etag.startswith("W/") else etag
        if not resumed:
            self._part.unlink(missing_ok=True)  # before a kill can leave it under another version
        self._version.write_text(version)
        with (
            self._part.open("ab" if resumed else "wb") as part,
            bytes_bar(f"download of {self._part.stem}", total, have) as bar,
        ):
            for chunk in answer.iter_content(PIECE):
                part.write(chunk)
                bar.update(len(chunk))
        if total is not None and self._size() != total:
            raise _BrokenOffError(f"{total} bytes were announced")


class _BrokenOffError(Exception):
    """An attempt that may be made again."""


def _cause(error: Exception) -> str:
    """The innermost reason, without the names of Python objects around it."""
    while error.__context__ is not None and isinstance(error.__context__, Exception):
        error = error.__context__
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@dataclass(frozen=True, slots=True)
class _Member:
    """A file or folder of an archive."""

    name: str
    kind: str  # file, folder, or what it is instead
    size: int
    handle: zipfile.ZipInfo | tarfile.TarInfo


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into a new folder, all of it or nothing.

    Only files and folders inside `folder` are made: an archive with an absolute path, with `..`,
    with a link (which a later member could follow), a device, one name twice, or far more bytes
    than it has itself is refused as a whole.

    Args:
        archive: zip, or tar with any compression that Python knows.
        folder: must not exist.

    Raises:
        UserError: the archive is damaged, encrypted or refused; `folder` is gone then.
    """
    folder.mkdir(parents=True)
    try:
        left = min(MAX_RATIO * archive.stat().st_size, shutil.disk_usage(folder).free)
        with closing(_opened(archive)) as opened:
            for count, member in enumerate(_members(opened), 1):
                target = folder / member.name
                _check(archive, member, count, left, twice=target.is_file())
                if member.kind == "folder":
                    target.mkdir(parents=True, exist_ok=True)
                else:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    left -= _write(opened, member, target)
    except BROKEN as error:
        shutil.rmtree(folder)
        raise UserError(f"{archive} cannot be unpacked: {error}") from error
    except BaseException:
        shutil.rmtree(folder)
        raise


def _opened(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    # a tar whose last file is a zip looks like a zip, but not the other way round
    return tarfile.open(archive) if tarfile.is_tarfile(archive) else zipfile.ZipFile(archive)


def _members(opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    if isinstance(opened, tarfile.TarFile):
        for member in opened:
            kinds = {"folder": member.isdir(), "file": member.isreg()}
            kinds |= {"link": member.issym() or member.islnk(), "special file": True}
            kind = next(kind for kind, holds in kinds.items() if holds)
            yield _Member(member.name, kind, member.size, member)
        return
    for info in opened.infolist():
        mode = info.external_attr >> 16  # of Unix, 0 where the archive comes from elsewhere
        if info.is_dir():
            kind = "folder"
        elif stat.S_ISLNK(mode):
            kind = "link"
        else:
            kind = "file" if stat.S_IFMT(mode) in {0, stat.S_IFREG} else "special file"
        yield _Member(info.filename, kind, info.file_size, info)


def _check(archive: Path, member: _Member, count: int, left: int, *, twice: bool) -> None:
    """Raise UserError where a member gives a reason to refuse the archive."""
    path, problem = PurePosixPath(member.name), ""
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name:
        problem = f"{member.name!r} would lie outside the folder"
    elif member.kind not in {"file", "folder"}:
        problem = f"{member.name!r} is a {member.kind}"
    elif twice:
        problem = f"it holds {member.name!r} twice"
    elif count > MAX_MEMBERS:
        problem = f"it holds more than {MAX_MEMBERS} files"
    elif member.size > left:
        problem = f"unpacked, it is larger than {MAX_RATIO} times itself, or than the disk has room"
    if problem:
        raise UserError(f"{archive} is refused: {problem}")


def _write(opened: zipfile.ZipFile | tarfile.TarFile, member: _Member, target: Path) -> int:
    """Write a file of an archive; bytes written, at most those that the archive declares."""
    source: IO[bytes] | None
    if isinstance(opened, tarfile.TarFile):
        source = opened.extractfile(member.handle)  # type: ignore[arg-type]
    else:
        source = opened.open(member.handle)  # type: ignore[arg-type]
    if source is None:
        raise ValueError(f"{member.name!r} is no file")
    with source, target.open("xb") as file:
        shutil.copyfileobj(source, file)
        return file.tell()
