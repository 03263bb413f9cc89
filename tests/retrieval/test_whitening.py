import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_reid.retrieval.distance import cosine_distances, normalize
from pyramid_reid.retrieval.whitening import STRENGTH, whitened, within_people


def shrunk(features, pids):
    """The covariance about the mean of each person, in plain Python, shrunk as told."""
    size = len(features[0])
    about = []
    for person in set(pids):
        own = [of for of, pid in zip(features, pids, strict=True) if pid == person]
        mean = [sum(of[n] for of in own) / len(own) for n in range(size)]
        about += [[of[n] - mean[n] for n in range(size)] for of in own]
    of = [[sum(x[i] * x[j] for x in about) / len(about) for j in range(size)] for i in range(size)]
    mean_variance = sum(of[n][n] for n in range(size)) / size
    return np.array(of) / mean_variance + STRENGTH * np.eye(size)


def test_two_people_that_differ_in_one_number_by_hand():
    """Their crops differ in the second number alone: variance 0.36 there, 0.18 in the mean."""
    features = np.array([[0.8, 0.6], [0.8, -0.6], [-0.8, 0.6], [-0.8, -0.6]], np.float32)
    matrix = within_people(features, np.array([1, 1, 2, 2]))
    wanted = [[1 / STRENGTH**0.5, 0], [0, 1 / (STRENGTH + 2) ** 0.5]]
    np.testing.assert_allclose(matrix, wanted, rtol=1e-6)
    found = whitened(features[:1], matrix)
    np.testing.assert_allclose(found, normalize(features[:1] * np.diag(wanted)), rtol=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(2, 5))
def test_cosines_are_those_under_the_inverse_covariance(seed, size, people):
    rng = np.random.default_rng(seed)
    pids = rng.permutation(np.arange(4 * people) % people)
    features = normalize(rng.normal(size=(len(pids), size)))
    moved = whitened(features, within_people(features, pids))
    wanted = features @ np.linalg.solve(shrunk(features.tolist(), pids.tolist()), features.T)
    lengths = np.sqrt(np.diag(wanted))
    np.testing.assert_allclose(moved @ moved.T, wanted / np.outer(lengths, lengths), atol=1e-5)


def test_directions_in_which_people_s_own_crops_differ_count_less():
    rng = np.random.default_rng(0)
    people, pids = rng.normal(size=(30, 128)), np.arange(120) % 30
    noise = rng.normal(size=(120, 128)) / 2
    noise[:, 0] = rng.normal(size=120) * 40  # as a pose or an illumination has it
    features = normalize(people[pids] + noise)
    matrix = within_people(features[:60], pids[:60])

    def rank1(of):
        query, gallery = of[60:90], of[90:]
        return (cosine_distances(query, gallery).argmin(1) == np.arange(30)).mean()

    assert rank1(whitened(features, matrix)) > rank1(features) + 0.2


def test_what_cannot_be_whitened_is_an_error():
    features = np.array([[1, 0], [0, 1]], np.float32)
    with pytest.raises(ValueError, match="no person has two crops that differ"):
        within_people(features, np.array([1, 2]))
    with pytest.raises(ValueError, match="no person has two crops that differ"):
        within_people(np.tile(features[:1], (3, 1)), np.array([1, 1, 2]))
    with pytest.raises(ValueError, match="2 features for 3 crops"):
        within_people(features, np.array([1, 2, 2]))
    with pytest.raises(ValueError, match="features"):
        within_people(2 * features, np.array([1, 1]))
    with pytest.raises(ValueError, match=r"a matrix of \(3, 3\) for features of 2 numbers"):
        whitened(features, np.eye(3))
