"""`--help` of every command: on one screen, with an example that the command takes, at once."""

import re
import shlex
import subprocess
import sys

import pytest

from pyramid_reid import cli

LINES, COLUMNS = 40, 80
"""Of a screen."""
COMMANDS = (
    "compare",
    "compare-queries",
    "doctor",
    "evaluate",
    "export",
    "forget",
    "index",
    "optimize",
    "pack",
    "preset",
    "restore",
    "search",
    "serve",
)


def shown(capsys, monkeypatch, *arguments):
    monkeypatch.setenv("COLUMNS", str(COLUMNS))
    monkeypatch.setattr(sys, "argv", ["pyramid-reid", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_help_names_every_command(capsys, monkeypatch):
    told = shown(capsys, monkeypatch, "--help")
    listed = re.findall(r"^    ([a-z][a-z-]*)\b", told, re.MULTILINE)
    assert sorted(listed) == sorted(COMMANDS)


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_screen_and_shows_an_example(capsys, monkeypatch, command):
    lines = shown(capsys, monkeypatch, *command.split(), "--help").splitlines()
    assert len(lines) <= LINES
    assert max(map(len, lines)) <= COLUMNS
    start = next(n for n, line in enumerate(lines) if line.startswith("example: "))
    assert f"pyramid-reid {command}" in lines[start]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_command_takes_its_example(capsys, monkeypatch, command):
    told = shown(capsys, monkeypatch, command, "--help")
    example = " ".join(told[told.index("example: ") :].split()).removeprefix("example: ")
    words = shlex.split(re.sub(r"^dvc exp run \$\((.*?)\).*", r"\1", example))
    assert words[0] == "pyramid-reid"
    assert cli._parser().parse_args(words[1:]).command == command


def test_help_imports_nothing_that_takes_long():
    code = (
        "import sys\nfrom pyramid_reid import cli\n"
        "sys.argv = ['pyramid-reid', 'search', '--help']\n"
        "try:\n    cli.main()\nexcept SystemExit:\n    print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "pyramid_reid.cli" in loaded
    assert not loaded & {"torch", "numpy", "pandas", "lancedb", "pyarrow", "fastapi", "PIL", "dvc"}
