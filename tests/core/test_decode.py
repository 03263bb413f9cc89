import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pyramid_reid.core.decode import decode


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


RGB = np.random.default_rng(0).integers(0, 256, (9, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
def test_colours_are_kept(kind):
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(RGB), kind)), RGB)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "LA"])
def test_every_mode_with_an_agreed_colour_becomes_rgb(mode):
    image = Image.fromarray(RGB).convert(mode)
    np.testing.assert_array_equal(decode(encoded(image)), np.asarray(image.convert("RGB")))


def test_cmyk_becomes_rgb():
    image = Image.fromarray(np.full((8, 8, 3), 200, np.uint8)).convert("CMYK")
    assert np.all(np.abs(decode(encoded(image, "JPEG")).astype(int) - 200) < 5)


def test_an_image_is_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by 90°
    assert decode(encoded(Image.fromarray(RGB), "PNG", exif=exif)).shape == (4, 9, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"no image at all", "is not a JPEG, PNG or BMP image"),
        (encoded(Image.fromarray(RGB))[:60], "cannot be decoded"),
        (encoded(Image.fromarray(RGB), "JPEG")[:-40], "cannot be decoded"),
        (encoded(Image.fromarray(RGB), "GIF"), "is a GIF image, not JPEG, PNG or BMP: save it"),
        (encoded(Image.fromarray(RGB), "WEBP"), "is a WEBP image, not JPEG, PNG or BMP: save it"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "is a Git LFS pointer"),
        (b"\n<!DOCTYPE html>\n<html>", "is a web page"),
        (encoded(Image.new("RGBA", (4, 4), (1, 2, 3, 128))), "transparent pixels"),
        (encoded(Image.new("1", (5000, 5000))), "5000x5000 pixels, too large"),
        (encoded(Image.new("1", (20000, 20000))), "too large for a crop"),
    ],
)
def test_what_has_no_agreed_pixels_is_refused_with_the_reason(content, reason):
    with pytest.raises(ValueError, match=reason):
        decode(content)


def png(depth, colour_type, rows, width, *between):
    """A PNG by the letter of its specification, which Pillow cannot write in all its kinds."""

    def chunk(name, content):
        end = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + end

    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [(b"IHDR", header), *between, (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*each) for each in chunks)


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_all_kinds_of_16_bits_are_refused_with_the_remedy(colour_type, channels):
    ten_bits = np.full((4, 4 * channels), 1023, ">u2")  # the high bytes alone would be black
    with pytest.raises(ValueError, match=r"more than 8 bits per channel.*: save it with 8"):
        decode(png(16, colour_type, [row.tobytes() for row in ten_bits], 4))


PALETTE = (b"PLTE", bytes([9, 8, 7, 1, 2, 3]))


@pytest.mark.parametrize(
    ("content", "first"),
    [
        (png(8, 3, [b"\0\0"], 2, PALETTE, (b"tRNS", b"\xff\0")), (9, 8, 7)),  # 1 is not used
        (png(8, 3, [b"\1\0"], 2, PALETTE, (b"tRNS", b"\xff\xfe")), (1, 2, 3)),
        (png(8, 2, [b"\1\2\3"], 1, (b"tRNS", b"\0\3\0\2\0\1")), (1, 2, 3)),
        (png(8, 0, [b"\5"], 1, (b"tRNS", b"\0\6")), (5, 5, 5)),
        (png(1, 0, [b"\x80"], 1, (b"tRNS", b"\0\0")), (255, 255, 255)),
        (encoded(Image.new("RGBA", (2, 2), (1, 2, 3, 254))), (1, 2, 3)),
        (encoded(Image.new("RGBA", (2, 2), (1, 2, 3, 250))), (1, 2, 3)),
        (encoded(Image.new("LA", (2, 2), (5, 254))), (5, 5, 5)),
    ],
)
def test_what_nobody_can_see_through_is_opaque(content, first):
    np.testing.assert_array_equal(decode(content)[0, 0], first)


@pytest.mark.parametrize(
    "content",
    [
        png(8, 3, [b"\0\1"], 2, PALETTE, (b"tRNS", b"\xff\0")),
        png(8, 2, [b"\1\2\3"], 1, (b"tRNS", b"\0\1\0\2\0\3")),
        png(8, 0, [b"\5"], 1, (b"tRNS", b"\0\5")),
        encoded(Image.new("RGBA", (2, 2), (1, 2, 3, 249))),
        encoded(Image.new("RGBA", (2, 2), (1, 2, 3, 0))),
        encoded(Image.new("LA", (2, 2), (5, 0))),
    ],
)
def test_what_shows_through_is_refused(content):
    with pytest.raises(ValueError, match="transparent pixels"):
        decode(content)


def bitmap(alphas):
    """A BMP with 32 bits per pixel and a mask of alpha (BITMAPV4HEADER), one row."""
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    pixels = b"".join(bytes([7, 8, 9, alpha]) for alpha in alphas)
    sizes = struct.pack("<IiiHHIIiiII", 108, len(alphas), 1, 1, 32, 3, len(pixels), 0, 0, 0, 0)
    header = sizes + masks + bytes(52)
    start = 14 + len(header)
    return b"BM" + struct.pack("<IHHI", start + len(pixels), 0, 0, start) + header + pixels


def test_a_fourth_byte_of_a_bmp_that_is_not_used_is_no_transparency():
    for alphas in ((0, 0), (255, 255), (255, 254)):
        np.testing.assert_array_equal(decode(bitmap(alphas)), [[(9, 8, 7)] * 2])
    with pytest.raises(ValueError, match="transparent pixels"):
        decode(bitmap((0, 255)))


@given(st.data())
def test_damaged_files_are_decoded_or_refused_and_nothing_else(data):
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "BMP"]))
    content = bytearray(encoded(Image.fromarray(RGB), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        pixels = decode(bytes(content))
    except ValueError:
        return
    assert pixels.ndim == 3
    assert pixels.dtype == np.uint8
