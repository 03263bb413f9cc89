import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pyramid_reid.core.crops import Crop, CropStore, CropWriter
from pyramid_reid.core.errors import UserError
from pyramid_reid.evaluation import ranked_lists
from pyramid_reid.evaluation.rankings import Judging, evaluate_splits


def test_best_middle_and_worst_are_picked():
    precision = np.array([0.1, 0.9, 0.5, 0.7, 0.3, 0.2])
    assert ranked_lists.pick(precision, 1) == {"best": [1], "median": [2], "worst": [0]}
    assert ranked_lists.pick(precision, 9) == {"best": [1, 3], "median": [2, 4], "worst": [5, 0]}
    assert ranked_lists.pick(np.array([0.5, 0.5]), 2) == {
        "best": [0],
        "median": [0],
        "worst": [1],
    }


def test_the_nearest_are_ordered_as_they_are_judged():
    query = pd.Series({"pid": 1, "camid": 2})
    gallery = pd.DataFrame({"pid": [1, 1, 2, 3], "camid": [2, 1, 1, 2]})
    distances = np.float32([0.1, 0.5, 0.5, 0.9])
    assert ranked_lists.nearest(distances, query, gallery, "market1501") == [2, 1, 3]
    assert ranked_lists.nearest(distances, query, gallery, "all_shot") == [0, 2, 1, 3]


COLOURS = {1: (200, 0, 0), 2: (0, 200, 0), 3: (0, 0, 200), 4: (200, 200, 0)}


@pytest.fixture
def ranked(tmp_path):
    """Four people in plain colours, two gallery crops each; person 4 is found last."""
    with CropWriter(tmp_path / "store") as writer:
        for camid, role, shots in ((2, "query", 1), (1, "gallery", 2)):
            for pid, colour in COLOURS.items():
                for shot in range(shots):
                    pixels = np.full((8 * camid, 4 * camid, 3), colour, np.uint8)
                    writer.add(Crop(pid, camid, role, 1, f"{role}{pid}{shot}"), pixels)
    store = CropStore(tmp_path / "store")
    right = np.equal.outer(list(COLOURS), np.repeat(list(COLOURS), 2))
    distmat = np.where(right, 0.2, 0.8).astype(np.float32)
    distmat[3] = 1 - distmat[3]
    folder = tmp_path / "ori" / "split_0"
    folder.mkdir(parents=True)
    np.save(folder / "distmat.npy", distmat)
    for role in ("query", "gallery"):
        store.index.loc[store.rows(role)].to_csv(folder / f"{role}.csv", index=False)
    (split,) = evaluate_splits({"ori": tmp_path / "ori"}, {"ori": 0.5}, Judging())
    return split, {"ori": folder}, store


def test_lists_hold_the_crops_that_were_judged(ranked):
    lists = ranked_lists.lists(*ranked, {"ori": 0.5}, "market1501")
    assert [each.title.split()[0] for each in lists] == ["best", "median", "worst"]
    assert [shown.right for shown in lists[0].nearest] == [True] * 2 + [False] * 6
    assert [shown.right for shown in lists[2].nearest] == [False] * 6 + [True] * 2
    assert lists[2].title.endswith("person 4")
    for each in lists:
        for shown in each.nearest:
            assert (shown.pixels[0, 0] == each.query[0, 0]).all() == shown.right
            assert shown.distances["fused"] == pytest.approx(0.5 * shown.distances["ori"])


def test_the_picture_frames_right_and_wrong_in_their_colours(ranked, tmp_path):
    lists = ranked_lists.lists(*ranked, {"ori": 0.5}, "market1501")
    ranked_lists.draw(tmp_path / "a.png", lists)
    ranked_lists.draw(tmp_path / "b.png", lists)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    shown = np.asarray(Image.open(tmp_path / "a.png").convert("RGB")).astype(int)
    for colour in (ranked_lists.RIGHT_COLOR, ranked_lists.WRONG_COLOR, "#C80000"):
        rgb = [int(colour[n : n + 2], 16) for n in (1, 3, 5)]
        assert (abs(shown - rgb) < 8).all(axis=2).sum() > 500, colour


def test_a_store_of_other_crops_is_refused(ranked):
    split, folders, store = ranked
    store.index.loc[store.index.role == "gallery", "source"] = "other"
    with pytest.raises(UserError, match="gallery crops of split_0 are not those"):
        ranked_lists.lists(split, folders, store, {"ori": 0.5}, "market1501")
