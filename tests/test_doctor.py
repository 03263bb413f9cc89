"""`pyramid-reid doctor`: each line against what the test itself has set up."""

import json
import os
import subprocess
import sys
from importlib import metadata, util

import pytest
import torch
from conftest import ROOT
from search.conftest import write_model

from pyramid_reid import cli, doctor

NAMES = ["pyramid-reid", "python", "system", "packages", "threads"]
NAMES += ["device", "cache", "remote", "model", "weights"]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run the command in an empty folder: its facts, and the text of each line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYRAMID_REID_WEIGHTS", raising=False)

    def command(*arguments):
        said = []
        for further in ((), ("--json",)):
            words = ["pyramid-reid", "doctor", *arguments, *further]
            monkeypatch.setattr(sys, "argv", words)
            assert cli.main() == 0
            said.append(capsys.readouterr().out)
        lines = dict(line.split(maxsplit=1) for line in said[0].splitlines())
        assert list(lines) == NAMES
        return json.loads(said[1]), lines

    return command


def dvc(*arguments):
    subprocess.run([sys.executable, "-m", "dvc", *arguments], check=True, capture_output=True)


def test_without_dvc_git_and_project_each_line_says_so(run, monkeypatch, tmp_path):
    found = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "dvc" else found(name))
    monkeypatch.setenv("PATH", str(tmp_path))
    told, lines = run()
    assert told["pyramid-reid"]["commit"] is None
    assert "not in Git" in lines["pyramid-reid"]
    assert lines["cache"] == lines["remote"] == "DVC is not installed"
    assert lines["model"] == "data/model: none there"
    assert lines["threads"].startswith("no params.yaml here; ")
    assert lines["weights"] == "PYRAMID_REID_WEIGHTS is not set"


def test_versions_are_those_of_the_packages_themselves(run):
    told, lines = run()
    assert told["packages"]["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert f"torch {told['packages']['versions']['torch']}, " in lines["packages"]
    assert told["pyramid-reid"]["version"] == metadata.version("pyramid-reid")
    assert told["python"]["executable"] == sys.executable
    head = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert told["pyramid-reid"]["commit"] == (head.stdout.strip() if not head.returncode else None)
    assert told["device"]["gpus"] == [
        torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())
    ]


def test_a_package_of_another_version_is_named():
    pins = ["torch==2.14.1", "scikit-image==0.25", "numpy==2.4.6", "pillow==13.0.0"]
    installed = {"torch": "2.14.1+cpu", "scikit_image": "0.25", "numpy": "2.3.0"}
    assert doctor.not_as_pinned(pins, installed) == {
        "numpy": {"pinned": "2.4.6", "installed": "2.3.0"},
        "pillow": {"pinned": "13.0.0", "installed": "missing"},
    }


def test_threads_and_device_are_those_of_params_yaml(run, tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("\nthreads: 2 ", "\nthreads: 3 ")
    (tmp_path / "params.yaml").write_text(text)
    told, lines = run()
    assert told["threads"]["params"] == 3
    assert told["threads"]["cores"] == os.cpu_count()
    assert lines["threads"].startswith("params.yaml: 3; ")
    assert lines["device"].startswith("params.yaml: cpu; ")
    (tmp_path / "params.yaml").write_text(text + "\nsweeep: 1\n")
    _, lines = run()
    assert lines["threads"].startswith("params.yaml: sweeep is not a known key: remove it")


def test_cache_and_remotes_are_told_without_passwords(run, tmp_path):
    _, lines = run()
    assert lines["cache"] == "no DVC project in this folder"
    dvc("init", "--no-scm", "-q")
    _, lines = run()
    assert lines["remote"] == "none (docs/sharing.md adds one)"
    (tmp_path / "data.bin").write_bytes(bytes(12345))
    dvc("add", "-q", "data.bin")
    dvc("remote", "add", "-d", "there", "ssh://anna:secret@example.org/store?key=hidden")
    dvc("remote", "add", "folder", str(tmp_path / "remote"))
    told, lines = run()
    assert (told["cache"]["files"], told["cache"]["bytes"]) == (1, 12345)
    assert lines["cache"] == f"0.00 GiB, 1 files, {tmp_path}/.dvc/cache"
    remotes = told["remote"]["remotes"]
    assert remotes["there"] == {"url": "ssh://example.org/store", "default": True}
    assert remotes["folder"] == {"url": str(tmp_path / "remote"), "default": False}
    assert lines["remote"] == (f"there ssh://example.org/store (default); folder {tmp_path}/remote")


@pytest.mark.parametrize(
    "url",
    [
        *("ssh://anna:p@ss@example.org/store", "ssh://anna:p/s@s@example.org/store"),
        *("ssh://anna@example.org/store", "ssh://example.org/store?key=a@b"),
    ],
)
def test_nothing_of_a_password_is_told(url):
    assert doctor.without_secrets(url) == "ssh://example.org/store"


def test_a_file_that_dvc_removes_while_it_is_counted_is_passed_over(tmp_path, monkeypatch):
    (tmp_path / "kept").write_bytes(bytes(7))
    monkeypatch.setattr(doctor, "_dvc", lambda *_: (str(tmp_path), None))
    walk = os.walk(tmp_path)
    monkeypatch.setattr(
        os, "walk", lambda _: ((top, folders, ["gone", *names]) for top, folders, names in walk)
    )
    assert doctor._cache(tmp_path) == {"folder": str(tmp_path), "files": 1, "bytes": 7}


def test_a_configuration_that_dvc_refuses_is_told(run, tmp_path):
    dvc("init", "--no-scm", "-q")
    (tmp_path / ".dvc" / "config").write_text("[core\n")
    _, lines = run()
    assert lines["cache"].startswith("dvc cache dir: ERROR: configuration error")


def test_a_model_is_described_and_a_damaged_one_told(run, tmp_path):
    folder = tmp_path / "model"
    write_model(folder)
    told, lines = run("--model", "model")
    assert lines["model"].startswith(
        "model: test0, osnet_x0_25, restorer bicubic, calibrated, features "
    )
    assert told["model"]["calibrated"] is True
    (folder / "h1.safetensors").write_bytes(b"x")
    _, lines = run("--model", "model")
    assert "h1.safetensors is not the file that model.json names" in lines["model"]


def test_the_folder_of_weights_is_told(run, monkeypatch, tmp_path):
    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "a.pth").touch()
    monkeypatch.setenv("PYRAMID_REID_WEIGHTS", str(tmp_path / "w"))
    assert run()[1]["weights"] == f"{tmp_path}/w: 1 files"
    monkeypatch.setenv("PYRAMID_REID_WEIGHTS", str(tmp_path / "none"))
    assert run()[1]["weights"] == f"{tmp_path}/none: no such folder"
