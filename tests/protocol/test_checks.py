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


def test_a_test_person_who_is_held_out_of_training_is_named_too():
    held_out = [("g", 4, 2, "val_query"), ("h", 4, 1, "val_gallery")]
    assert checks.of_split(table(*SOUND, *held_out), "market1501") == []
    (problem,) = checks.of_split(table(*SOUND, *held_out, ("f", 4, 1, "gallery")), "market1501")
    assert "person 4 is in training (g) and in test (f)" in problem


def copied(*rows):
    """A sound split and one more file under several labels."""
    crops = table(*SOUND, *rows)
    crops.loc[len(SOUND) :, "sha256"] = "copy"
    return crops


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        # in training and test, under two people
        ([("x", 1, 1, "train"), ("y", 3, 1, "gallery")], "x (pid 1, camid 1), y (pid 3, camid 1)"),
        # a query's copy in the gallery, of another camera, and of the same one
        ([("x", 2, 2, "query"), ("y", 2, 1, "gallery")], "x (pid 2, camid 2), y (pid 2, camid 1)"),
        ([("x", 2, 2, "query"), ("y", 2, 2, "gallery")], "x (role query), y (role gallery)"),
        # cameras and people in one part
        ([("x", 1, 1, "train"), ("y", 1, 2, "train")], "x (pid 1, camid 1), y (pid 1, camid 2)"),
        ([("x", 3, 1, "gallery"), ("y", 4, 1, "gallery")], "x (pid 3, camid 1), y (pid 4"),
    ],
)
def test_one_file_with_several_labels_is_named_unless_it_is_allowed(rows, said):
    crops = copied(*rows)
    (problem,) = checks.of_split(crops, "market1501")
    assert f"the same file is {said}" in problem
    assert "-S simulate.allow_duplicates=true" in problem
    assert checks.of_split(crops, "market1501", allow_duplicates=True) == []
    assert [same.path.tolist() for same in checks.duplicates(crops)] == [["x", "y"]]


def test_one_file_twice_with_the_same_labels_is_harmless():
    crops = copied(("x", 3, 1, "gallery"), ("y", 3, 1, "gallery"))
    assert checks.of_split(crops, "market1501") == []
    assert checks.duplicates(crops) == []


def test_a_query_without_a_match_is_named_with_the_rule_that_removed_it():
    lost = ("g", 9, 2, "query")
    (problem,) = checks.of_split(table(*SOUND, lost), "market1501")
    assert "query g (pid 9, camid 2) has no true match: the gallery has no image" in problem
    (problem,) = checks.of_split(table(*SOUND, lost, ("h", 9, 2, "gallery")), "market1501")
    assert "all its gallery images are from the query's own camera" in problem
    assert "by the rule market1501" in problem
    assert "-S evaluation.rule=all_shot" in problem
    assert checks.of_split(table(*SOUND, lost, ("h", 9, 2, "gallery")), "all_shot") == []


@pytest.mark.parametrize("rule", ["market1501", "single_shot"])
def test_a_set_of_one_camera_is_one_problem_that_names_the_way_out(rule):
    people = [(f"{role}{pid}", pid, 1, role) for pid in range(30) for role in ("query", "gallery")]
    crops = table(("t", 99, 1, "train"), *people)
    (problem,) = checks.of_split(crops, rule)
    assert problem.startswith("no query has a true match")
    assert f"by the rule {rule}" in problem
    assert "-S evaluation.rule=all_shot" in problem
    assert checks.of_split(crops, "all_shot") == []


def test_missing_roles_are_named():
    problems = checks.of_split(table(("a", 1, 1, "query"), ("b", 1, 2, "query")), "market1501")
    assert any("no image has the role gallery" in problem for problem in problems)


def test_a_set_without_training_images_is_for_networks_that_are_there():
    sound = [("a", 1, 1, "query"), ("b", 1, 2, "gallery")]
    assert checks.of_split(table(*sound), "market1501") == []


def test_validation_queries_are_checked_too():
    held = [("v", 8, 2, "val_query"), ("w", 8, 2, "val_gallery")]
    (problem,) = checks.of_split(table(*SOUND, *held), "market1501")
    assert problem.startswith("val_query v (pid 8, camid 2)")


def test_a_camera_with_one_image_is_a_note():
    crops = table(*SOUND, ("z", 3, 12, ""))
    (note,) = checks.camera_notes(crops)
    assert "1 of 3 cameras took one image only: camera 12 (z)" in note
    assert checks.camera_notes(table(*SOUND, ("z", 3, 2, ""))) == []
    many = table(*SOUND, *(("z", 3, 12 + n, "gallery") for n in range(25)))
    assert checks.camera_notes(many)[0].count("(z)") == checks.SHOWN
    assert "and 5 more" in checks.camera_notes(many)[0]


def test_a_camera_for_each_image_is_one_note():
    (note,) = checks.camera_notes(table(*((f"{n}", n // 3, n, "") for n in range(1000))))
    assert note.startswith("each image has a camera of its own")


def test_one_camera_cannot_ask_itself():
    own = [(f"{n}", n // 3, 1, "") for n in range(12)]
    for rows in (own, [*own, ("other", 99, 2, "gallery")]):  # a distractor is no side
        (problem,) = checks.of_cameras(table(*rows))
        assert "all images are from camera 1" in problem
        assert "-S simulate.low_camera=random" in problem
        assert "-S evaluation.rule=all_shot" in problem
    assert checks.of_cameras(table(*own, ("other", 3, 2, ""))) == []
    assert checks.of_cameras(table(*SOUND)) == []  # roles say who asks


def test_all_problems_are_raised_at_once():
    checks.raise_all("x", [])
    with pytest.raises(UserError) as caught:
        checks.raise_all("MLR-VIPeR in data", [f"problem {i}" for i in range(25)])
    lines = str(caught.value).splitlines()
    assert lines[0] == "MLR-VIPeR in data has 25 problem(s):"
    assert lines[-1].strip() == "and 5 more"
    assert len(lines) == 22
