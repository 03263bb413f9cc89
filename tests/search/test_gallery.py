"""What goes into a store, from folders, tables and MOTChallenge files."""

import datetime as dt
import os
from pathlib import Path

import pandas as pd
import pytest

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.gallery import Frame, Patterns, listed
from pyramid_reid.search.times import as_time
from search.conftest import paint

NONE = Patterns()


def test_folders_are_walked_and_what_systems_leave_is_passed_over(tmp_path):
    for name in (
        "b/2.PNG",
        "b/1.jpg",
        "a b/ü'\".bmp",
        ".hidden/3.jpg",
        "__MACOSX/4.jpg",
        "._5.jpg",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "notes.txt").touch()
    (tmp_path / ".link").symlink_to(tmp_path / "b")
    frames, problems = listed([tmp_path], NONE)
    names = [os.path.relpath(frame.path, tmp_path) for frame in frames]
    assert names == ["a b/ü'\".bmp", "b/1.jpg", "b/2.PNG"]
    assert problems == {}
    assert all(frame.crops == [(None, {})] for frame in frames)


def test_images_and_folders_that_are_left_out_are_problems(tmp_path):
    crops, other = tmp_path / "crops", tmp_path / "other"
    for path in (crops / "a/1.png", crops / "a/2.WebP", crops / "3.tif", other / "4.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (crops / "more").symlink_to(other)
    (crops / "5.png").symlink_to(other / "4.png")  # a file, read as any other
    frames, problems = listed([crops], NONE)
    assert [os.path.relpath(frame.path, crops) for frame in frames] == ["5.png", "a/1.png"]
    kind = "is of a kind that is not read: save it as .jpg, .jpeg, .png, .bmp"
    assert problems == {
        f"{crops}/a/2.WebP": kind,
        f"{crops}/3.tif": kind,
        f"{crops}/more": "is a link to a folder, which is not followed: name it, too",
    }
    frames, problems = listed([crops / "more"], NONE)
    assert [Path(frame.path).name for frame in frames] == ["4.png"]
    assert problems == {}


def test_a_frame_of_too_many_digits_is_a_problem_of_its_own(tmp_path):
    for name in (f"{2**63 - 1}.jpg", f"{2**63}.jpg"):
        (tmp_path / name).touch()
    frames, problems = listed([tmp_path], Patterns.of(None, None, r"(?P<frame>\d+)"))
    assert [frame.crops[0][1]["frame"] for frame in frames] == [2**63 - 1]
    assert list(problems.values()) == [f"shows a frame of more digits than fit in '{2**63}.jpg'"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((r"(c\d+)_", None, None), {"camera": "c3"}),
        ((r"c\d+(?=_)", None, None), {"camera": "c3"}),
        ((r"c(?P<camera>\d+)_", None, None), {"camera": "3"}),
        ((r"(c)(\d+)_", None, None), {"camera": "c"}),
        ((None, r"_(\d{8}T\d{6})_", None), {"time": "2024-05-12T10:15:02"}),
        ((None, None, r"_(?P<pid>\d+)\.jpg"), {"pid": "0017"}),
        ((None, None, r"_(?P<frame>\d+)\.jpg"), {"frame": 17}),
        ((r"(c\d+)_", r"\d{8}T\d{6}", None), {"camera": "c3", "time": "2024-05-12T10:15:02"}),
    ],
)
def test_values_stand_in_names(options, expected):
    assert Patterns.of(*options).values("x/c3_20240512T101502_0017.jpg") == expected


def test_what_leads_to_a_source_tells_nothing_of_its_crops(tmp_path):
    """`(c\\d+)_` stands in the folder above, too, and first there."""
    crops = tmp_path / "disc1_backup" / "crops"
    for name in ("c2_1.jpg", "day/c3_2.jpg"):
        paint(crops / name, 1)
    frames, problems = listed([crops], Patterns.of(r"(c\d+)_", None, None))
    assert [frame.crops[0][1]["camera"] for frame in frames] == ["c2", "c3"]
    assert problems == {}
    (crops / "t.csv").write_text("path\nday/c3_2.jpg\n")
    frames, _ = listed([crops / "t.csv"], Patterns.of(r"(c\d+)_", None, None))
    assert frames[0].crops[0][1]["camera"] == "c3"


def test_each_kind_of_source_is_left_out_of_the_names(tmp_path, monkeypatch):
    scene = sequence(tmp_path / "scene", "1,7,11,1,10,20,1,1,1\n")
    crop = paint(tmp_path / "crops" / "a" / "1.png", 1)
    (tmp_path / "t.csv").write_text(f"path\ncrops/a/1.png\n{scene}/img1/000002.jpg\n")
    (tmp_path / "crops" / "t.csv").write_text(f"path\n{scene}/img1/000002.jpg\n")
    monkeypatch.chdir(tmp_path / "crops")
    named = {
        tmp_path / "crops": ["a/1.png"],
        Path(): ["a/1.png"],
        tmp_path / "t.csv": ["crops/a/1.png", "scene/img1/000002.jpg"],
        tmp_path / "crops" / "t.csv": ["000002.jpg"],  # what leads to it is not the table's
        scene: ["img1/000001.jpg"],
        scene / "gt" / "gt.txt": ["img1/000001.jpg"],
        crop: ["1.png"],
    }
    whole = Patterns.of(None, None, "(?P<whole>.*)")
    for source, names in named.items():
        frames, _ = listed([source], whole)
        assert [frame.crops[0][1]["whole"] for frame in frames] == names


def test_a_name_without_its_values_is_a_problem_of_its_own(tmp_path):
    for name in ("c1_20240512T101502_1.jpg", "c1_99999999T101502_1.jpg", "holiday.jpg"):
        (tmp_path / name).touch()
    frames, problems = listed([tmp_path], Patterns.of(r"(c\d+)_", r"_(\d{8}T\d{6})_", None))
    assert [frame.crops[0][1]["camera"] for frame in frames] == ["c1"]
    assert {Path(path).name: problem for path, problem in problems.items()} == {
        "c1_99999999T101502_1.jpg": "has the time '99999999T101502', which is neither ISO 8601 nor"
        " seconds since 1970",
        "holiday.jpg": r"shows no camera by '(c\\d+)_' in 'holiday.jpg'",
    }


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("(", None, None), "--camera-from '\\(' is not a regular expression"),
        ((None, None, r"\d+"), "names no column"),
        ((None, None, r"(?P<vector>\d+)"), "has a column 'vector' of its own"),
        ((None, None, r"(?P<ä b>\d+)"), "is not a regular expression"),
    ],
)
def test_patterns_that_are_none_are_named(options, said):
    with pytest.raises(UserError, match=said):
        Patterns.of(*options)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-05-12T10:15:02", "2024-05-12T10:15:02"),
        ("2024-05-12 10:15", "2024-05-12T10:15:00"),
        ("2024-05-12T10:15:02.5", "2024-05-12T10:15:02.500000"),
        ("2024-05-12T12:15:02+02:00", "2024-05-12T10:15:02"),
        ("20240512101502", "2024-05-12T10:15:02"),
        ("20240512_101502", "2024-05-12T10:15:02"),
        ("1715508902", "2024-05-12T10:15:02"),
        ("2024-05-12", "2024-05-12T00:00:00"),
        ("", None),
        ("NaT", None),
    ],
)
def test_times_are_kept_in_a_form_that_sorts(text, expected):
    assert as_time(text) == expected


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_has_boxes_and_further_columns(tmp_path, kind):
    rows = pd.DataFrame(
        {
            "path": ["f/1.png", "f/1.png", "f/2.png", "f/3.png"],
            "left": [1.5, 2, 3, None],
            "top": [0, 0, 0, None],
            "width": [5, 6, 7, None],
            "height": [8, 9, 10, None],
            "camera": ["lobby", "lobby", "", None],
            "pid": ["0017", "0018", "3", None],
            "speed": [1.5, 2, 3, None],
            "time": ["2024-05-12 10:00", None, None, None],
        }
    )
    file = tmp_path / f"t.{kind}"
    rows.to_csv(file, index=False, sep=";") if kind == "csv" else rows.to_parquet(file)
    frames, _ = listed([file], NONE)
    assert [os.path.relpath(frame.path, tmp_path) for frame in frames] == [
        "f/1.png",
        "f/2.png",
        "f/3.png",
    ]
    first = {"camera": "lobby", "pid": "0017", "speed": 1.5, "time": "2024-05-12T10:00:00"}
    assert frames[0].crops[0] == ((1.5, 0, 5, 8), first)
    assert frames[0].crops[1][1]["pid"] == "0018"
    assert frames[1].crops[0][1]["camera"] is None
    assert frames[2].crops == [(None, dict.fromkeys(("camera", "pid", "speed", "time")))]


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["17", "-3", "0"], [17, -3, 0]),
        (["17", "", "1.5"], [17.0, None, 1.5]),
        (["1e-05", "-.5", "2."], [1e-05, -0.5, 2.0]),
        (["1.5", "nan", "NaN"], [1.5, None, None]),
        (["0017", "17"], ["0017", "17"]),  # two people, not one
        (["1_11", "2"], ["1_11", "2"]),
        (["1234567890123456789", "1"], [1234567890123456789, 1]),
        # which one float stands for
        (
            ["9007199254740993", "9007199254740992", "0.5"],
            ["9007199254740993", "9007199254740992", "0.5"],
        ),
        (
            ["12345678901234567890", "12345678901234567891"],
            ["12345678901234567890", "12345678901234567891"],
        ),
        (["1e999", "1"], ["1e999", "1"]),
        (["inf", "nan", "1"], ["inf", "nan", "1"]),
        (["+1", "2"], ["+1", "2"]),
        (["٣", "1"], ["٣", "1"]),
        (["9" * 5000, "1"], ["9" * 5000, "1"]),
        ([" 5 ", "6"], [5, 6]),
    ],
)
def test_what_is_no_plain_number_stays_text(tmp_path, texts, expected):
    rows = pd.DataFrame({"path": [f"{n}.png" for n in range(len(texts))], "tag": texts})
    rows.to_csv(tmp_path / "t.csv", index=False)
    frames, _ = listed([tmp_path / "t.csv"], NONE)
    found = [frame.crops[0][1]["tag"] for frame in frames]
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))
    rows.to_parquet(tmp_path / "t.parquet")  # which says that they are text
    frames, _ = listed([tmp_path / "t.parquet"], NONE)
    assert [frame.crops[0][1]["tag"] for frame in frames] == [
        text.strip() or None for text in texts
    ]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["camera", "track", "pid", "identity"])
def test_names_of_people_and_places_are_text(tmp_path, kind, name):
    rows = pd.DataFrame({"path": ["1.png", "2.png"], name: [17, 18]})
    file = tmp_path / f"t.{kind}"
    rows.to_csv(file, index=False) if kind == "csv" else rows.to_parquet(file)
    frames, _ = listed([file], NONE)
    assert [frame.crops[0][1][name] for frame in frames] == ["17", "18"]


def test_a_parquet_file_has_values_that_are_none(tmp_path):
    """Columns of pandas' own types hold pd.NA, which compares with nothing."""
    rows = pd.DataFrame(
        {
            "path": ["1.png", "2.png"],
            "left": pd.array([1, None], "Int64"),
            "top": pd.array([2, None], "Int64"),
            "width": pd.array([3, None], "Int64"),
            "height": pd.array([4, None], "Int64"),
            "shots": pd.array([5, None], "Int64"),
            "speed": pd.array([float("inf"), None], "Float64"),
            "coat": pd.array(["red", None], "string"),
            "time": pd.array([pd.Timestamp("2024-05-12 10:00"), pd.NaT]),
            "seen": pd.array([True, None], "boolean"),
            "day": [dt.date(2024, 5, 12), None],
        }
    )
    rows.to_parquet(tmp_path / "t.parquet")
    frames, _ = listed([tmp_path / "t.parquet"], NONE)
    first = {"shots": 5, "speed": float("inf"), "coat": "red", "time": "2024-05-12T10:00:00"}
    first |= {"seen": "True", "day": "2024-05-12"}
    assert frames[0].crops == [((1, 2, 3, 4), first)]
    assert frames[1].crops == [(None, dict.fromkeys(first))]


def test_a_column_of_lists_is_named(tmp_path):
    rows = pd.DataFrame({"path": ["1.png", "2.png"], "tags": [None, ["a", "b"]]})
    rows.to_parquet(tmp_path / "t.parquet")
    with pytest.raises(UserError, match=r"t\.parquet line 3: the column 'tags' holds a ndarray"):
        listed([tmp_path / "t.parquet"], NONE)


@pytest.mark.parametrize(
    "name", ["crops", "reranked", "rank", "_distance", "_rowid", "vector", "h2"]
)
def test_a_column_of_the_hits_is_nobody_elses(tmp_path, name):
    (tmp_path / "t.csv").write_text(f"path,{name}\na.png,1\n")
    with pytest.raises(UserError, match=f"has a column '{name}' of its own"):
        listed([tmp_path / "t.csv"], NONE)


@pytest.mark.parametrize("name", ["path", "left", "crops"])
def test_a_pattern_takes_no_column_of_the_store(name):
    with pytest.raises(UserError, match=f"--columns-from: .*'{name}' of its own"):
        Patterns.of(None, None, rf"(?P<{name}>\d+)")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("pid\n1\n", "has no column path"),
        ("path,left,top\na.jpg,1,2\n", "has left, top, but a box is"),
        ("path,left,top,width,height\na.jpg,1,2,x,4\n", "line 2: .* which are no numbers"),
        ("path,vector\na.jpg,1\n", "has a column 'vector' of its own"),
        ("path,two words\na.jpg,1\n", "cannot be named in a condition"),
        ("path,time\na.jpg,2024-05-12\nb.jpg,noon\n", "line 3 has the time 'noon'"),
        ("path\n\n ,\n", "cannot be read as a table|has no path"),
        ("path,pid\n,1\n", "line 2 has no path"),
        ("", "cannot be read as a table"),
    ],
)
def test_a_table_with_mistakes_is_named_with_its_line(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        listed([tmp_path / "t.csv"], NONE)


def test_a_parquet_file_that_is_none_is_named(tmp_path):
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(UserError, match="cannot be read as a table"):
        listed([tmp_path / "t.parquet"], NONE)


def sequence(root, text, file="gt/gt.txt"):
    paint(root / "img1" / "000001.jpg", 1, size=(40, 60))
    paint(root / "img1" / "000002.jpg", 2, size=(40, 60))
    (root / file).parent.mkdir(exist_ok=True)
    (root / file).write_text(text)
    return root


def test_a_motchallenge_sequence_gives_its_boxes(tmp_path):
    root = sequence(
        tmp_path / "MOT-02",
        "1,7,11,1,10,20,1,1,1\n2,7,12,1,10,20,1,1,1\n1,8,1,1,5,5,0,1,1\n1,9,1,1,5,5,1,3,1\n",
    )
    for source in (root, root / "gt" / "gt.txt"):
        frames, _ = listed([source], NONE)
        assert frames == [
            Frame(
                str(root / "img1" / f"00000{frame}.jpg"),
                [((9.0 + frame, 0, 10, 20), {"camera": "MOT-02", "track": "7", "frame": frame})],
            )
            for frame in (1, 2)
        ]


def test_ground_truth_of_mot15_has_no_class(tmp_path):
    """Ten fields, the last three a place in the world: people all, but for those not counted."""
    lines = "1,7,11,1,10,20,1,-1,-1,-1\n1,8,12,1,10,20,1,0.5,2.5,0\n2,7,1,1,5,5,0,-1,-1,-1\n"
    frames, _ = listed([sequence(tmp_path / "ADL-Rundle-6", lines)], NONE)
    assert len(frames) == 1
    assert [values["track"] for _, values in frames[0].crops] == ["7", "8"]


def test_detections_have_no_track(tmp_path):
    root = sequence(tmp_path / "cam", "1,-1,11,1,10,20,0.3,-1,-1,-1\n", "det/det.txt")
    frames, _ = listed([root], NONE)
    assert frames[0].crops == [((10, 0, 10, 20), {"camera": "cam", "track": None, "frame": 1})]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1,2,3\n", "line 1 is not frame,id"),
        ("1\n", "line 1 is not frame,id"),
        ("1,1,1,1,5,5,high,1,1\n", "line 1 is not frame,id,.*confidence"),
        ("3,1,1,1,5,5,1\n", "has no frame 3"),
    ],
)
def test_a_motchallenge_file_with_mistakes_is_named(tmp_path, text, said):
    with pytest.raises(UserError, match=said):
        listed([sequence(tmp_path / "s", text)], NONE)


def test_sources_that_are_none_are_named(tmp_path):
    (tmp_path / "a.mp4").touch()
    with pytest.raises(UserError, match=r"a\.mp4 is none of a folder"):
        listed([tmp_path / "a.mp4"], NONE)
    with pytest.raises(UserError, match="does not exist"):
        listed([tmp_path / "nothing"], NONE)


def test_a_name_that_is_no_utf8_is_a_problem_and_not_the_end(tmp_path):
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes no such names")
    (tmp_path / "b.jpg").touch()
    frames, problems = listed([tmp_path], NONE)
    assert len(frames) == 1
    assert list(problems.values()) == ["has a name that is no UTF-8: rename it"]
