import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_reid.protocol.degradation import FILTERS, camera, downsample


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


@given(
    height=st.integers(2, 60),
    width=st.integers(2, 40),
    ratio=st.integers(2, 4),
    seed=st.integers(0, 1000),
)
def test_a_camera_gives_the_size_of_plain_down_sampling(height, width, ratio, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    low = camera(pixels, ratio, np.random.default_rng(seed))
    assert low.shape == downsample(pixels, ratio).shape
    assert low.dtype == np.uint8
    np.testing.assert_array_equal(low, camera(pixels, ratio, np.random.default_rng(seed)))


def test_a_camera_blurs_adds_noise_and_compresses_by_chance():
    edge = np.zeros((96, 48, 3), np.uint8)
    edge[:, 24:] = 255
    lows = np.stack([camera(edge, 2, np.random.default_rng(seed)) for seed in range(40)])
    plain = downsample(edge, 2)
    assert len({low.tobytes() for low in lows}) == 40
    # noise is clipped at black: the plain half is lifted, by another amount each time
    dark = lows[:, :, :8].std((1, 2, 3))
    assert dark.max() > 3 * dark.min()
    # on average the edge is wider and the picture the same
    difference = lows.mean(0) - plain
    assert np.abs(difference[:, [0, -1]]).mean() < 12
    assert np.abs(difference[:, 11:13]).mean() > 4


@pytest.mark.parametrize("interpolation", FILTERS)
def test_filters_differ_and_keep_the_mean(interpolation):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 40, 3), dtype=np.uint8)
    low = downsample(pixels, 4, interpolation)
    assert abs(low.mean() - pixels.mean()) < 1
    others = [downsample(pixels, 4, name) for name in FILTERS if name != interpolation]
    assert all((low != other).any() for other in others)
