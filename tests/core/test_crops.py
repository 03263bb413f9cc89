import numpy as np
import pytest
from conftest import labels
from hypothesis import given
from hypothesis import strategies as st

from pyramid_reid.core.crops import Crop, CropStore, CropWriter, splits
from pyramid_reid.core.errors import UserError


@given(
    sizes=st.lists(st.tuples(st.integers(1, 30), st.integers(1, 20)), max_size=12),
    seed=st.integers(0, 9),
)
def test_what_is_written_is_read_back(tmp_path_factory, sizes, seed):
    folder = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(seed)
    crops = [
        (
            Crop(number, number % 2, "train", 1, f"ä {number},\n.png"),
            rng.integers(0, 256, (*size, 3), dtype=np.uint8),
        )
        for number, size in enumerate(sizes)
    ]
    with CropWriter(folder) as writer:
        for crop, pixels in crops:
            writer.add(crop, pixels)
    if not crops:
        assert len(CropStore(folder)) == 0
        return
    store = CropStore(folder)
    for row, (crop, pixels) in enumerate(crops):
        assert labels(store, row) == crop
        np.testing.assert_array_equal(store[row], pixels)
    assert np.load(folder / "pixels.npy").size == sum(pixels.size for _, pixels in crops)


def test_views_of_other_arrays_are_packed_by_what_they_show(tmp_path):
    pixels = np.arange(5 * 8 * 3, dtype=np.uint8).reshape(5, 8, 3)[::2, ::-3]
    with CropWriter(tmp_path) as writer:
        writer.add(Crop(1, 1, "train", 1, "a"), pixels)
    np.testing.assert_array_equal(CropStore(tmp_path)[0], pixels)


def test_rows_of_a_role_keep_their_order(store):
    assert store.rows("train") == [0, 1, 2]
    assert store.rows("query") == [3]
    assert store.rows("gallery") == [4, 5]


def test_pixels_are_read_only(store):
    with pytest.raises(ValueError, match="read-only"):
        store[0][0, 0, 0] = 1


def test_a_truncated_store_is_refused(store, tmp_path):
    path = tmp_path / "store" / "pixels.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match="not a crop store"):
        CropStore(tmp_path / "store")


def test_an_index_of_another_store_is_refused(store, tmp_path):
    path = tmp_path / "store" / "index.csv"
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")
    with pytest.raises(UserError, match="its index"):
        CropStore(tmp_path / "store")


def test_a_missing_store_is_refused(tmp_path):
    with pytest.raises(UserError, match="dvc repro"):
        CropStore(tmp_path)


def test_pixels_of_the_wrong_kind_are_refused(tmp_path):
    with CropWriter(tmp_path) as writer, pytest.raises(ValueError, match="grey"):
        writer.add(Crop(1, 1, "train", 1, "grey.png"), np.zeros((4, 4), np.uint8))


def test_a_failed_writer_leaves_no_index(tmp_path):
    def fail():
        with CropWriter(tmp_path) as writer:
            writer.add(Crop(1, 1, "train", 1, "a"), np.zeros((1, 1, 3), np.uint8))
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not (tmp_path / "index.csv").exists()


def test_splits_are_counted_not_spelled(tmp_path):
    for number in (0, 10, 2):
        (tmp_path / f"split_{number}").mkdir()
    assert splits(tmp_path) == ["split_0", "split_2", "split_10"]
    with pytest.raises(UserError, match="no split"):
        splits(tmp_path / "split_0")
