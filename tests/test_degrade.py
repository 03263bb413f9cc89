import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_reid.degrade import downsample


@given(height=st.integers(1, 60), width=st.integers(1, 40), ratio=st.integers(1, 6))
def test_size_is_divided_and_never_zero(height, width, ratio):
    low = downsample(np.zeros((height, width, 3), np.uint8), ratio)
    assert low.shape == (max(1, round(height / ratio)), max(1, round(width / ratio)), 3)
    assert low.dtype == np.uint8


@given(level=st.integers(0, 255), ratio=st.integers(2, 4))
def test_a_plain_image_stays_plain(level, ratio):
    assert np.all(downsample(np.full((13, 9, 3), level, np.uint8), ratio) == level)


def test_it_is_antialiased():
    stripes = np.zeros((32, 32, 3), np.uint8)
    stripes[:, ::2] = 255
    low = downsample(stripes, 4)
    # picking every fourth column, or interpolating between two, would give 0 or 255
    assert np.all(np.abs(low.astype(int) - 127) < 25)


def test_ratio_1_changes_nothing():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3), dtype=np.uint8)
    np.testing.assert_array_equal(downsample(pixels, 1), pixels)


def test_a_ratio_below_1_is_refused():
    with pytest.raises(ValueError, match="ratio"):
        downsample(np.zeros((4, 4, 3), np.uint8), 0)
