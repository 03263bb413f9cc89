"""Endless bad inputs of what users hand in: params, tables, file names, images, weights."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import random
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import torch
from benchmarks.fuzz.attempt import Attempt
from benchmarks.fuzz.mutations import bomb, hostile, image, mutate
from dvc.utils.serialize import load_yaml as read_as_dvc
from safetensors.torch import save

from pyramid_reid.core import params, raw_set
from pyramid_reid.core.decode import MAX_PIXELS
from pyramid_reid.datasets import layout, manifest, market1501
from pyramid_reid.training import weights_file

ROOT = Path(__file__).resolve().parents[2]

VALUES = (
    *("1e-3", "1e400", "no", "yes", "on", "off", "~", "null", "0x10", "0o17", "010", "1_000"),
    *("12:30:45", ".nan", ".inf", "-.inf", "-1", "0", "1", "2", "3.5", "true", "false", "0.1"),
    *("2024-01-01", "2024-13-45", "'1'", '"a"', "''", "[]", "{}", "[1]", "[2,3,4]", "[[]]"),
    *("{a: 1}", "{a: 1", "&a [*a]", "*b", "!!binary x", "!!int a", "!!float z", "!!set {a}"),
    *("!!python/object:os.system", "@", "`", "%", "?", "-", "|", ">", "#", ":", "synthetic"),
    *("manifest", "random", "image", "9" * 30, "1e-400", "-0.0", "2147483648", "ä", "\u2028"),
    *("\x07", "9" * 5000),
)
LINES = ("\t", "  ", "- 1", "...", "---", "a: &x [1]", "b: {<<: *x}", "seed: 2", "? a", "%YAML 1.1")


def params_file(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """params.yaml with a surprising value, with lines out of place, or damaged anyhow."""
    good = (ROOT / "params.yaml").read_text(encoding="utf-8")
    bare = [
        line.partition(" #")[0]
        for line in good.splitlines()
        if line.strip() and line.lstrip()[0] != "#"
    ]
    path = folder / "params.yaml"
    while True:
        lines, either = list(bare), ("",)
        place = rng.randrange(len(lines))
        match rng.randrange(6):
            case 0 | 1 | 2 if ":" in lines[place]:
                key = lines[place].partition(":")[0]
                lines[place] = f"{key}: {rng.choice(VALUES)}"
                either = (key.strip(), "line ", "not valid YAML")
            case 3:
                del lines[place]
            case 4:
                lines.insert(place, rng.choice((*LINES, lines[place])))
            case _:
                lines[place] = lines[place] + rng.choice(
                    ("[" * 2000, "{" * 300, "\0", " a: b", ":")
                )
        content = "\n".join(lines).encode()
        if rng.random() < 0.2:
            content, either = mutate(content, rng), ("",)
        path.write_bytes(content)
        yield Attempt(
            lambda: params.load(path),
            ("params.yaml",),
            lambda read: same_numbers(read, without_none(read_as_dvc(path))),
            either,
        )


def without_none(raw: object, *, starts: bool = False) -> object:
    """Params as they are read: the word `none`, where weights to start from are named, is None.

    Args:
        starts: whether weights to start from are named here.
    """
    if isinstance(raw, dict):
        return {
            key: without_none(value, starts=starts or key == "pretrained")
            for key, value in raw.items()
        }
    return None if starts and raw == "none" else raw


def same_numbers(read: object, dvc: object) -> bool:
    """Whether the stages use the values that DVC hashes."""
    if isinstance(read, params.Section):
        return isinstance(dvc, dict) and all(same_numbers(value, dvc[name]) for name, value in read)
    if isinstance(read, tuple):
        return isinstance(dvc, list) and list(read) == dvc
    return type(read) in {type(dvc), float} and read == dvc


def manifest_file(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """A table of crops with wrong values, in other encodings, or damaged anyhow."""
    (folder / "a").mkdir()
    for name in ("1.png", "2.png", "a/3.jpg", "a/größe 4.bmp", "out.png"):
        (folder / name).write_bytes(b"1")
    (folder / "out.png").unlink()
    (folder / "out.png").symlink_to("/etc/hostname")
    rows = [["path", "pid", "camid", "role"]]
    rows += [
        [name, str(n), str(n % 2), "query"]
        for n, name in enumerate(("1.png", "2.png", "a/3.jpg", "a/größe 4.bmp"))
    ]
    path = folder / "manifest.csv"
    wrong = ("", "-1", "nan", "1.0", "1e3", "٣", "../1.png", "/etc/hostname", "out.png", "a\nb.png")
    wrong += (
        "a/../1.png",
        "a",
        "1.png\0",
        "x" * 300 + ".png",
        "1.png",
        "9" * 20,
        "train",
        "gallery",
    )
    while True:
        changed = [list(row) for row in rows]
        for _ in range(rng.randint(0, 2)):
            row = rng.choice(changed)
            match rng.randrange(4):
                case 0 | 1:
                    row[rng.randrange(len(row))] = rng.choice(wrong)
                case 2:
                    changed.append(list(row))
                case _:
                    row.pop()
                    row.extend(rng.choice(([], ["", ""])))
            changed = [row for row in changed if row] or [[""]]
        text = io.StringIO()
        csv.writer(text, quoting=rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))).writerows(changed)
        encoding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
        content = text.getvalue().encode(encoding, "replace")
        path.write_bytes(content if rng.random() < 0.6 else mutate(content, rng))
        yield Attempt(
            lambda: manifest.read(folder), ("manifest.csv",), lambda images: inside(folder, images)
        )


def inside(folder: Path, images: object) -> bool:
    """Whether all images are files of the folder, with numbers from 0."""
    return isinstance(images, list) and all(
        each.pid >= 0
        and each.camid >= 0
        and (folder / each.path).resolve().is_relative_to(folder.resolve())
        and (folder / each.path).is_file()
        for each in images
    )


ODD = (
    " ",
    "\n",
    "\t",
    "..",
    "ä",
    "\u202e",
    "'",
    '"',
    ",",
    "%",
    "$(x)",
    "\udcff",
    "\x7f",
    "-",
    "人",
)


def file_names(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """Folders of sets whose files have odd names, or are links, folders or pipes."""
    for number in count():
        root = folder / str(number)
        for name in ("bounding_box_train", "query", "bounding_box_test"):
            (root / name).mkdir(parents=True)
        names = [rng.choice(ODD) + f"{n}" + rng.choice(ODD) + ".png" for n in range(3)]
        names += ["plain.png", "query/0001_c1s1_001051_00" + rng.choice(("", *ODD)) + ".jpg"]
        for name in names:
            odd_file(root / name, folder, rng)
        text = io.StringIO()
        csv.writer(text).writerows(
            [["path", "pid", "camid"], *([name, "1", "2"] for name in names)]
        )
        content = text.getvalue().encode("utf-8", "surrogateescape")
        (root / "manifest.csv").write_bytes(content)
        reader = rng.choice((manifest.read, market1501.read))
        yield Attempt(
            lambda root=root, reader=reader: layout.record(root, reader(root)),
            (str(root),),
            lambda table, root=root: all(
                (root / path).resolve().is_relative_to(root.resolve()) for path in table.path
            ),
        )


def odd_file(path: Path, outside: Path, rng: random.Random) -> None:
    """A file, or what is none."""
    match rng.randrange(12):
        case 0:
            path.symlink_to(outside)
        case 1:
            path.symlink_to("/etc/hostname")
        case 2:
            path.symlink_to(path)
        case 3:
            path.mkdir()
        case 4:
            os.mkfifo(path)
        case _:
            path.write_bytes(b"1")


def image_file(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """Images that are good, damaged, or claim to be huge."""
    path = folder / "1.png"
    while True:
        content = bomb(rng) if rng.random() < 0.1 else image(rng)
        path.write_bytes(mutate(content, rng) if rng.random() < 0.9 else content)
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        yield Attempt(
            lambda sha256=sha256: raw_set.load_pixels(folder, "1.png", sha256),
            ("1.png",),
            lambda pixels: (
                pixels.dtype == np.uint8
                and pixels.shape[2:] == (3,)
                and 0 < pixels.size <= 3 * MAX_PIXELS
            ),
        )


def weights(folder: Path, rng: random.Random) -> Iterator[Attempt]:
    """Weights from anywhere: .safetensors and .pth that are damaged, or run code when they can."""
    tensors = {f"module.{n}": torch.zeros(2, n + 1) for n in range(4)}
    packed, buffer = save(tensors), io.BytesIO()
    torch.save({"state_dict": tensors, "rank1": np.float64(3)}, buffer)
    for number in count():
        canary = folder / f"canary-{number}"
        path = folder / rng.choice(("w.safetensors", "w.pth", "w.pth.tar"))
        match rng.randrange(3):
            case 0:
                content = hostile(canary, rng)
            case 1:
                content = mutate(packed, rng)
            case _:
                content = mutate(buffer.getvalue(), rng)
        path.write_bytes(content)
        yield Attempt(
            lambda path=path: weights_file.read(path),
            (path.name,),
            canary=canary,
        )
