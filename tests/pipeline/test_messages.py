"""docs/troubleshooting.md quotes messages as they are in the code."""

import ast
import re

import pytest
from conftest import ROOT

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
QUOTED = re.findall(r"<!-- message -->\n```text\n(.*?)\n```", PAGE, re.DOTALL)


def in_python(path):
    """Every text of a module, with its own constants put in, and … for everything else."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    own = {
        node.targets[0].id: node.value.value
        for node in module.body
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    }

    def shown(part):
        if isinstance(part, ast.Constant):
            return part.value
        return own.get(part.value.id, "…") if isinstance(part.value, ast.Name) else "…"

    for node in ast.walk(module):
        if isinstance(node, ast.JoinedStr):
            yield "".join(map(shown, node.values))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def in_shell(path):
    """A script with its texts of several parts joined, and … for what is put in."""
    text = re.sub(r'"\s*\\\n\s*"', " ", path.read_text())
    return re.sub(r'"?\$\(.*?\)"?|\$\w+', "…", text.replace('fail "', 'fail "make: '))


def templates():
    for folder in ("src", "stages"):
        for path in (ROOT / folder).rglob("*.py"):
            yield from in_python(path)
    for path in (ROOT / ".ci").glob("*.sh"):
        yield in_shell(path)


TEMPLATES = list(templates())


@pytest.mark.parametrize("quoted", QUOTED)
def test_a_quoted_message_is_in_the_code(quoted):
    parts = [part for part in quoted.split("…") if len(part) > 3]
    assert parts
    pattern = re.compile(".*".join(map(re.escape, parts)))
    assert any(pattern.search(template) for template in TEMPLATES)


def test_ten_errors_are_told_and_listed_above():
    titles = re.findall(r"^## (.+)$", PAGE, re.MULTILINE)
    listed = re.findall(r"^- \[(.+)\]\(#", PAGE, re.MULTILINE)
    assert titles == listed
    assert len(titles) == 10
    assert len(QUOTED) >= 10
