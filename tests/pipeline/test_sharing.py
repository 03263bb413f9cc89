"""docs/sharing.md: its commands, run in their order by people with folders of their own.

The remote is a folder and the address a bare repository; the pipeline has the outs, params and
artifact of the project's last two stages, and takes no time.
"""

import json
import re
import shutil

import pytest
import yaml
from conftest import ROOT
from test_pipeline import call, content

ARTIFACTS = yaml.safe_load((ROOT / "dvc.yaml").read_text())["artifacts"]
PIPELINE = {
    "stages": {
        "fuse": {
            "cmd": "mkdir -p metrics && python write.py metrics/fusion.json",
            "params": ["fusion.w_ori"],
            "metrics": [{"metrics/fusion.json": {"cache": False}}],
        },
        "pack_model": {
            "cmd": "mkdir -p data/model && python write.py data/model/model.json",
            "deps": ["metrics/fusion.json"],
            "params": ["fusion.w_ori"],
            "outs": ["data/model"],
        },
    },
    "artifacts": ARTIFACTS,
}
WRITE = """
import json, re, sys
weight = float(re.search("w_ori: (.*)", open("params.yaml").read())[1])
json.dump({"weight": weight}, open(sys.argv[1], "w"))
"""
ADDRESS, FOLDER = "git@example.org:you/pyramid-reid.git", "/srv/dvc/pyramid-reid"


def blocks():
    """Who runs each block of the page, and its lines."""
    text = (ROOT / "docs" / "sharing.md").read_text()
    found = re.findall(r"<!-- tried as: (\w+) -->\n```bash\n(.*?)```", text, re.DOTALL)
    assert len(found) == text.count("```bash")  # no block is left out
    return [(who, lines.splitlines()) for who, lines in found]


class People:
    """Owner, colleague and stranger, each with a folder, and what lies between them."""

    def __init__(self, home):
        self.address, self.remote = home / "address.git", home / "remote"
        self.folders = {who: home / who for who in ("owner", "colleague", "stranger")}
        for folder in self.folders.values():
            folder.mkdir()
        owner = self.folders["owner"]
        (owner / "dvc.yaml").write_text(yaml.safe_dump(PIPELINE))
        (owner / "params.yaml").write_text("fusion:\n  w_ori: 0.25\n")
        (owner / "write.py").write_text(WRITE)
        (owner / ".gitignore").write_text("/data/model\n")
        (owner / ".dvc").mkdir()
        for name in ("config", ".gitignore", "page.html"):
            shutil.copy(ROOT / ".dvc" / name, owner / ".dvc")
        self.run("owner", "git init -q -b main && dvc repro && git add -A && git commit -qm start")
        self.run("owner", f"git init -q --bare -b main {self.address}")
        self.run("owner", f"git remote add origin {self.address} && git push -qu origin main")

    def run(self, who, line):
        """What a line prints; `cd` stays."""
        if line.startswith("cd "):
            self.folders[who] /= line.removeprefix("cd ")
            return ""
        line = line.replace(ADDRESS, str(self.address)).replace(FOLDER, str(self.remote))
        identity = {f"GIT_{role}_NAME": who for role in ("AUTHOR", "COMMITTER")}
        identity |= {f"GIT_{role}_EMAIL": f"{who}@localhost" for role in ("AUTHOR", "COMMITTER")}
        if line.startswith("git clone"):
            line += " pyramid-reid"  # as the address of the page would name it
        return call(self.folders[who], "sh", "-c", line, **identity)

    def model(self, who, name):
        """The weight in a model folder of somebody."""
        return json.loads((self.folders[who] / name / "model.json").read_text())["weight"]


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """All people after the page was run, and what each line of it printed."""
    people = People(tmp_path_factory.mktemp("home"))
    printed = {}
    for who, lines in blocks():
        for line in lines:
            if who == "configuration":
                continue
            assert line not in printed
            printed[line] = people.run(who, line)
    return people, printed


def test_every_command_of_the_page_works(said):
    _, printed = said
    assert {"dvc push", "git push", "dvc pull", "dvc exp apply heavier"} <= set(printed)
    assert "Data and pipelines are up to date." in printed["dvc repro"]
    assert "heavier" in printed["dvc exp list origin"]
    difference = printed["dvc metrics diff"].split()
    assert difference[-5:] == ["metrics/fusion.json", "weight", "0.25", "0.4", "0.15"]


def test_each_got_the_model_that_was_meant(said):
    people, _ = said
    assert people.model("stranger", "model") == people.model("stranger", "released") == 0.25
    assert people.model("colleague", "data/model") == 0.4  # of the experiment
    assert not (people.folders["stranger"] / ".dvc").exists()


def test_the_remote_holds_the_outs_and_git_does_not(said):
    people, _ = said
    assert content(people.remote, ".")
    listed = people.run("owner", "git ls-files").split()
    assert "dvc.lock" in listed
    assert not [path for path in listed if path.startswith("data/")]


def test_other_remotes_are_configured_as_the_page_says(tmp_path):
    (tmp_path / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc")
    lines = [line for who, lines in blocks() if who == "configuration" for line in lines]
    assert len(lines) == 3
    call(tmp_path, "dvc", "config", "--local", "core.no_scm", "true")
    for line in lines:
        call(tmp_path, "sh", "-c", line.replace("add -d", "add -f -d"))
    listed = call(tmp_path, "dvc", "remote", "list").split()
    assert listed == ["there", "s3://bucket/pyramid-reid", "(default)"]
    assert "minio.example.org" in (tmp_path / ".dvc" / "config").read_text()
