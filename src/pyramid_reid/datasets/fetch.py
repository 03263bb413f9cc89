"""Archives of data sets: downloaded once, checked by hash, and unpacked safely."""

from __future__ import annotations

import lzma
import shutil
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path, PurePosixPath

import pooch
import requests

from pyramid_reid.core.errors import UserError
from pyramid_reid.datasets.layout import fits

MAX_RATIO = 50
"""Bytes unpacked per byte of archive. Archives of images stay below 2, tables below 20."""
TAR_BLOCK = 512  # what an empty member takes, too, so that a bomb cannot consist of these
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
    """Download an archive unless `folder` has it, and check it.

    Args:
        url: http or https.
        known_hash: `sha256:HEX` or `md5:HEX`; None stops after the download and says the SHA-256.
        folder: keeps the archive.
        page: where else to look, for messages.

    Returns:
        The archive in `folder`.

    Raises:
        UserError: the server cannot be reached, refuses, or breaks off; what came is no archive;
            its hash is another or not known.
    """
    pooch.get_logger().setLevel("ERROR")  # it would advise how to call it
    elsewhere = f"get the set from {page} and give its folder as data.root"
    try:
        # a bar on a terminal; a log would be filled with it
        archive = Path(
            pooch.retrieve(url, known_hash, path=folder, progressbar=sys.stderr.isatty())
        )
    except requests.RequestException as error:
        raise UserError(f"{url} cannot be fetched: {error}; try again, or {elsewhere}") from error
    except OSError as error:
        raise UserError(f"{url} cannot be kept in {folder}: {error}") from error
    except ValueError as error:  # another hash, or an address that is none
        raise UserError(f"{url} is not used: {error}; try again, or {elsewhere}") from error
    if not (zipfile.is_zipfile(archive) or tarfile.is_tarfile(archive)):
        start = archive.read_bytes()[:60]
        archive.unlink()
        raise UserError(
            f"{url} gave no zip or tar archive, but a file that begins with {start!r}; {elsewhere}"
        )
    if known_hash is None:
        raise UserError(
            f"{url} is now in {archive}, and its hash is unknown; if you trust it, continue with"
            f" data.sha256={pooch.file_hash(str(archive))}, which pins it (nothing is downloaded"
            " again)"
        )
    return archive


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar archive into a new folder, all of it or nothing.

    An archive is refused as a whole if a member has an absolute path or `..` in it, is a link
    (which a later member could follow) or a device, or if it would give far more bytes than it has.

    Args:
        archive: zip, or tar with any compression that Python knows.
        folder: must not exist.

    Raises:
        UserError: the archive is damaged, encrypted or refused; `folder` is gone then.
    """
    folder.mkdir(parents=True)
    try:
        # a tar whose last file is a zip looks like a zip, but not the other way round
        with closing(
            tarfile.open(archive) if tarfile.is_tarfile(archive) else zipfile.ZipFile(archive)
        ) as opened:
            left = MAX_RATIO * archive.stat().st_size
            for name, size, allowed in _members(opened):
                path = PurePosixPath(name)
                if not allowed or path.is_absolute() or ".." in path.parts:
                    raise ValueError(f"{name!r} is a link or leads outside")  # noqa: TRY301
                left -= size
                if left < 0:
                    raise ValueError(f"it unpacks to {MAX_RATIO} times itself")  # noqa: TRY301
            opened.extractall(folder)  # noqa: S202 (no member leads outside)
    except BROKEN as error:
        shutil.rmtree(folder)
        raise UserError(f"{archive} cannot be unpacked: {error}") from error
    except BaseException:
        shutil.rmtree(folder)
        raise


def _members(opened: zipfile.ZipFile | tarfile.TarFile) -> Iterator[tuple[str, int, bool]]:
    """Name and declared size of each member, and whether it is a file or folder."""
    if isinstance(opened, zipfile.ZipFile):  # it unpacks links as files, and no byte undeclared
        yield from ((info.filename, info.file_size + TAR_BLOCK, True) for info in opened.filelist)
        return
    # Pythons before 3.11.4 lack it, and need it less: names and kinds are checked here, too
    opened.extraction_filter = getattr(tarfile, "data_filter", None)
    for member in opened:
        yield member.name, member.size + TAR_BLOCK, member.isreg() or member.isdir()


def folder_of_set(unpacked: Path, marks: tuple[str, ...]) -> Path:
    """The folder of an unpacked archive that holds the set.

    Args:
        marks: glob patterns of what the set's folder holds.

    Raises:
        UserError: there is none, or several.
    """
    for down in ("", "*/", "*/*/", "*/*/*/"):
        candidates = sorted(unpacked.glob(down)) if down else [unpacked]
        if found := [path for path in candidates if fits(path, marks)]:
            break
    if len(found) != 1:
        number = "several folders" if found else "no folder"
        raise UserError(f"the archive holds {number} with {', '.join(marks)}, as the set has")
    return found[0]
