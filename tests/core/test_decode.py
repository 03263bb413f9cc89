import io

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
        (b"no image at all", "is no JPEG, PNG, BMP image"),
        (encoded(Image.fromarray(RGB))[:60], "cannot be decoded"),
        (encoded(Image.fromarray(RGB), "JPEG")[:-40], "cannot be decoded"),
        (encoded(Image.fromarray(RGB), "GIF"), "is no JPEG, PNG, BMP image"),
        (encoded(Image.fromarray(np.zeros((4, 4), np.uint16))), "16 or 32 bits of grey"),
        (encoded(Image.new("RGBA", (4, 4), (1, 2, 3, 128))), "transparent pixels"),
        (encoded(Image.new("1", (5000, 5000))), "5000x5000 pixels, too large"),
        (encoded(Image.new("1", (20000, 20000))), "too large for a crop"),
    ],
)
def test_what_has_no_agreed_pixels_is_refused_with_the_reason(content, reason):
    with pytest.raises(ValueError, match=reason):
        decode(content)


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
