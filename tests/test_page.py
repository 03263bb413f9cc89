"""The page of `dvc plots show`: its template, and the colours of its charts."""

import json
import re

import yaml
from conftest import ROOT

from pyramid_reid.figures import COLORS
from pyramid_reid.params import BRANCHES

PAGE = (ROOT / ".dvc" / "page.html").read_text(encoding="utf-8")
CHART = json.loads((ROOT / ".dvc" / "plots" / "branches.json").read_text(encoding="utf-8"))


def test_the_template_loads_nothing_and_leaves_dvc_its_place():
    assert PAGE.count("{plot_divs}") == 1
    assert "{scripts}" not in PAGE  # where DVC would put its links to a CDN
    assert not re.search(r"<(script|link)[^>]+(src|href)=", PAGE)
    assert PAGE.count("<script>") == 4  # three libraries and its own


def test_charts_have_the_colours_of_the_pictures():
    scale = CHART["encoding"]["color"]["scale"]
    names = ["fused", *BRANCHES]
    assert scale["domain"] == CHART["encoding"]["shape"]["scale"]["domain"] == names
    assert scale["range"] == [COLORS[name] for name in names]
    assert all(name in CHART["transform"][0]["calculate"] for name in names)


def test_sections_of_the_page_name_plots_that_there_are():
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    names = [plot if isinstance(plot, str) else next(iter(plot)) for plot in plots]
    ids = [re.sub(r"[ /.()]", "_", name) for name in names]
    sections = PAGE[PAGE.index("const SECTIONS") : PAGE.index("const main")]
    for name in re.findall(r'"([\w-]+_[\w-]+)"', sections):
        assert any(name in each for each in ids), name
