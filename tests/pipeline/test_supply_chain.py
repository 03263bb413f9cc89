"""What is installed is what was chosen, and no file that is read runs code."""

import ast
import re
import tomllib

import pytest
from conftest import ROOT

PIN = re.compile(r"(?P<name>[a-z0-9-]+)==(?P<version>\S+)(?: ; [^\\]+)?(?P<hashes>(?: \\\n .+)*)")
PROGRAMS = sorted(
    path
    for folder in ("src", "stages", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
)


def requirements():
    """Requirement lines, each with the lines of its hashes."""
    text = (ROOT / "requirements.txt").read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return re.split(r"\n(?=\S)", "\n".join(lines))


def test_every_requirement_is_one_version_with_hashes_of_its_files():
    for line in requirements():
        pin = PIN.fullmatch(line)
        assert pin, line
        hashes = re.findall(r"--hash=(\S+)", pin["hashes"])
        assert hashes, line
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes), line


def test_every_direct_dependency_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    direct = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {re.match(r"[\w.-]+", each)[0].lower().replace(".", "-") for each in direct}
    assert names <= {PIN.fullmatch(line)["name"] for line in requirements()}


def test_pins_that_stages_depend_on_are_those_that_are_installed():
    pinned = {
        pin["name"]: pin["version"] for line in requirements() if (pin := PIN.fullmatch(line))
    }
    lines = {
        room: (ROOT / "src/pyramid_reid" / room / "pins.txt").read_text().splitlines()
        for room in ("core", "training")
    }
    names = {room: [line.partition("==")[0] for line in pins] for room, pins in lines.items()}
    assert {"numba", "numpy", "pillow", "scikit-image", "scipy"} <= set(names["core"])
    assert {"timm", "torch", "torchreid", "torchvision"} <= set(names["training"])
    for room, pins in lines.items():
        assert pins == [f"{name}=={pinned[name]}" for name in names[room]]


def test_only_files_whose_hashes_are_known_are_installed():
    script = (ROOT / ".ci" / "environment.sh").read_text()
    assert "pip install" not in (ROOT / "Makefile").read_text()
    assert script.count("pip install") == 1  # of the function that the others call
    installs = re.findall(r"^install (.*)", script, flags=re.MULTILINE)
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[1]
    assert "--no-build-isolation" in installs[1]  # nothing is fetched to build this project


HOSTILE = {"benchmarks/fuzz/handed_in.py", "benchmarks/fuzz/mutations.py"}
"""They write what readers must refuse."""


def calls(name):
    """Calls of a function in all programs, with the file that each is in."""
    for path in PROGRAMS:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                yield path.relative_to(ROOT).as_posix(), node


def test_torch_reads_weights_only():
    found = list(calls("torch.load"))
    assert found
    for path, node in found:
        keywords = {each.arg: ast.unparse(each.value) for each in node.keywords}
        assert keywords.get("weights_only") == "True", path


def test_torch_writes_checkpoints_alone():
    assert {path for path, _ in calls("torch.save")} - HOSTILE == {
        "src/pyramid_reid/training/checkpoints.py",
        "benchmarks/reid/training.py",  # writes what torchreid reads
        "benchmarks/search/indexing.py",  # likewise
        "benchmarks/search/loading.py",  # writes what `pack --start` reads
    }


@pytest.mark.parametrize(
    "name", ["pickle.load", "pickle.loads", "pickle.dump", "yaml.unsafe_load", "eval", "exec"]
)
def test_nothing_else_reads_or_writes_code(name):
    assert not [path for path, _ in calls(name) if path not in HOSTILE]


def test_numpy_reads_no_objects():
    assert all("allow_pickle=True" not in ast.unparse(node) for _, node in calls("np.load"))
