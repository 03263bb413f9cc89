"""Damaged and hostile inputs, made from good ones with a seeded generator."""

from __future__ import annotations

import io
import os
import pickle
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL import Image

PIECES = (b"\0", b"\xff", b"\xff\xfe", b"\xef\xbb\xbf", b"\n", b"\r", b",", b'"', b"..", b"-1")
PIECES += (b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"nan", b"1e400", b"9" * 30, b"[" * 50)


def mutate(content: bytes, rng: random.Random) -> bytes:
    """One to six changes: bits, bytes, pieces that are put in, cut out, repeated, or cut off."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        place = rng.randrange(len(changed) + 1)
        end = min(len(changed), place + rng.choice((1, 1, 4, 16, 200)))
        match rng.randrange(7):
            case 0 if place < len(changed):
                changed[place] ^= 1 << rng.randrange(8)
            case 1 if place < len(changed):
                changed[place] = rng.randrange(256)
            case 2:
                changed[place:place] = rng.choice(PIECES)
            case 3:
                changed[place:end] = rng.choice(PIECES)
            case 4:
                del changed[place:end]
            case 5:
                changed[place:place] = changed[place:end] * rng.randint(1, 3)
            case _ if rng.random() < 0.2:
                del changed[place:]
    return bytes(changed)


def image(rng: random.Random) -> bytes:
    """A good image of some format, mode and size, also of those that are refused."""
    size = rng.randint(1, 12), rng.randint(1, 24)
    mode = rng.choice(("RGB", "RGB", "L", "P", "1", "RGBA", "LA", "CMYK", "I;16", "YCbCr"))
    kind = rng.choice(("PNG", "JPEG", "BMP"))
    drawn = Image.frombytes("RGB", size, rng.randbytes(size[0] * size[1] * 3))
    buffer = io.BytesIO()
    try:
        converted = Image.new(mode, size, 300) if mode == "I;16" else drawn.convert(mode)
        converted.save(buffer, kind)
    except (OSError, ValueError):  # no such mode in this format
        drawn.save(buffer, kind)
    return buffer.getvalue()


def bomb(rng: random.Random) -> bytes:
    """A small PNG or BMP that claims to be far larger."""
    width, height = (rng.choice((1, 5000, 70_000, 2**31 - 1)) for _ in range(2))
    if rng.random() < 0.3:
        header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
        return b"BM" + struct.pack("<IHHI", 54 + 16, 0, 0, 54) + header + b"\0" * 16
    kind = rng.choice((0, 2, 3, 6))
    pixels = zlib.compress(b"\0" * rng.choice((10, 10**6)))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0))]
    chunks += [(b"zTXt", b"a\0\0" + pixels), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )


class Touch:
    """What a hostile pickle does when it is read: it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def hostile(canary: Path, rng: random.Random) -> bytes:
    """A pickle that makes a folder when it is read, in one of the wrappings of checkpoints."""
    touch = {"state_dict": Touch(canary)}
    buffer = io.BytesIO()
    match rng.randrange(4):
        case 0:
            torch.save(touch, buffer)
        case 1:
            torch.save(touch, buffer, _use_new_zipfile_serialization=False)
        case 2:
            np.save(buffer, np.array([touch], object), allow_pickle=True)
        case _:
            pickle.dump(touch, buffer, protocol=rng.randint(0, 5))
    return buffer.getvalue()
