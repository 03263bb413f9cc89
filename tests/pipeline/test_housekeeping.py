"""What the repository says of itself: version, citation, recipes."""

import re
import shlex
import subprocess
import tomllib

import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_newest_entry_of_the_changelog_is_the_version_of_the_package():
    entries = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert entries[0] == PROJECT["version"]
    order = [tuple(map(int, entry.split("."))) for entry in entries]
    assert order == sorted(order, reverse=True)


def test_the_version_is_written_in_one_place():
    for path in [ROOT / "CITATION.cff", *(ROOT / "src").rglob("*.py")]:
        assert PROJECT["version"] not in path.read_text(encoding="utf-8"), path


def test_the_citation_has_what_its_format_asks_for():
    told = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert told["cff-version"] == "1.2.0"
    assert told["title"] == PROJECT["name"]
    assert told["license"] == PROJECT["license"]
    for part in (told, told["preferred-citation"]):
        assert part["authors"]
        assert part["title"]
    assert told["message"]


def test_the_recipe_of_a_branch_names_files_that_name_branches():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    recipe = text.partition("### Add a branch")[2]
    command = re.search(r"`(git grep [^`]+)`", recipe)[1]
    found = subprocess.run(
        shlex.split(command), cwd=ROOT, capture_output=True, text=True, check=True
    )
    named = re.findall(r"\]\(([^)]+)\)", recipe)
    assert len(named) >= 8
    assert set(named) <= set(found.stdout.splitlines())
    params = (ROOT / "src/pyramid_reid/core/params.py").read_text()
    for name in re.findall(r"`([A-Z]\w+)`", recipe.partition("in\n")[0]):
        assert re.search(rf"^(class )?{name}\b", params, re.MULTILINE), name
