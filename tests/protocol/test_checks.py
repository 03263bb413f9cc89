import pandas as pd
import pytest

from pyramid_reid.core.errors import UserError
from pyramid_reid.protocol import checks


def table(*rows):
    columns = ["path", "pid", "camid", "role", "sha256"]
    return pd.DataFrame([(*row, f"{i}") for i, row in enumerate(rows)], columns=columns)


SOUND = [
    ("a", 1, 1, "train"),
    ("b", 1, 2, "train"),
    ("c", 2, 2, "query"),
    ("d", 2, 1, "gallery"),
    ("e", 3, 1, "gallery"),
]


def test_a_sound_split_has_no_problem():
    assert checks.of_split(table(*SOUND), "market1501") == []


def test_a_person_in_both_parts_is_named_with_two_images():
    (problem,) = checks.of_split(table(*SOUND, ("f", 1, 1, "gallery")), "market1501")
    assert "person 1 is in training (a) and in test (f)" in problem


def test_a_file_in_both_parts_is_named():
    crops = table(*SOUND)
    crops.loc[4, "sha256"] = crops.loc[0, "sha256"]
    (problem,) = checks.of_split(crops, "market1501")
    assert "the same file is in several parts of the split: a (train), e (test)" in problem
    crops.loc[4, "sha256"] = crops.loc[3, "sha256"]
    assert checks.of_split(crops, "market1501") == []  # twice in the gallery: harmless


def test_a_query_without_a_match_is_named_with_the_rule_that_removed_it():
    lost = ("g", 9, 2, "query")
    (problem,) = checks.of_split(table(*SOUND, lost), "market1501")
    assert "query g (pid 9, camid 2) has no true match: the gallery has no image" in problem
    (problem,) = checks.of_split(table(*SOUND, lost, ("h", 9, 2, "gallery")), "market1501")
    assert "all its gallery images are from the query's own camera" in problem
    assert "by the rule market1501" in problem
    assert checks.of_split(table(*SOUND, lost, ("h", 9, 2, "gallery")), "all_shot") == []


def test_missing_roles_are_named():
    problems = checks.of_split(table(("a", 1, 1, "query"), ("b", 1, 2, "query")), "market1501")
    assert any("no image has the role gallery" in problem for problem in problems)
    assert any("no image has the role train" in problem for problem in problems)


def test_validation_queries_are_checked_too():
    held = [("v", 8, 2, "val_query"), ("w", 8, 2, "val_gallery")]
    (problem,) = checks.of_split(table(*SOUND, *held), "market1501")
    assert problem.startswith("val_query v (pid 8, camid 2)")


def test_a_camera_with_one_image_is_named():
    (problem,) = checks.of_cameras(table(*SOUND, ("z", 3, 12, "")))
    assert "camera 12 has one image only (z)" in problem


def test_all_problems_are_raised_at_once():
    checks.raise_all("x", [])
    with pytest.raises(UserError) as caught:
        checks.raise_all("MLR-VIPeR in data", [f"problem {i}" for i in range(25)])
    lines = str(caught.value).splitlines()
    assert lines[0] == "MLR-VIPeR in data has 25 problem(s):"
    assert lines[-1].strip() == "and 5 more"
    assert len(lines) == 22
