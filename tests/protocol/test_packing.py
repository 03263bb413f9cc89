import hashlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pyramid_reid.core.crops import CropStore
from pyramid_reid.protocol.degradation import downsample
from pyramid_reid.protocol.of_sets import Protocol
from pyramid_reid.protocol.packing import pack, unreadable
from pyramid_reid.protocol.roles import assign

PROTOCOL = Protocol("two cameras", "a test", low_camera=2, ratios=(2, 3))


@pytest.fixture
def raw(tmp_path):
    """Eight people, two cameras, on disk and as a table."""
    rng, rows = np.random.default_rng(0), []
    for pid in range(1, 9):
        for camid in (1, 2):
            path = tmp_path / f"{pid}_{camid}.png"
            Image.fromarray(rng.integers(0, 256, (24, 12, 3), dtype=np.uint8)).save(path)
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            rows.append((path.name, pid, camid, "", sha256))
    return pd.DataFrame(rows, columns=["path", "pid", "camid", "role", "sha256"])


def test_every_split_holds_its_crops_in_order_at_their_ratio(tmp_path, raw):
    splits = {split: assign(raw, PROTOCOL, 1, split) for split in (0, 1, 4)}
    assert pack(tmp_path, raw.path, splits, PROTOCOL, 1, tmp_path / "out") == []
    for split, assigned in splits.items():
        store = CropStore(tmp_path / "out" / f"split_{split}")
        assert store.index.source.tolist() == assigned.path.tolist()
        assert store.index.role.tolist() == assigned.role.tolist()
        for row, crop in enumerate(assigned.itertuples()):
            pixels = np.asarray(Image.open(tmp_path / crop.path))
            np.testing.assert_array_equal(store[row], downsample(pixels, crop.ratio))


def test_the_camera_s_degradation_is_seeded_per_image(tmp_path, raw):
    protocol = Protocol("c", "a test", low_camera=2, ratios=(2,), degradation="camera")
    splits = {0: assign(raw, protocol, 1, 0)}

    def stored(seed, name):
        pack(tmp_path, raw.path, splits, protocol, seed, tmp_path / name)
        return (tmp_path / name / "split_0/pixels.npy").read_bytes()

    assert stored(1, "a") == stored(1, "b") != stored(2, "c")
    subset = raw[::-1]
    pack(tmp_path, subset.path, splits, protocol, 1, tmp_path / "d")
    whole, turned = (CropStore(tmp_path / name / "split_0") for name in ("a", "d"))
    np.testing.assert_array_equal(whole[1], turned[len(turned) - 2])


def test_all_broken_images_are_listed(tmp_path, raw):
    (tmp_path / "1_1.png").write_bytes(b"")
    (tmp_path / "2_2.png").unlink()
    raw.loc[0, "sha256"] = hashlib.sha256(b"").hexdigest()
    splits = {split: assign(raw, PROTOCOL, 1, split) for split in range(2)}
    problems = pack(tmp_path, raw.path, splits, PROTOCOL, 1, tmp_path / "out")
    assert problems == unreadable(tmp_path, raw)
    assert len(problems) == 2
    assert "1_1.png is empty (0 bytes)" in problems[0]
    assert "2_2.png cannot be read" in problems[1]
