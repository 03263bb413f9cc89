from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_reid.core import params, protocol_record
from pyramid_reid.core.errors import UserError
from pyramid_reid.protocol import checks
from pyramid_reid.protocol.of_sets import PROTOCOLS, VARIANT_PROTOCOLS, Protocol, record, resolve
from pyramid_reid.protocol.roles import LEFT_OUT, assign, decide, digest, left_out, split_identities

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
    with pytest.raises(
        UserError, match=r"split 2 .* is not among the 2 splits of the set's authors"
    ):
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


@settings(deadline=None)
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


@settings(deadline=None)
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
    assert set(test.pid) == {2, 4, 6, 8}  # the distractor is of camera 1


@settings(deadline=None, max_examples=40)
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
    said = "is 4, split 0 can spare 3: of 5 training people 5 are seen on the LR and on the HR side"
    with pytest.raises(UserError, match=said):
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


def given_params(raw_params, name, variant=None, **values):
    raw_params["data"] |= {"name": name, "variant": variant}
    raw_params["simulate"] |= values
    made = params.Params.model_validate(raw_params)
    return name, variant, made.data.splits, made.simulate


def test_validation_people_are_asked_for_as_test_people_are():
    """A set that lets every camera ask, where its roles are drawn and one camera is the LR side."""
    protocol = replace(CAMERA_2, mixed=True)
    made = assign(raw(12, cameras=(1, 2, 3)), protocol, 1, 0, validation=2)
    cameras = made.groupby("role").camid.agg(set)
    assert cameras["val_query"] == cameras["query"] == {2}
    assert cameras["val_gallery"] == cameras["gallery"] == {1, 3}
    ratios = made.groupby("role").ratio.min()
    assert ratios["val_query"] >= 2
    assert (made.ratio[made.role == "val_gallery"] == 1).all()
    # official roles without an LR side stay as they were: each camera asks
    official = replace(OFFICIAL, mixed=True)
    made = assign(market(), official, 1, 0, validation=1)
    assert made.camid[made.role == "val_query"].nunique() > 1


def test_params_change_the_protocol_and_empty_ones_keep_it(raw_params):
    assert resolve(*given_params(raw_params, "viper")) == PROTOCOLS["viper"]
    raw_params["data"]["splits"] = 3
    changed = resolve(*given_params(raw_params, "viper", interpolation="lanczos", ratios=[4]))
    assert changed == replace(PROTOCOLS["viper"], splits=3, interpolation="lanczos", ratios=(4,))


def test_ratios_need_a_side_of_low_resolution(raw_params):
    with pytest.raises(UserError, match=r"MTA-ReID has no side of low resolution"):
        resolve(*given_params(raw_params, "mta_reid", ratios=[2]))


def test_every_set_and_variant_has_a_protocol_that_says_whom_it_follows():
    assert set(PROTOCOLS) == set(params.Data.model_fields["name"].annotation.__args__)
    for (name, variant), protocol in VARIANT_PROTOCOLS.items():
        assert variant in params.VARIANTS[name]
        assert protocol != PROTOCOLS[name]
    for protocol in [*PROTOCOLS.values(), *VARIANT_PROTOCOLS.values()]:
        assert protocol.follows
        assert protocol.comparable
        assert protocol.splits


def test_cuhk03_s_variants_have_protocols_of_their_own(raw_params):
    of = {
        variant: resolve(*given_params(raw_params, "cuhk03", variant))
        for variant in (None, *params.VARIANTS["cuhk03"])
    }
    assert of[None] == of["detected_classic"]
    for boxes in ("detected", "labeled"):
        classic, new = of[f"{boxes}_classic"], of[f"{boxes}_new"]
        assert (classic.official, classic.splits, classic.rule) == (False, 10, "single_shot")
        assert (new.official, new.splits, new.rule) == (True, 1, "market1501")
    assert len({protocol.name for protocol in of.values()}) == 4


def test_mixed_needs_official_lists(raw_params):
    with pytest.raises(UserError, match=r"MLR-VIPeR has no official queries and gallery"):
        resolve(*given_params(raw_params, "viper", mixed=True))


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_protocol_s_record_holds_what_later_stages_need_of_it(raw_params, tmp_path, name):
    protocol = resolve(*given_params(raw_params, name))
    protocol_record.write(tmp_path, record(protocol))
    again = protocol_record.read(tmp_path)
    for key, value in again:
        assert value == getattr(protocol, key)
    assert protocol_record.evaluation_rule(None, again) == protocol.rule
    assert protocol_record.evaluation_rule("all_shot", again) == "all_shot"


@pytest.mark.parametrize(
    "content",
    [b"", b"[1]", b"\xff", b'{"rule": "market1501"}', b"{}", None],
)
def test_a_damaged_or_missing_record_is_named(tmp_path, content):
    if content is not None:
        (tmp_path / "protocol.json").write_bytes(content)
    with pytest.raises(
        UserError, match=r"protocol\.json is not a record of a protocol .*`dvc repro`"
    ):
        protocol_record.read(tmp_path)


# What must not be lost silently.


def lost(raw, protocol, *, seed=0, validation=0):
    """Reasons for which crops are left out, with the number of crops and people."""
    counts = left_out(decide(raw, protocol, seed, 0, validation))
    return {
        reason: (counts[f"left_out_{reason}_images"], counts[f"left_out_{reason}_identities"])
        for reason in LEFT_OUT
        if counts[f"left_out_{reason}_images"]
    }


@settings(deadline=None)
@given(seed=st.integers(0, 30))
def test_nobody_who_can_ask_loses_all_queries(seed):
    """Five cameras, queries from the first two alone: the LR camera is one of those two."""
    images = market(40, cameras=(1, 2, 3, 4, 5))
    images = images[(images.role != "query") | images.camid.isin([1, 2])]
    crops = assign(images, OFFICIAL, seed, 0)
    queries = crops[crops.role == "query"]
    assert set(queries.pid) == set(range(2, 41, 2))
    assert set(queries.camid) == {1, 2}
    assert checks.of_split(crops, "market1501") == []
    assert lost(images, OFFICIAL, seed=seed) == {
        "query_from_hr_camera": (20, 20), "gallery_from_lr_camera": (20, 20),
    }  # fmt: skip


@settings(deadline=None)
@given(seed=st.integers(0, 30))
def test_queries_of_one_camera_alone_keep_everybody(seed):
    images = market(16)
    images = images[(images.role != "query") | (images.camid == 2)]
    queries = assign(images, OFFICIAL, seed, 0).query("role == 'query'")
    assert set(queries.pid) == set(range(2, 17, 2))
    assert set(queries.camid) == {2}


@settings(deadline=None)
@given(seed=st.integers(0, 30))
def test_the_lr_camera_leaves_a_match_and_who_cannot_be_found_is_counted(seed):
    """Person 2 has gallery crops of camera 1 alone, person 4 is asked for and in no gallery."""
    images = market()
    images = images[(images.pid != 2) | (images.role == "query") | (images.camid == 1)]
    images = images[(images.pid != 4) | (images.role == "query")]
    images = images[(images.pid != 6) | (images.camid == 1)]  # seen by one camera
    crops = assign(images, OFFICIAL, seed, 0)
    asked = crops[crops.role == "query"]
    assert set(asked.pid) == {2, 8}
    assert set(asked.camid[asked.pid == 2]) <= {2, 3}
    assert checks.of_split(crops, "market1501") == []
    assert 6 in set(crops.pid[crops.role == "gallery"])
    found = lost(images, OFFICIAL, seed=seed)
    # of person 2 the query of camera 1, of 4 all three, of 6 the only one
    assert found["query_without_match"] == (5, 3)


def test_a_row_has_a_role_or_a_reason_and_all_reasons_are_counted():
    for images, protocol in ((raw(10), CAMERA_2), (raw(10), RANDOM), (market(), OFFICIAL)):
        decided = decide(images, protocol, 1, 0)
        assert decided.path.tolist() == images.path.tolist()
        assert ((decided.role == "") == (decided.left_out != "")).all()
        assert set(decided.left_out) <= {"", *LEFT_OUT}
        assert set(left_out(decided)) == {
            f"left_out_{reason}_{what}" for reason in LEFT_OUT for what in ("images", "identities")
        }


def test_people_of_one_camera_are_counted():
    images = raw(10)
    for pid in range(11, 61):
        images.loc[len(images)] = [f"{pid}", pid, 1, "", f"{pid}"]
    for protocol in (CAMERA_2, RANDOM):
        assert lost(images, protocol) == {"seen_by_one_side": (52, 51)}  # and person 1000


def test_distractors_of_the_lr_camera_neither_ask_nor_answer():
    """The protocol of one LR camera: Market's 0000 of that camera is nobody who could ask."""
    images = market()
    for camid in (1, 2, 3):
        images.loc[len(images)] = [f"stranger {camid}", 0, camid, "gallery", f"s{camid}"]
    crops = assign(images, replace(OFFICIAL, low_camera=1), 0, 0)
    strangers = crops[crops.pid == 0]
    assert strangers.role.tolist() == ["gallery"] * 2
    assert strangers.camid.tolist() == [2, 3]
    assert lost(images, replace(OFFICIAL, low_camera=1)) == {"gallery_from_lr_camera": (2, 1)}


def test_no_distractor_of_the_lr_camera_is_in_a_gallery_of_hr_crops():
    """PRID2011 turned round: the 549 of camera B would be LR crops among HR ones."""
    images = raw(8)
    for number in range(5):
        images.loc[len(images)] = [f"d{number}", 2000 + number, 2, "gallery", f"d{number}"]
    crops = assign(images, CAMERA_2, 0, 0)
    assert set(crops.ratio[crops.role == "gallery"]) == {1}
    assert lost(images, CAMERA_2) == {"seen_by_one_side": (2, 1), "gallery_from_lr_camera": (5, 5)}


def test_queries_of_one_lr_camera_without_an_hr_match_are_counted():
    images = market()
    images = images[(images.pid != 2) | (images.camid == 1)]
    protocol = replace(OFFICIAL, low_camera=1)
    crops = assign(images, protocol, 0, 0)
    assert checks.of_split(crops, "market1501") == []
    assert lost(images, protocol)["query_without_match"] == (2, 1)


# Held-out people where no side is low.

NATURAL = replace(OFFICIAL, low_camera=None, ratios=(), mixed=True)


def trainees(*cameras_of_people):
    """Training people, each with so many crops per camera, and a test person."""
    rows = [
        (f"{pid}_{camid}_{image}", pid, camid, "train", f"{pid}/{camid}/{image}")
        for pid, cameras in enumerate(cameras_of_people, 1)
        for camid, count in cameras.items()
        for image in range(count)
    ]
    rows += [("q", 1000, 1, "query", "q"), ("g", 1000, 2, "gallery", "g")]
    return pd.DataFrame(rows, columns=["path", "pid", "camid", "role", "sha256"])


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.dictionaries(st.integers(1, 4), st.integers(1, 3), min_size=2), min_size=5),
    st.integers(0, 20),
)
def test_every_validation_query_has_a_match_from_another_camera(cameras, seed):
    held = assign(trainees(*cameras), NATURAL, seed, 0, len(cameras) - 2)
    assert checks.of_split(held, "market1501") == []
    queries, gallery = held[held.role == "val_query"], held[held.role == "val_gallery"]
    assert set(queries.pid) == set(gallery.pid)
    assert queries.pid.nunique() == len(cameras) - 2
    assert not queries.duplicated(["pid", "camid"]).any()


def test_with_one_crop_per_camera_one_camera_answers_and_the_others_ask():
    held = assign(trainees(*[{1: 1, 2: 1, 3: 1}] * 30), NATURAL, 0, 0, 20)
    counts = held[held.pid != 1000].groupby("role").size()
    assert counts.to_dict() == {"train": 30, "val_query": 40, "val_gallery": 20}
    assert set(held.camid[held.role == "val_gallery"]) == {1, 2, 3}


def test_the_only_camera_with_several_crops_answers():
    held = assign(trainees(*[{1: 1, 2: 3}] * 4), NATURAL, 0, 0, 2)
    assert set(held.camid[held.role == "val_query"]) == {1}
    assert (held.role == "val_gallery").sum() == 6


def test_a_set_of_one_camera_is_held_out_for_the_rule_that_can_judge_it():
    held = assign(trainees(*[{1: 3}] * 4), NATURAL, 0, 0, 2)
    assert (held.role == "val_query").sum() == 2
    assert not [each for each in checks.of_split(held, "all_shot") if "val_" in each]


def test_mixed_validation_asks_from_each_camera_as_its_test_does():
    held = assign(market(), replace(OFFICIAL, mixed=True), 0, 0, 2)
    queries = held[held.role == "val_query"]
    assert queries.groupby("pid").size().tolist() == [3, 3]
    assert (queries.ratio > 1).sum() == 2  # one of each person's three cameras is low
