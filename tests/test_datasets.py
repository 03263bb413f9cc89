import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pyramid_reid.datasets import DATASETS, raw
from pyramid_reid.datasets.raw import RawImage
from pyramid_reid.errors import UserError
from pyramid_reid.protocol import assign


def save(path, size=(4, 9), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, 7).save(path)
    return path


def test_caviar_s_names_give_person_and_camera(tmp_path):
    for name in ("0003010.jpg", "0003011.jpg", "0072020.jpg", "0001001.jpg"):
        save(tmp_path / name)
    assert DATASETS["caviar4reid"].read(tmp_path, None) == [
        RawImage("0001001.jpg", 1, 1),
        RawImage("0003010.jpg", 3, 1),
        RawImage("0003011.jpg", 3, 2),
        RawImage("0072020.jpg", 72, 2),
    ]


@pytest.mark.parametrize("name", ["0001021.jpg", "0001000.jpg", "001001.jpg", "photo.jpg"])
def test_a_foreign_file_among_caviar_s_is_named(tmp_path, name):
    save(tmp_path / "0001001.jpg")
    save(tmp_path / name)
    with pytest.raises(UserError, match=name):
        DATASETS["caviar4reid"].read(tmp_path, None)


def test_a_folder_that_is_missing_or_empty_is_named_with_what_was_expected(tmp_path):
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(UserError, match=r"data\.root: .*0\*\.jpg"):
            DATASETS["caviar4reid"].read(folder, None)


def test_synthetic_names_give_person_and_camera(tmp_path):
    save(tmp_path / "0012_c2_03.png")
    assert DATASETS["synthetic"].read(tmp_path, None) == [RawImage("0012_c2_03.png", 12, 2)]


def test_a_record_holds_the_hash_of_the_bytes(tmp_path):
    path = save(tmp_path / "a.png")
    table = raw.record(tmp_path, [RawImage("a.png", 5, 1)])
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert table.to_dict("records") == [
        {
            "path": "a.png",
            "pid": 5,
            "camid": 1,
            "role": "",
            "bytes": path.stat().st_size,
            "sha256": expected,
        }
    ]


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    path = save(tmp_path / "a.png", mode=mode)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    pixels = raw.load_pixels(tmp_path, "a.png", sha256)
    assert pixels.shape == (9, 4, 3)
    assert pixels.dtype == np.uint8


def test_a_changed_or_missing_or_broken_image_is_named(tmp_path):
    path = save(tmp_path / "a.png")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"missing\.png cannot be read"):
        raw.load_pixels(tmp_path, "missing.png", sha256)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"a\.png has changed"):
        raw.load_pixels(tmp_path, "a.png", sha256)
    with pytest.raises(UserError, match=r"a\.png is no readable image"):
        raw.load_pixels(tmp_path, "a.png", hashlib.sha256(path.read_bytes()).hexdigest())


def png_of(width, height):
    """Bytes of a PNG that says it has this size, and holds next to nothing."""

    def chunk(kind, data):
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("size", [(10_000, 9_999), (100_000, 100_000)])
def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, size):
    content = png_of(*size)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.png (has 10000 x 9999 pixels|is too large)"):
        raw.load_pixels(tmp_path, "a.png", hashlib.sha256(content).hexdigest())


@pytest.fixture(scope="module")
def encoded():
    """One picture in each of the formats."""
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (12, 6, 3), dtype=np.uint8))
    contents = []
    for kind in ("PNG", "JPEG", "BMP"):
        file = io.BytesIO()
        picture.save(file, kind)
        contents.append(file.getvalue())
    return contents


@pytest.mark.filterwarnings("ignore")  # Pillow warns about the oddities that it accepts
@settings(max_examples=300, deadline=None)
@given(
    kind=st.integers(0, 2),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=4),
)
def test_any_damaged_file_is_pixels_or_one_clear_error(encoded, tmp_path_factory, kind, cut, flips):
    content = bytearray(encoded[kind])
    for place, value in flips:
        content[int(place * len(content))] = value
    content = bytes(content[: round(cut * len(content))])
    folder = tmp_path_factory.mktemp("any")
    (folder / "a").write_bytes(content)
    said = ""
    try:
        pixels = raw.load_pixels(folder, "a", hashlib.sha256(content).hexdigest())
    except UserError as error:
        said = str(error)
    assert str(folder / "a") in said if said else pixels.dtype == np.uint8


def test_caviar4reid_has_the_published_counts(real_data):
    root = real_data / "CAVIAR4REID"
    images = DATASETS["caviar4reid"].read(root, None)
    assert len(images) == 1220
    assert len({image.pid for image in images}) == 72
    table = raw.record(root, images)
    dataset = DATASETS["caviar4reid"]
    crops = [
        crop for crop, _ in assign(table, dataset.query_camid, dataset.gallery_camid, (), 1, 0)
    ]
    count = {
        role: sum(crop.role == role for crop in crops) for role in ("train", "query", "gallery")
    }
    assert count == {"train": 500, "query": 250, "gallery": 250}
    single = {1, 2, 5, 10, 11, 13, 14, 17, 25, 26, 39, 42, 43, 48, 49, 51, 53, 54, 56, 61, 63, 72}
    assert not single & {crop.pid for crop in crops}
