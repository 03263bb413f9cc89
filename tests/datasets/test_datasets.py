import hashlib

import pytest
from PIL import Image

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.raw_set import load_pixels
from pyramid_reid.datasets import layout
from pyramid_reid.datasets.layout import RawImage
from pyramid_reid.datasets.registry import DATASETS
from pyramid_reid.protocol.of_sets import PROTOCOLS
from pyramid_reid.protocol.roles import assign


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
    table = layout.record(tmp_path, [RawImage("a.png", 5, 1)])
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


def test_a_changed_or_missing_or_broken_image_is_named(tmp_path):
    path = save(tmp_path / "a.png")
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r"missing\.png cannot be read"):
        load_pixels(tmp_path, "missing.png", sha256)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"a\.png has changed"):
        load_pixels(tmp_path, "a.png", sha256)
    with pytest.raises(UserError, match=r"a\.png is not a JPEG, PNG or BMP image"):
        load_pixels(tmp_path, "a.png", hashlib.sha256(path.read_bytes()).hexdigest())


def test_caviar4reid_has_the_published_counts(real_data):
    root = real_data / "CAVIAR4REID"
    images = DATASETS["caviar4reid"].read(root, None)
    assert len(images) == 1220
    assert len({image.pid for image in images}) == 72
    table = layout.record(root, images)
    crops = assign(table, PROTOCOLS["caviar4reid"], 1, 0)
    assert crops.role.value_counts().to_dict() == {"train": 500, "query": 250, "gallery": 250}
    single = {1, 2, 5, 10, 11, 13, 14, 17, 25, 26, 39, 42, 43, 48, 49, 51, 53, 54, 56, 61, 63, 72}
    assert not single & set(crops.pid)
