"""What a split holds and how large its rankings are, counted twice; the stage that tells it."""

import contextlib
import io
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import run_stage
from PIL import Image

import download
import simulate
import split_hashes
from pyramid_reid.core import protocol_record
from pyramid_reid.core.crops import CropStore, splits
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params
from pyramid_reid.datasets.layout import RawImage
from pyramid_reid.datasets.registry import DATASETS
from pyramid_reid.evaluation import mean_colour
from pyramid_reid.protocol import card
from pyramid_reid.protocol.of_sets import PROTOCOLS
from pyramid_reid.protocol.roles import assign, digest
from pyramid_reid.restoration.training import patches
from pyramid_reid.retrieval.metrics import evaluate, summary


def save(root, name, rng):
    """A made-up crop."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = rng.integers(0, 256, 3)
    noise = rng.integers(0, 256, (24, 12, 3)) // 4
    Image.fromarray((colour * 3 // 4 + noise).astype(np.uint8)).save(path)


def grid(root, pairs=12, distractors=60):
    """GRID as its authors lay it out, small."""
    rng = np.random.default_rng(0)
    for pid in range(1, pairs + 1):
        save(root, f"probe/{pid:04d}_1_1_1_1_1_1.jpeg", rng)
        save(root, f"gallery/{pid:04d}_2_1_1_1_1_1.jpeg", rng)
    for number in range(distractors):
        save(root, f"gallery/0000_3_{number}_1_1_1_1.jpeg", rng)


def market(root, people=40, cameras=5, asking=(1,)):
    """Market-1501's folders: odd people train, even ones are asked for by some cameras."""
    rng = np.random.default_rng(0)
    for pid in range(1, people + 1):
        for camid in range(1, cameras + 1):
            for frame in range(2):
                folder = "bounding_box_train" if pid % 2 else "bounding_box_test"
                save(root, f"{folder}/{pid:04d}_c{camid}s1_00000{frame}_00.jpg", rng)
            if not pid % 2 and camid in asking:
                save(root, f"query/{pid:04d}_c{camid}s1_000009_00.jpg", rng)
    for number in range(30):
        save(root, f"bounding_box_test/0000_c1s1_{number:06d}_00.jpg", rng)
        save(root, f"bounding_box_test/-1_c1s1_{number:06d}_00.jpg", rng)


@pytest.fixture
def made(tmp_path, raw_params):
    """Run the first two stages on a made-up set: the line, the card, and the folder of crops."""

    def run(name, write, data=None, **simulated):
        write(tmp_path / name)
        raw_params["data"] |= {"name": name, "root": str(tmp_path / name), **(data or {})}
        raw_params["simulate"] |= simulated
        shutil.rmtree(tmp_path / "data", ignore_errors=True)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw_params))
        with contextlib.chdir(tmp_path):
            download.main(Params.model_validate(raw_params))
            said = simulate.main(Params.model_validate(raw_params))
        card = json.loads((tmp_path / "metrics" / "dataset.json").read_text())
        return said, card, tmp_path / "data" / "crops"

    return run


def counted_by_hand(store):
    """Rank-1, Rank-5 and mAP in percent by mean colour: a loop over queries, all gallery crops."""
    means = [store[row].reshape(-1, 3).astype(float).mean(axis=0) for row in range(len(store))]
    index, ranks = store.index, []
    for query in store.rows("query"):
        distance = {row: ((means[query] - means[row]) ** 2).sum() for row in store.rows("gallery")}
        (match,) = [row for row in distance if index.pid[row] == index.pid[query]]
        ranks.append(sum(distance[row] <= distance[match] for row in distance))
    of = np.array(ranks)
    return 100 * (of == 1).mean(), 100 * (of <= 5).mean(), 100 * (1 / of).mean()


def test_every_distractor_of_grid_counts(made):
    said, card, crops = made("grid", grid)
    assert card["gallery_images"] == card["gallery_identities"] == 6 + 60
    assert card["gallery_ranked_mean"] == card["gallery_ranked_min"] == 66
    assert card["gallery_distractors"] == 60
    assert "a query is ranked against 66 of 66 gallery crops; left out: nothing" in said
    counts = np.mean([counted_by_hand(CropStore(crops / name)) for name in splits(crops)], axis=0)
    told = [
        mean_colour.of_split(CropStore(crops / name), "single_shot", 10, 0)
        for name in splits(crops)
    ]
    assert np.mean([of["rank1"] for of in told]) == pytest.approx(counts[0], abs=0.01)
    assert np.mean([of["mAP"] for of in told]) == pytest.approx(counts[2], abs=0.01)


def test_grid_s_random_distances_reach_what_chance_gives(made):
    """The second count: of 66 crops one is right, so Rank-k is k/66 and mAP H(66)/66."""
    _, _, crops = made("grid", grid, {"splits": 1})
    index = CropStore(crops / "split_0").index
    query, gallery = (index[index.role == role] for role in ("query", "gallery"))
    labels = [of[name].to_numpy() for of in (query, gallery) for name in ("pid", "camid")]
    rng = np.random.default_rng(0)
    figures = pd.DataFrame(
        summary(evaluate(rng.random((6, 66)), *labels, "single_shot")) for _ in range(2000)
    ).mean()
    assert figures.rank1 == pytest.approx(100 / 66, abs=0.35)
    assert figures.rank5 == pytest.approx(500 / 66, abs=0.75)
    assert figures.mAP == pytest.approx(100 * sum(1 / n for n in range(1, 67)) / 66, abs=0.45)


def test_distractors_of_one_number_count_under_single_shot_and_junk_never_does(made, raw_params):
    raw_params["evaluation"]["rule"] = "single_shot"
    _, card, _ = made("market1501", market)
    assert card["gallery_distractors"] == 30
    assert card["gallery_ranked_mean"] == 20 + 30
    # all 20 people have 4 HR cameras of 2 crops in the gallery
    assert card["gallery_images"] == 20 * 8 + 30


def test_what_the_protocol_leaves_out_is_in_the_card_and_in_the_line(made):
    said, card, _ = made("market1501", lambda root: market(root, asking=(1, 2)))
    assert card["query_identities"] == 20
    assert card["left_out_query_from_hr_camera_images"] == 20
    assert card["left_out_gallery_from_lr_camera_images"] == 40
    assert card["left_out_seen_by_one_side_images"] == 0
    assert "20 crops of 20 people (official queries from cameras" in said
    assert "40 crops of 20 people (gallery crops, distractors too, from the LR camera)" in said


def test_the_least_ranking_is_told_beside_the_mean(made):
    """Official lists as they are: a query's own person and camera do not count."""
    said, card, _ = made("market1501", market, ratios=[], mixed=True)
    assert card["gallery_images"] == 230
    assert card["gallery_ranked_mean"] == card["gallery_ranked_min"] == 228
    assert "a query is ranked against 228 of 230 gallery crops" in said


def test_a_set_that_loses_all_its_queries_is_told_why(made):
    """Every person in front of one camera alone: nobody can be found in another one."""
    with pytest.raises(UserError) as caught:
        made("market1501", lambda root: market(root, cameras=1))
    assert "no image has the role query" in str(caught.value)
    said = "leaves out 20 crops of 20 people (official queries of people without a gallery crop"
    assert said in str(caught.value)


def test_published_hashes_are_those_of_the_stage(made, raw_params, capsys, monkeypatch, tmp_path):
    _, _, crops = made("grid", grid)
    monkeypatch.setattr(sys, "argv", ["split_hashes.py", f"grid={tmp_path / 'grid'}"])
    split_hashes.main()
    printed = pd.read_csv(io.StringIO(capsys.readouterr().out))
    assert printed.sha256.tolist() == pd.read_csv(crops / "splits.csv").sha256.tolist()
    assert set(printed.protocol) == {"GRID"}


def test_the_authors_test_people_are_those_of_the_hashes(tmp_path, monkeypatch):
    """As the stage takes them: a hash of random halves would be of another protocol."""
    images = [RawImage(f"{pid}_{camid}.png", pid, camid) for pid in range(9) for camid in (1, 2)]
    sets = [[1, 2], [3, 4, 5]] * 5
    made_up = replace(DATASETS["cuhk03"], read=lambda *_: images, test_sets=lambda *_: sets)
    monkeypatch.setitem(DATASETS, "cuhk03", made_up)
    table = split_hashes.hashes("cuhk03", "labeled_classic", tmp_path, 1)
    raw = pd.DataFrame([(i.path, i.pid, i.camid, "", "") for i in images])
    raw.columns = ["path", "pid", "camid", "role", "sha256"]
    expected = [
        digest(assign(raw, PROTOCOLS["cuhk03"], 1, split, test_sets=[set(each) for each in sets]))
        for split in range(10)
    ]
    assert table.sha256.tolist() == expected
    assert set(table.protocol) == {"MLR-CUHK03 (labeled_classic)"}


def test_means_of_cards_keep_the_least():
    cards = [{"gallery_ranked_min": 5, "query_images": 1}, {"gallery_ranked_min": 3}]
    cards[1]["query_images"] = 2
    assert card.mean(cards) == {"gallery_ranked_min": 3, "query_images": 1.5}


def test_splits_keep_their_numbers_wherever_they_are_run(made):
    _, _, alone = made("grid", grid, {"splits": 1, "first_split": 3})
    assert splits(alone) == ["split_3"]
    digest = pd.read_csv(alone / "splits.csv").iloc[0].tolist()
    index = CropStore(alone / "split_3").index
    _, _, among = made("grid", grid, {"splits": 4, "first_split": 0})
    assert pd.read_csv(among / "splits.csv").iloc[3].tolist() == digest
    pd.testing.assert_frame_equal(CropStore(among / "split_3").index, index)


def test_the_reconstructor_is_trained_on_the_protocol_s_degradation(made, monkeypatch, tmp_path):
    """By the record beside the crops, whatever `simulate.degradation` says."""
    seeds = []

    def none(store, roles, scales, camera_seed=None):
        seeds.append(camera_seed)
        return []

    monkeypatch.setattr(patches, "of_roles", none)
    _, _, crops = made("grid", grid, {"splits": 1})
    record = protocol_record.read(crops)
    for degradation in ("downsample", "camera"):
        protocol_record.write(crops, record.model_copy(update={"degradation": degradation}))
        with pytest.raises(UserError, match="no crop of the people held out"):
            run_stage(tmp_path, "train_reconstructor")
    assert seeds[:3] == [None] * 3
    assert None not in seeds[3:]
