from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyramid_reid.core import params
from pyramid_reid.core.errors import UserError
from pyramid_reid.protocol.presets import PROTOCOLS, Protocol, resolve
from pyramid_reid.protocol.roles import assign, digest, split_identities

CAMERA_2 = Protocol("two cameras", "a test", low_camera=2, ratios=(2, 3, 4))
RANDOM = replace(CAMERA_2, low_camera="random")
OFFICIAL = replace(RANDOM, official=True)


def raw(people, images=2, cameras=(1, 2)):
    """All cameras see everybody; camera 1 alone also sees person 1000."""
    rows = [
        (f"{pid}_{camid}_{image}", pid, camid, "", f"{pid}/{camid}/{image}")
        for pid in [*range(1, people + 1), 1000]
        for camid in cameras
        for image in range(images)
        if pid != 1000 or camid == 1
    ]
    return pd.DataFrame(rows, columns=["path", "pid", "camid", "role", "sha256"])


def market(people=8, cameras=(1, 2, 3)):
    """An official split: odd people train, even ones are a query and a gallery crop per camera."""
    rows = []
    for pid in range(1, people + 1):
        for camid in cameras:
            roles = ("train", "train") if pid % 2 else ("query", "gallery")
            for image, role in enumerate(roles):
                rows.append((f"{pid}_{camid}_{image}", pid, camid, role, f"{pid}/{camid}/{image}"))
    rows.append(("distractor", 0, 1, "gallery", "0"))
    return pd.DataFrame(rows, columns=["path", "pid", "camid", "role", "sha256"])


@given(people=st.integers(4, 40), seed=st.integers(0, 1000), split=st.integers(0, 20))
def test_halves_are_disjoint_and_complete(people, seed, split):
    pids = list(range(people))
    train, test = split_identities(pids, seed, split)
    assert not train & test
    assert train | test == set(pids)
    assert len(train) - len(test) in (0, 1)
    assert split_identities(pids[::-1], seed, split) == (train, test)


def test_the_authors_test_sets_are_taken_where_there_are_some():
    sets = [{1, 2, 99}, {3, 4}]
    assert split_identities(range(6), 1, 0, sets) == ({0, 3, 4, 5}, {1, 2})
    assert split_identities(range(6), 1, 1, sets) == ({0, 1, 2, 5}, {3, 4})
    with pytest.raises(UserError, match=r"data\.splits is above 2"):
        split_identities(range(6), 1, 2, sets)
    with pytest.raises(UserError, match="only 3 people"):
        split_identities([0, 1, 2], 1, 0, sets)


def test_splits_and_seeds_differ():
    halves = {
        frozenset(split_identities(list(range(50)), seed, split)[0])
        for seed in range(3)
        for split in range(3)
    }
    assert len(halves) == 9


def test_too_few_people_are_refused():
    with pytest.raises(UserError, match="only 3 people are seen by both sides"):
        split_identities([1, 2, 3], 0, 0)


@given(seed=st.integers(0, 50), split=st.integers(0, 3))
def test_roles_and_ratios_where_a_camera_is_low(seed, split):
    crops = assign(raw(8), CAMERA_2, seed, split)
    of = dict(list(crops.groupby("role")))
    assert len(crops) == 8 * 4  # person 1000 is seen by one camera only
    assert set(of["query"].pid) == set(of["gallery"].pid)
    assert not set(of["train"].pid) & set(of["query"].pid)
    assert set(of["query"].camid) == {2}
    assert set(of["gallery"].camid) == {1}
    assert set(of["train"].camid) == {1, 2}
    assert set(crops.ratio[crops.camid == 1]) == {1}
    assert set(crops.ratio[crops.camid == 2]) <= {2, 3, 4}


@given(seed=st.integers(0, 50))
def test_a_random_camera_of_each_person_is_low(seed):
    crops = assign(raw(30), RANDOM, seed, 0)
    low = crops[crops.ratio > 1]
    assert low.groupby("pid").camid.nunique().eq(1).all()
    assert set(low.pid) == set(crops.pid) == set(range(1, 31))
    assert set(low.camid) == {1, 2}  # not the same camera for all of 30
    assert (crops.role[(crops.ratio > 1) & (crops.role != "train")] == "query").all()
    assert (crops.role[(crops.ratio == 1) & (crops.role != "train")] == "gallery").all()


def test_every_ratio_is_drawn_per_image_or_per_identity():
    per_image = assign(raw(50, 4), CAMERA_2, 0, 0).query("camid == 2")
    counts = per_image.ratio.value_counts()
    assert set(counts.index) == {2, 3, 4}
    assert counts.min() > len(per_image) / 5
    assert per_image.groupby("pid").ratio.nunique().max() == 3
    protocol = replace(CAMERA_2, ratio_per="identity")
    per_identity = assign(raw(50, 4), protocol, 0, 0).query("camid == 2")
    assert per_identity.groupby("pid").ratio.nunique().eq(1).all()
    assert set(per_identity.ratio) == {2, 3, 4}


def test_without_ratios_nothing_is_simulated():
    assert set(assign(raw(8), replace(CAMERA_2, ratios=()), 1, 0).ratio) == {1}


def test_distractors_are_in_every_gallery_as_they_are():
    images = raw(8)
    images.loc[len(images)] = ["extra", 2000, 1, "gallery", "x"]
    for protocol in (CAMERA_2, RANDOM):
        crops = assign(images, protocol, 0, 0).set_index("path")
        assert tuple(crops.loc["extra", ["role", "ratio"]]) == ("gallery", 1)


def test_official_lists_ask_with_low_and_answer_with_high_resolution():
    crops = assign(market(), OFFICIAL, 3, 0)
    assert set(crops.pid[crops.role == "train"]) == {1, 3, 5, 7}
    queries, gallery = crops[crops.role == "query"], crops[crops.role == "gallery"]
    assert (queries.ratio > 1).all()
    assert queries.groupby("pid").size().eq(1).all()  # one of the three cameras
    assert (gallery.ratio == 1).all()
    assert gallery.groupby("pid").size().to_dict() == {0: 1, 2: 2, 4: 2, 6: 2, 8: 2}
    assert (crops.ratio[crops.role == "train"] > 1).mean() == pytest.approx(1 / 3)


def test_mixed_official_lists_stay_as_they_are():
    crops = assign(market(), replace(OFFICIAL, mixed=True), 3, 0)
    assert crops.role.tolist() == market().role.tolist()
    assert set(crops.ratio[crops.role == "gallery"]) > {1}


def test_one_low_camera_of_an_official_set_asks_with_all_its_test_crops():
    crops = assign(market(), replace(OFFICIAL, low_camera=1), 0, 0)
    test = crops[crops.role != "train"]
    assert (test.role == "query").equals(test.camid == 1)


@given(seed=st.integers(0, 30), count=st.integers(1, 3))
def test_validation_identities_are_taken_from_training_alone(seed, count):
    for images, protocol in ((raw(10), CAMERA_2), (market(), OFFICIAL)):
        crops = assign(images, protocol, seed, 0)
        held = assign(images, protocol, seed, 0, 2 if protocol is OFFICIAL else count)
        same = crops[~crops.role.isin(["train"])]
        pd.testing.assert_frame_equal(same, held.loc[same.index])
        queries, gallery = held[held.role == "val_query"], held[held.role == "val_gallery"]
        pids = set(queries.pid)
        assert len(pids) == (2 if protocol is OFFICIAL else count)
        assert pids == set(gallery.pid)
        assert pids <= set(crops.pid[crops.role == "train"])
        assert not pids & set(held.pid[held.role == "train"])
        assert (queries.ratio > 1).all()
        assert (gallery.ratio == 1).all()


def test_validation_without_a_low_side_asks_once_per_camera():
    protocol = replace(OFFICIAL, low_camera=None, ratios=(), mixed=True)
    held = assign(market(), protocol, 0, 0, 2)
    queries = held[held.role == "val_query"]
    assert queries.groupby(["pid", "camid"]).size().tolist() == [1] * 6
    assert (held.role == "val_gallery").sum() == 6


def test_more_validation_identities_than_training_can_spare_are_refused():
    with pytest.raises(UserError, match="validation_identities is 4, split 0 can spare 3"):
        assign(raw(10), CAMERA_2, 0, 0, 4)


def test_a_camera_that_is_not_there_and_a_set_without_sides_are_named():
    with pytest.raises(UserError, match=r"low_camera is 7, the set has cameras \[1, 2\]"):
        assign(raw(8), replace(CAMERA_2, low_camera=7), 0, 0)
    with pytest.raises(UserError, match=r"set simulate\.low_camera"):
        assign(raw(8), PROTOCOLS["manifest"], 0, 0)


def test_the_digest_depends_on_what_is_evaluated_and_not_on_the_order():
    crops = assign(raw(8), CAMERA_2, 0, 0)
    assert digest(crops) == digest(crops[::-1])
    assert digest(crops) != digest(assign(raw(8), CAMERA_2, 1, 0))


def test_splits_never_move():
    """Whoever published results on a split must find it again: a new digest is a new protocol."""
    assert digest(assign(raw(8), CAMERA_2, 0, 0)) == (
        "eedb2f28f424a3a0d851d014632514beab99a9a558ea4aade63c8744a64ddc12"
    )


def given_params(raw_params, **values):
    raw_params["simulate"] |= values
    return params.Params.model_validate(raw_params).simulate


def test_params_change_the_preset_and_empty_ones_keep_it(raw_params):
    assert resolve("viper", None, given_params(raw_params)) == PROTOCOLS["viper"]
    changed = resolve("viper", 3, given_params(raw_params, interpolation="lanczos", ratios=[4]))
    assert changed == replace(PROTOCOLS["viper"], splits=3, interpolation="lanczos", ratios=(4,))


def test_ratios_need_a_side_of_low_resolution(raw_params):
    with pytest.raises(UserError, match=r"MTA-ReID has no side of low resolution"):
        resolve("mta_reid", None, given_params(raw_params, ratios=[2]))


def test_every_set_has_a_protocol_that_says_whom_it_follows():
    assert set(PROTOCOLS) == set(params.Data.model_fields["name"].annotation.__args__)
    assert all(protocol.follows and protocol.splits for protocol in PROTOCOLS.values())
