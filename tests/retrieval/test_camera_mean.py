import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_reid.retrieval.camera_mean import camera_means, centred
from pyramid_reid.retrieval.distance import normalize


def test_means_are_of_each_camera_s_own_crops():
    features = np.array([[1, 0], [0, 1], [0.6, 0.8], [1, 0]], np.float32)
    means = camera_means(features, np.array([7, 7, 3, 7]))
    assert list(means) == [3, 7]
    np.testing.assert_allclose(means[3], [0.6, 0.8])
    np.testing.assert_allclose(means[7], [2 / 3, 1 / 3])


def test_each_feature_loses_the_mean_of_its_own_camera():
    features = np.array([[1, 0], [1, 0], [0, 1]], np.float32)
    means = {1: np.array([0.5, 0.5], np.float32), 2: np.array([0, -3], np.float32)}
    found = centred(features, np.array([1, 2, 2]), means)
    wanted = [[0.5**0.5, -(0.5**0.5)], [1 / 10**0.5, 3 / 10**0.5], [0, 1]]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_what_a_camera_adds_to_all_its_crops_is_taken_away(seed, cameras):
    """People in one half of the numbers, cameras in the other: only people are left."""
    rng = np.random.default_rng(seed)
    people, shift = rng.normal(size=(20, 4)), rng.normal(size=(cameras, 4))
    people /= np.linalg.norm(people, axis=1, keepdims=True)
    shift /= np.linalg.norm(shift, axis=1, keepdims=True)
    camids = np.arange(20) % cameras
    features = normalize(np.hstack([people, shift[camids]]))  # halves of the same length
    means = {camid: np.r_[np.zeros(4), shift[camid] / 2**0.5] for camid in range(cameras)}
    found = centred(features, camids, {n: of.astype(np.float32) for n, of in means.items()})
    np.testing.assert_allclose(found, np.hstack([people, np.zeros((20, 4))]), atol=1e-6)


def test_a_camera_without_mean_and_a_crop_that_is_the_mean_are_errors():
    features = np.array([[1, 0], [0, 1]], np.float32)
    with pytest.raises(ValueError, match="camera 4 has no mean"):
        centred(features, np.array([1, 4]), {1: features[1]})
    with pytest.raises(ValueError, match="1 features have no direction, the first in row 1"):
        centred(features, np.array([1, 4]), {1: features[1], 4: features[1]})
    with pytest.raises(ValueError, match="1 features for 2 crops"):
        centred(features[:1], np.array([1, 1]), {1: features[1]})
    with pytest.raises(ValueError, match="features"):
        camera_means(2 * features, np.array([1, 4]))


def test_no_crops_have_no_features():
    assert centred(np.zeros((0, 3), np.float32), np.array([], int), {}).shape == (0, 3)
