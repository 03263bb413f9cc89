"""The page of `dvc plots show`: its template, and the colours of its charts."""

import json
import re

import yaml
from conftest import ROOT

from pyramid_reid.core.figures import COLORS, NO_BRANCH
from pyramid_reid.core.params import BRANCHES

PAGE = (ROOT / ".dvc" / "page.html").read_text(encoding="utf-8")
CHARTS = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for path in (ROOT / ".dvc" / "plots").glob("*.json")
}


def test_the_template_loads_nothing_and_leaves_dvc_its_place():
    assert PAGE.count("{plot_divs}") == 1
    assert "{scripts}" not in PAGE  # where DVC would put its links to a CDN
    assert not re.search(r"<(script|link)[^>]+(src|href)=", PAGE)
    assert PAGE.count("<script>") == 4  # three libraries and its own


def test_charts_have_the_colours_of_the_pictures():
    encoding = CHARTS["branches"]["encoding"]
    scale = encoding["color"]["scale"]
    names = ["fused", *BRANCHES]
    assert scale["domain"] == encoding["shape"]["scale"]["domain"] == names
    assert scale["range"] == [COLORS[name] for name in names]
    listed = (CHARTS["branches"]["transform"][0]["calculate"], str(encoding["color"]["legend"]))
    assert all(repr(name) in text for name in names for text in listed)
    assert CHARTS["line"]["mark"]["color"] == NO_BRANCH


def test_no_chart_is_drawn_by_a_template_of_dvc_s_own():
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    assert {chart["template"] for plot in plots for chart in plot.values()} == set(CHARTS)


def test_sections_of_the_page_name_plots_that_there_are():
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
    names = [next(iter(plot)) for plot in plots]
    names += [path.relative_to(ROOT).as_posix() for path in (ROOT / "plots").rglob("*.png")]
    ids = [re.sub(r"[ /.()]", "_", name) for name in names]
    sections = PAGE[PAGE.index("const SECTIONS") : PAGE.index("const main")]
    for name in re.findall(r'"([\w-]+_[\w-]+)"', sections):
        assert any(name in each for each in ids), name
