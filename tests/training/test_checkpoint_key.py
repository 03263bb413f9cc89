"""The key of a checkpoint: no training goes on from one with other params, data or code."""

import ast
import shutil

import pytest
import yaml
from conftest import ROOT

from pyramid_reid.training import checkpoints
from pyramid_reid.training.checkpoints import COMPUTING, digest

ROOMS = {"reid": ["reid"], "restoration": ["protocol", "restoration"]}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package, to edit, whose code the key is of."""
    source = checkpoints.PACKAGE
    copy = shutil.copytree(
        source, tmp_path / "pyramid_reid", ignore=shutil.ignore_patterns("__pycache__")
    )
    showing = [copy / file.relative_to(source) for file in checkpoints.SHOWING]
    monkeypatch.setattr(checkpoints, "PACKAGE", copy)
    monkeypatch.setattr(checkpoints, "SHOWING", showing)
    yield copy
    checkpoints._code.cache_clear()


def anew(rooms):
    """The key as a process has it that starts now."""
    checkpoints._code.cache_clear()
    return digest({}, rooms=rooms)


def test_it_follows_params_and_data(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "pixels.npy"
    path.write_bytes(b"1")
    first = digest({"seed": 1}, tmp_path / "in", rooms=["reid"])
    assert digest({"seed": 1}, tmp_path / "in", rooms=["reid"]) == first
    assert digest({"seed": 2}, tmp_path / "in", rooms=["reid"]) != first
    path.write_bytes(b"2")
    assert digest({"seed": 1}, tmp_path / "in", rooms=["reid"]) != first
    assert digest({"seed": 1}, path, rooms=["reid"]) != digest({"seed": 1}, rooms=["reid"])


def test_it_follows_the_number_of_processes(monkeypatch):
    one = digest({}, rooms=["reid"])
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert digest({}, rooms=["reid"]) != one


@pytest.mark.parametrize("package_", COMPUTING)
def test_it_follows_the_packages_that_make_the_bytes(monkeypatch, package_):
    first, installed = anew(["reid"]), checkpoints.version

    def newer(name):
        return "99.0" if name == package_ else installed(name)

    monkeypatch.setattr(checkpoints, "version", newer)
    assert anew(["reid"]) != first
    monkeypatch.undo()
    assert anew(["reid"]) == first


@pytest.mark.parametrize("room", ROOMS)
def test_it_follows_every_module_that_computes_whether_it_is_loaded_or_not(package, room):
    first = anew(ROOMS[room])
    assert anew(ROOMS[room]) == first
    files = [file for each in (room, "core", "training") for file in (package / each).rglob("*.py")]
    assert package / "restoration/network/swinir.py" in files or room == "reid"
    for file in files:
        before = file.read_bytes()
        file.write_bytes(before + b"# edited\n")
        assert (anew(ROOMS[room]) == first) == (file in checkpoints.SHOWING), file
        file.write_bytes(before)


def test_an_edit_while_a_stage_runs_changes_nothing_of_its_key(package):
    first = anew(["restoration"])
    (package / "restoration/network/swinir.py").write_text("edited\n")
    assert digest({}, rooms=["restoration"]) == first


def calls_of_digest(program):
    tree = ast.parse((ROOT / program).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [call for call in calls if getattr(call.func, "id", None) == "digest"]


@pytest.mark.parametrize("name", ["train_reconstructor", "generate_pyramid", "train_reid"])
def test_the_rooms_of_a_stage_hold_all_the_code_that_it_depends_on(name):
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"][name]
    deps = [dep for dep in stage.get("do", stage)["deps"] if dep.startswith("src/pyramid_reid/")]
    (call,) = calls_of_digest(f"stages/{name}.py")
    (rooms,) = [ast.literal_eval(word.value) for word in call.keywords if word.arg == "rooms"]
    assert {dep.split("/")[2] for dep in deps} <= {"core", "training", *rooms}
