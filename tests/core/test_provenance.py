"""Records of runs: what they tell is true, and they are where they should be."""

import hashlib
import json
import subprocess
from importlib.metadata import distributions

import numpy as np
import pytest
import torch

from pyramid_reid.core import provenance


def git(folder, *arguments):
    identity = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path):
    """A committed project with a module and a result."""
    for name in ("src/module.py", "metrics/fusion.json", "params.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("1\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-qm", "it")
    return tmp_path


def test_changed_code_and_params_make_a_checkout_unclean_and_changed_results_do_not(checkout):
    (checkout / "metrics/fusion.json").write_text("2\n")
    said = provenance.revision(checkout)
    head = (checkout / ".git/refs/heads").glob("*")
    assert said == {"commit": next(head).read_text().strip(), "clean": True, "changed": []}
    (checkout / "params.yaml").write_text("2\n")
    (checkout / "src/new.py").touch()
    said = provenance.revision(checkout)
    assert not said["clean"]
    assert said["changed"] == ["params.yaml", "src/new.py"]


def test_outside_git_nothing_is_claimed(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    unknown = {"commit": None, "clean": False, "changed": []}
    assert provenance.revision(tmp_path) == unknown
    monkeypatch.setenv("PATH", str(tmp_path))  # no git at all
    assert provenance.revision(tmp_path) == unknown


def test_packages_are_those_that_are_installed():
    def plain(name):
        return name.lower().replace("-", "_").replace(".", "_")

    installed = {plain(each.name): each.version for each in distributions()}
    told = {plain(name): version for name, version in provenance.packages().items()}
    assert told == installed
    assert told["numpy"] == np.__version__


def test_the_hash_of_a_folder_is_of_names_and_contents(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a").write_bytes(b"one")
    (tmp_path / "b").write_bytes(b"two")
    assert provenance.sha256(tmp_path / "b") == hashlib.sha256(b"two").hexdigest()
    first = provenance.sha256(tmp_path)
    (tmp_path / "b").rename(tmp_path / "c")
    second = provenance.sha256(tmp_path)
    (tmp_path / "c").write_bytes(b"too")
    assert len({first, second, provenance.sha256(tmp_path)}) == 3
    (tmp_path / "c").write_bytes(b"two")
    (tmp_path / "c").rename(tmp_path / "b")
    assert provenance.sha256(tmp_path) == first


def test_a_record_tells_how_the_run_computed_and_what_it_read(tmp_path):
    (tmp_path / "splits.csv").write_text("split,sha256\n")
    inputs = [tmp_path / "splits.csv", tmp_path / "missing"]
    path = tmp_path / "records" / "train_reid@h1.json"
    provenance.write(path, provenance.gather({"clean": True}, inputs))
    record = json.loads(path.read_text())
    assert record["git"] == {"clean": True}
    assert record["inputs"] == {str(inputs[0]): provenance.sha256(inputs[0])}
    assert record["numerics"]["threads"] == torch.get_num_threads()
    assert record["numerics"]["environment"]["ATEN_CPU_CAPABILITY"] == "avx2"
    assert record["numerics"]["dtype"] == "torch.float32"
    assert record["machine"]["cpu"]
    assert record["machine"]["gpu"] is None
