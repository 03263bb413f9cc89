"""What the first two stages say about sets with mistakes, and that they let sound ones pass."""

import contextlib
import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import download
import simulate
from pyramid_reid.core.crops import CropStore
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params


def test_the_docs_show_each_message_as_it_is():
    page = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    shown = re.search(r"python docs/show_problems\.py -->\n+```text\n(.*?)```", page, re.DOTALL)
    command = [sys.executable, ROOT / "docs" / "show_problems.py"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed == shown[1]


@pytest.fixture
def one_camera(tmp_path, raw_params):
    """Params of a set that a single camera took, with roles."""
    rows = ["path,pid,camid,role"]
    for n, role in enumerate(["train", "train", "query", "query", "gallery", "gallery"]):
        colour = 20 + 100 * (n % 2), 10 * n, 0
        Image.fromarray(np.full((9, 4, 3), colour, np.uint8)).save(tmp_path / f"{n}.png")
        rows.append(f"{n}.png,{n % 2 + (role != 'train') * 10},1,{role}")
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    raw_params["data"] |= {"name": "manifest", "root": str(tmp_path)}
    return raw_params


def test_a_single_camera_is_enough_where_all_shots_count(one_camera, tmp_path):
    with contextlib.chdir(tmp_path):
        download.main(Params.model_validate(one_camera))
        with pytest.raises(UserError, match="which do not count by the rule market1501"):
            simulate.main(Params.model_validate(one_camera))
        one_camera["evaluation"]["rule"] = "all_shot"
        simulate.main(Params.model_validate(one_camera))
        card = json.loads((tmp_path / "metrics" / "dataset.json").read_text())
    assert card["mean_colour_rank1"] == 100


def crop(path, seed):
    """Write an image unlike those of other seeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def ran(raw_params, tmp_path, name, **sections):
    """Run the two stages on `tmp_path/crops`; the first split's index and the data card."""
    raw_params["data"] |= {"name": name, "root": str(tmp_path / "crops")}
    for section, values in sections.items():
        raw_params[section] |= values
    with contextlib.chdir(tmp_path):
        download.main(Params.model_validate(raw_params))
        simulate.main(Params.model_validate(raw_params))
    card = json.loads((tmp_path / "metrics" / "dataset.json").read_text())
    return CropStore(tmp_path / "data" / "crops" / "split_0").index, card


def test_folders_of_people_are_enough(tmp_path, raw_params, capsys):
    for n, path in enumerate(f"{person}/{n}.png" for person in "abcdef" for n in range(3)):
        crop(tmp_path / "crops" / path, n)
    crop(tmp_path / "crops" / "lonely" / "1.png", 99)  # nobody could find
    index, card = ran(raw_params, tmp_path, "folders")
    roles = index.groupby("pid").role.agg(lambda own: tuple(sorted(own)))
    assert sorted(roles) == [("gallery", "gallery", "query")] * 3 + [("train",) * 3] * 3
    assert set(index.ratio) == {1}
    assert "lonely" not in "".join(index.source)
    assert card["query_images"] == 3
    assert card["duplicate_images"] == 0
    assert "note: each image has a camera of its own" in capsys.readouterr().out
    names = (tmp_path / "data" / "raw" / "names.csv").read_text()
    assert names.startswith("label,number,name\npid,1,a\npid,2,b\n")
    low, _ = ran(raw_params, tmp_path, "folders", simulate={"ratios": [2]})
    assert (low.ratio == 2).groupby(low.pid).sum().eq(1).all()
    assert (low.ratio[low.role == "query"] == 2).all()


@pytest.mark.parametrize("camera", ["roof", 2])
def test_a_camera_asks_by_its_name_or_number(tmp_path, raw_params, camera):
    for n, path in enumerate(
        f"{p}/{c}_{n}.png" for p in "abcd" for c in ("gate", "roof") for n in "12"
    ):
        crop(tmp_path / "crops" / path, n)
    raw_params["data"]["camera_pattern"] = r"/(\w+)_"
    index, _ = ran(raw_params, tmp_path, "folders", simulate={"low_camera": camera})
    assert set(index.source[index.role == "query"].str.contains("roof")) == {True}
    assert set(index.source[index.role == "gallery"].str.contains("gate")) == {True}
    with pytest.raises(
        UserError, match=r"low_camera is 'attic', the set has the cameras gate \(1\)"
    ):
        ran(raw_params, tmp_path, "folders", simulate={"low_camera": "attic"})


def table_of(tmp_path, rows, header="path,pid,camid"):
    """Crops, as many as rows, and their manifest."""
    for n, row in enumerate(rows):
        crop(tmp_path / "crops" / row.split(",")[0], n)
    (tmp_path / "crops" / "manifest.csv").write_text("\n".join([header, *rows, ""]))


@pytest.mark.parametrize("camid", ["", "{n}"])
def test_a_manifest_may_leave_its_cameras_unknown(tmp_path, raw_params, camid):
    rows = [f"{n}.png,{n // 3},{camid.format(n=n)}" for n in range(12)]
    table_of(tmp_path, rows)
    index, card = ran(raw_params, tmp_path, "manifest", simulate={"low_camera": "random"})
    assert index.role.value_counts().to_dict() == {"train": 6, "gallery": 4, "query": 2}
    assert card["mean_colour_rank1"] >= 0


def test_one_camera_without_roles_is_one_problem_with_the_way_out(tmp_path, raw_params):
    table_of(tmp_path, [f"{n}.png,{n // 3},1" for n in range(12)])
    for camera in (1, "random"):
        with pytest.raises(
            UserError, match=r"1 problem.*\n.*all images are from camera 1"
        ) as caught:
            ran(raw_params, tmp_path, "manifest", simulate={"low_camera": camera})
        assert "simulate.low_camera=random" in str(caught.value)


def test_a_distractor_of_a_rare_camera_is_a_note(tmp_path, raw_params, capsys):
    rows = [f"{p}_{c}_{n}.png,{p},{c}," for p in range(4) for c in (1, 2) for n in (1, 2)]
    roles = {0: "train", 1: "train"}
    rows = [row + roles.get(int(row[0]), "query" if "_2_" in row else "gallery") for row in rows]
    table_of(tmp_path, [*rows, "far.png,99,7,gallery"], "path,pid,camid,role")
    index, _ = ran(raw_params, tmp_path, "manifest")
    assert "far.png" in set(index.source)
    assert "1 of 3 cameras took one image only: camera 7 (far.png)" in capsys.readouterr().out


@pytest.mark.parametrize("rule", ["market1501", "all_shot"])
def test_a_query_does_not_find_its_own_file_unless_it_is_allowed(
    tmp_path, raw_params, capsys, rule
):
    rows = [f"t{n}.png,{n // 2},{1 + n % 2},train" for n in range(4)]
    rows += [
        f"{role}{p}.png,{p},{c},{role}"
        for p in (7, 8)
        for c, role in ((2, "query"), (1, "gallery"))
    ]
    table_of(tmp_path, rows, "path,pid,camid,role")
    crops = tmp_path / "crops"
    for p in (7, 8):
        shutil.copy(crops / f"query{p}.png", crops / f"gallery{p}.png")
    evaluation = {"rule": rule}
    with pytest.raises(UserError, match="2 problem") as caught:
        ran(raw_params, tmp_path, "manifest", evaluation=evaluation)
    assert "the same file is query7.png (pid 7, camid 2), gallery7.png (pid 7, camid 1)" in str(
        caught.value
    )
    allowed = {"allow_duplicates": True}
    _, card = ran(raw_params, tmp_path, "manifest", evaluation=evaluation, simulate=allowed)
    assert card["duplicate_images"] == 4
    assert card["mean_colour_rank1"] == 100
    assert "note: 4 images of a split are copies" in capsys.readouterr().out
