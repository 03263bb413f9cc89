"""Your own crops without a table: a folder per person.

The folder's name is the person (`labels`: a whole number or a name); its image files lie at any
depth. For a fixed split, folders `train`, `query` and `gallery` hold the people's folders. A
pattern finds the camera in an image's path; without a pattern cameras are unknown, and each image
counts as a camera of its own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path

from pyramid_reid.core.errors import UserError
from pyramid_reid.datasets import labels
from pyramid_reid.datasets.layout import SUFFIXES, RawImage, listed

MARKS = ("*/*",)
ROLES = ("train", "query", "gallery")
OTHER_IMAGES = {
    *(".webp", ".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif", ".jp2", ".ppm"),
}
"""Images of kinds that are not read: they are named rather than passed over."""
OF_SYSTEMS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}
"""Folders that operating systems leave; they and hidden ones hold nobody's images."""


@dataclass(slots=True)
class _Found:
    """What a walk through the folders came upon.

    Attributes:
        images: role, name of the person's folder, and path of each image.
        loose: paths of images outside every person's folder.
        unread: paths of images of kinds that are not read.
        links: paths of links to folders.
    """

    images: list[tuple[str, str, str]] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)


def read(root: Path, camera_pattern: str | None = None) -> list[RawImage]:
    """List the images by role, person and path.

    Args:
        root: folder of the people's folders.
        camera_pattern: `data.camera_pattern`: a regular expression that is found in the path of
            each image below `root`, with `/`; its group is the camera.

    Raises:
        UserError: the folder holds no people's folders, images lie outside of them, or people's or
            cameras' labels cannot be told.
    """
    found = _walk(root)
    _check(root, found)
    people = {name: labels.plain(name) for _, name, _ in found.images}
    problems = [
        f"{name!r} {labels.problem(label)}"
        for name, label in people.items()
        if labels.problem(label)
    ]
    if problems:
        raise UserError(
            f"data.root: in {root}, these are not valid names of people: {listed(problems, '; ')}"
        )
    _ask("people", root, labels.alike(people))
    cameras = _cameras(root, [path for *_, path in found.images], camera_pattern)
    pids, are_named = labels.numbers(people.values())
    camids, cameras_named = labels.numbers(cameras.values())
    return [
        RawImage(
            path,
            pids[people[name]],
            camids[cameras[path]] if cameras else number,
            role,
            people[name] if are_named else "",
            cameras[path] if cameras and cameras_named else "",
        )
        for number, (role, name, path) in enumerate(found.images, 1)
    ]


def _cameras(root: Path, paths: list[str], pattern: str | None) -> dict[str, str]:
    """The camera of each path; empty without a pattern."""
    if pattern is None:
        return {}
    compiled = re.compile(pattern)
    group = "camera" if "camera" in compiled.groupindex else 1
    cameras = {}
    for path in paths:
        match = compiled.search(path)
        cameras[path] = labels.plain(match[group] or "") if match else ""
    bad = [path for path, camera in cameras.items() if labels.problem(camera)]
    if bad:
        raise UserError(
            f"data.camera_pattern: {pattern!r} finds no camera in {len(bad)} of {len(paths)} paths:"
            f" {listed([repr(path) for path in bad])}; change it, or leave it empty where cameras"
            " are unknown"
        )
    _ask("cameras", root, labels.alike(set(cameras.values())))
    return cameras


def _ask(what: str, root: Path, groups: list[list[str]]) -> None:
    """Refuse labels that may stand for one person or camera."""
    if groups:
        raise UserError(
            f"data.root: in {root}, these {what} may be the same or not:"
            f" {listed([labels.shown(group) for group in groups], '; ')}; put them into one folder"
            " if they are, or give names that differ by more than zeros and case"
        )


def _walk(root: Path) -> _Found:
    """Everything below `root`, in order."""
    found = _Found()
    folders, found.loose = _entries(root, "", found)
    roles = [name for name in folders if name.lower() in ROLES]
    if roles and len(roles) < len(folders):
        others = [name for name in folders if name not in roles]
        raise UserError(
            f"data.root: {root} holds {listed(roles)} beside {listed(others)}: either people's"
            f" folders lie in it, or nothing but {', '.join(ROLES)} with people's folders in each"
            " (a published set has a data.name of its own)"
        )
    for role in roles:
        people, loose = _entries(root, role, found)
        found.loose += loose
        for person in people:
            _gather(root, f"{role}/{person}", role.lower(), person, found)
    for person in () if roles else folders:
        _gather(root, person, "", person, found)
    return found


def _gather(root: Path, folder: str, role: str, person: str, found: _Found) -> None:
    """Add the images of a person's folder, at any depth."""
    folders, images = _entries(root, folder, found)
    found.images += [(role, person, path) for path in images]
    for name in folders:
        _gather(root, f"{folder}/{name}", role, person, found)


def _entries(root: Path, folder: str, found: _Found) -> tuple[list[str], list[str]]:
    """Names of the folders and paths of the images directly in a folder, sorted.

    What is neither read nor to be passed over is added to `found`.
    """
    try:
        with os.scandir(root / folder) as entries:
            inside = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"data.root: {root / folder} cannot be read: {error.strerror}") from error
    folders, images = [], []
    for entry in inside:
        path, suffix = f"{folder}/{entry.name}".lstrip("/"), Path(entry.name).suffix.lower()
        if entry.name.startswith(".") or entry.name in OF_SYSTEMS:
            continue
        if entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        elif entry.is_dir():
            found.links.append(path)
        elif suffix in SUFFIXES:
            images.append(path)
        elif suffix in OTHER_IMAGES:
            found.unread.append(path)
    return folders, images


def _check(root: Path, found: _Found) -> None:
    """Refuse what would be passed over, and a folder one level too high or too low."""
    kinds = ", ".join(SUFFIXES)
    for paths, what, remedy in (
        (found.links, "link(s) to folders", "copy what they point to into their place"),
        (found.unread, "image(s) of kinds that are not read", f"save them as {kinds}"),
        (found.loose, "image(s) outside every person's folder", "give the folder of the people's"),
    ):
        if paths:
            shown = listed([repr(path) for path in paths])
            raise UserError(f"data.root: {root} holds {len(paths)} {what}: {shown}; {remedy}")
    if not found.images:
        raise UserError(f"data.root: {root} holds no folder per person with images in it")
    people = sorted({name for _, name, _ in found.images})
    if len(people) == 1:
        raise UserError(
            f"data.root: {root} holds one person's folder alone, {people[0]!r}; if people's folders"
            f" lie in it, give {root / people[0]}"
        )
