"""Every preset is one that params.yaml takes, and one that readers are told of."""

import subprocess
import sys

import pytest
from benchmarks.results import plan, workspace
from conftest import ROOT

from pyramid_reid import presets
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Params


@pytest.mark.parametrize("name", presets.names())
@pytest.mark.parametrize("start", [None, "market1501"])
def test_a_preset_gives_valid_params(name, start):
    words = presets.read(name).options(start)
    assert set(words[::2]) == {"-S"}
    given = dict(word.split("=", 1) for word in words[1::2])
    if name == "market1501" and start:
        with pytest.raises(ValueError, match="people of market1501 trained these weights"):
            Params.model_validate(workspace.with_params(given))
        return
    params = Params.model_validate(workspace.with_params(given))
    assert params.reid.pretrained == start
    assert not any(" " in word for word in words)  # the shell would part them


def test_readers_are_told_of_all_presets():
    assert presets.table() in (ROOT / "docs/datasets.md").read_text(encoding="utf-8")


def test_the_set_s_own_recipe_is_that_of_its_table():
    table = plan.settings("msmt17", "caviar4reid", "bicubic", "given")
    words = presets.read("caviar4reid").options("msmt17")
    given = workspace.with_params(dict(word.split("=", 1) for word in words[1::2]))
    wanted = workspace.with_params(table | {"sweep.step": given["sweep"]["step"]})
    assert given == wanted


def test_an_unknown_preset_is_refused_with_those_that_are_there():
    with pytest.raises(UserError, match=r"no preset market; there is .*market1501"):
        presets.read("market")


def test_the_command_prints_options_for_the_shell():
    program = "import sys; from pyramid_reid.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "preset"]
    done = subprocess.run(
        [*command, "real", "msmt17"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout.startswith("-S data.name=folders ")
    assert "-S reid.pretrained=msmt17" in done.stdout
    told = subprocess.run([*command, "--list"], capture_output=True, text=True, check=True)
    assert all(f"{name}: " in told.stdout for name in presets.names())
