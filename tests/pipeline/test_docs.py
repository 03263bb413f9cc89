"""The documentation held against the repository: what it names exists."""

import re

import pytest
from conftest import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def slug(title):
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower().replace("`", "")).replace(" ", "-")


def anchors(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {slug(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_every_test_that_a_page_names_exists():
    written = {
        (file.name, name)
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    pattern = re.compile(r"`(?:[\w/]*/)?(test_\w+\.py)::(test_\w+)`")
    named = {pair for page in PAGES for pair in pattern.findall(page.read_text(encoding="utf-8"))}
    assert named
    assert named <= written
    # `::test_name` stands behind another test of the same file
    cells = re.compile(r"`(?:[\w/]*/)?(test_\w+\.py)::test_\w+`((?:, `::test_\w+`)+)")
    for page in PAGES:
        for file, rest in cells.findall(page.read_text(encoding="utf-8")):
            assert {(file, name) for name in re.findall(r"::(test_\w+)", rest)} <= written
