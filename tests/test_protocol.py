import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_reid.errors import UserError
from pyramid_reid.protocol import assign, split_identities


def raw(people, images=2):
    """Camera 1 and 2 see everybody; camera 1 alone also sees person 1000."""
    rows = [
        (f"{pid}_{camid}_{image}", pid, camid, "0")
        for pid in [*range(1, people + 1), 1000]
        for camid in (1, 2)
        for image in range(images)
        if pid != 1000 or camid == 1
    ]
    return pd.DataFrame(rows, columns=["path", "pid", "camid", "sha256"])


@given(people=st.integers(4, 40), seed=st.integers(0, 1000), split=st.integers(0, 20))
def test_halves_are_disjoint_and_complete(people, seed, split):
    pids = list(range(people))
    train, test = split_identities(pids, seed, split)
    assert not train & test
    assert train | test == set(pids)
    assert len(train) - len(test) in (0, 1)
    assert split_identities(pids[::-1], seed, split) == (train, test)


def test_splits_and_seeds_differ():
    halves = {
        frozenset(split_identities(list(range(50)), seed, split)[0])
        for seed in range(3)
        for split in range(3)
    }
    assert len(halves) == 9


def test_too_few_people_are_refused():
    with pytest.raises(UserError, match="only 3 people"):
        split_identities([1, 2, 3], 0, 0)


@given(seed=st.integers(0, 50), split=st.integers(0, 3))
def test_roles_and_ratios(seed, split):
    crops = [crop for crop, _ in assign(raw(8), 2, 1, (2, 3, 4), seed, split)]
    of = {
        role: [crop for crop in crops if crop.role == role]
        for role in ("train", "query", "gallery")
    }
    assert len(crops) == 8 * 4  # person 1000 is seen by one camera only
    assert {crop.pid for crop in of["query"]} == {crop.pid for crop in of["gallery"]}
    assert not {crop.pid for crop in of["train"]} & {crop.pid for crop in of["query"]}
    assert {crop.camid for crop in of["query"]} == {2}
    assert {crop.camid for crop in of["gallery"]} == {1}
    assert {crop.camid for crop in of["train"]} == {1, 2}
    assert all(crop.ratio == 1 for crop in crops if crop.camid == 1)
    assert all(crop.ratio in (2, 3, 4) for crop in crops if crop.camid == 2)


def test_every_ratio_is_drawn():
    crops = [crop for crop, _ in assign(raw(50, 4), 2, 1, (2, 3, 4), 0, 0) if crop.camid == 2]
    counts = pd.Series([crop.ratio for crop in crops]).value_counts()
    assert set(counts.index) == {2, 3, 4}
    assert counts.min() > len(crops) / 5


def test_without_ratios_nothing_is_simulated():
    assert {crop.ratio for crop, _ in assign(raw(8), 2, 1, (), 0, 0)} == {1}
