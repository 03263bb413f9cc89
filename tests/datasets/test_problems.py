"""What the first two stages say about sets with mistakes, and that they let sound ones pass."""

import contextlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from PIL import Image

import download
import simulate
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
