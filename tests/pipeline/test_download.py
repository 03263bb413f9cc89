"""The download stage in a real DVC repository, on a folder outside the project."""

import os

import pytest
import yaml
from test_pipeline import call, ran, set_up


@pytest.fixture
def project(tmp_path):
    """A project that reads two crops in a foreign folder, by way of a manifest."""
    project, crops = set_up(tmp_path / "project"), tmp_path / "my crops, größer"
    (crops / "a").mkdir(parents=True)
    for name in ("1.png", "2.png"):
        (crops / "a" / name).write_bytes(name.encode())
    (crops / "manifest.csv").write_text("path,pid,camid\na/1.png,1,1\na/2.png,1,2\n")
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["data"] |= {"name": "manifest", "root": str(crops)}
    (project / "params.yaml").write_text(yaml.safe_dump(params, allow_unicode=True))
    assert ran(call(project, "dvc", "repro", "-s", "download")) == ["download"]
    return project


def test_dvc_notices_each_change_in_the_folder_of_a_set_and_nothing_else(project, tmp_path):
    crops = tmp_path / "my crops, größer"
    status = ("dvc", "status", "download")
    os.utime(crops / "a" / "1.png", (1, 1))
    assert "up to date" in call(project, *status)
    for name, content in (("a/1.png", b"another"), ("a/3.png", b"new"), ("a/2.png", None)):
        before = (crops / name).read_bytes() if (crops / name).exists() else None
        if content is None:
            (crops / name).unlink()
        else:
            (crops / name).write_bytes(content)
        assert f"modified:           {crops}" in call(project, *status)
        if before is None:
            (crops / name).unlink()
        else:
            (crops / name).write_bytes(before)
    assert "up to date" in call(project, *status)
    (crops / "a" / "1.png").write_bytes(b"another")
    assert ran(call(project, "dvc", "repro", "-s", "download")) == ["download"]


def test_a_set_that_is_drawn_needs_no_folder(project):
    path = project / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["data"] |= {"name": "synthetic", "root": "data/own"}
    path.write_text(yaml.safe_dump(params))
    assert ran(call(project, "dvc", "repro", "-s", "download")) == ["download"]
    assert "up to date" in call(project, "dvc", "status", "download")
