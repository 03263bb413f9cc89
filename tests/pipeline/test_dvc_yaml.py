"""dvc.yaml held against the code: a stage that does not list what it runs is not rerun."""

import ast
import os
import runpy
import subprocess
import sys
from functools import cache

import pytest
import yaml
from conftest import ROOT

DVC = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))


def stages():
    """Name of each stage with its definition, `foreach` stages once per item."""
    for name, stage in DVC["stages"].items():
        if "foreach" not in stage:
            yield name, stage
            continue
        for key, item in stage["foreach"].items():
            text = yaml.safe_dump(stage["do"]).replace("${key}", key).replace("${item}", item)
            yield f"{name}@{key}", yaml.safe_load(text)


STAGES = dict(stages())


def names(stage, *kinds):
    """Paths of a stage's deps, outs, metrics."""
    return [
        entry if isinstance(entry, str) else next(iter(entry))
        for kind in kinds
        for entry in stage.get(kind, [])
    ]


DOOR = ROOT / "src/pyramid_reid/__init__.py"
"""For users of the package: it loads nothing until it is asked, and no stage asks."""


def module_file(name):
    """File of a module of this project, or None; a module that is only a docstring is none.

    Nor is the package itself: its names are loaded when somebody asks for them, and no stage does.
    """
    if name == "pyramid_reid":
        return None
    for base in (ROOT / "src", ROOT / "stages"):
        path = base.joinpath(*name.split("."))
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file == DOOR:
                return None
            if file.exists():
                body = ast.parse(file.read_text(encoding="utf-8")).body
                only_docstring = all(isinstance(node, ast.Expr) for node in body)
                return None if only_docstring else file
    return None


def direct_imports(file):
    """Files of this project that a file imports, packages on the way included."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for module in modules:
            parts = module.split(".")
            for length in range(1, len(parts) + 1):
                yield module_file(".".join(parts[:length]))


@cache
def imports(file):
    """Files of this project that run when `file` does: itself and all it imports."""
    found, new = set(), {file}
    while new:
        found |= new
        new = {used for each in new for used in direct_imports(each) if used} - found
    return found


def script(stage):
    return ROOT / stage["cmd"].split()[1]


def test_the_stages_that_share_work_are_started_by_the_launcher():
    launched = {name for name, stage in STAGES.items() if stage["cmd"].startswith("${launcher} ")}
    shared = {"train_reconstructor", "generate_pyramid"}
    assert launched == shared | {name for name in STAGES if name.startswith("train_reid@")}
    others = [stage["cmd"] for name, stage in STAGES.items() if name not in launched]
    assert all(cmd.startswith("python ") for cmd in others)


def covers(dep, file):
    path = ROOT / dep
    return file == path or path in file.parents


@pytest.mark.parametrize("name", STAGES)
def test_every_file_that_a_stage_imports_is_a_dependency(name):
    deps = names(STAGES[name], "deps")
    missing = [
        str(file.relative_to(ROOT))
        for file in sorted(imports(script(STAGES[name])))
        if not any(covers(dep, file) for dep in deps)
    ]
    assert not missing


@pytest.mark.parametrize("name", STAGES)
def test_no_stage_depends_on_code_of_which_it_imports_nothing(name):
    used = imports(script(STAGES[name]))
    code = [dep for dep in names(STAGES[name], "deps") if dep.startswith(("src", "stages"))]
    assert code
    unused = [dep for dep in code if not any(covers(dep, file) for file in used)]
    assert set(unused) <= {"src/pyramid_reid/training/pins.txt"}


OF_NETWORKS = {"safetensors", "timm", "torch", "torchreid", "torchvision"}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_pins_of_the_packages_that_it_loads(name):
    deps = names(STAGES[name], "deps")
    files = imports(script(STAGES[name]))
    own = [file for file in files if file.parent.name != "core"]  # it starts torch where asked to
    used = {module for file in own for module in foreign_imports(file)}

    def depends_on(room):
        return any(covers(dep, ROOT / "src/pyramid_reid" / room / "pins.txt") for dep in deps)

    assert depends_on("core")
    assert depends_on("training") == bool(used & OF_NETWORKS)


def foreign_imports(file):
    """Names of the packages of others that a file imports, at any depth."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def read_params(file):
    """Dotted params that a stage's script reads from its `params`, as far down as it names them.

    An alias (`data = params.data`) is followed; a section that is handed on whole counts as a
    whole.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    aliases = {"params": ""}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign):
            continue
        targets, values = node.targets[0], node.value
        pairs = (
            zip(targets.elts, values.elts, strict=True)
            if isinstance(targets, ast.Tuple) and isinstance(values, ast.Tuple)
            else [(targets, values)]
        )
        for target, value in pairs:
            dotted = ast.unparse(value)
            if isinstance(target, ast.Name) and dotted.startswith("params.") and "(" not in dotted:
                aliases[target.id] = dotted.removeprefix("params.") + "."
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = ast.unparse(node).partition(".")
            if first in aliases and "(" not in rest and not rest.startswith("model_dump"):
                found.add(aliases[first] + rest)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "params.model_dump":
            found |= set(ast.literal_eval(node.keywords[0].value))
    return found


@pytest.mark.parametrize("name", STAGES)
def test_every_param_that_a_stage_reads_is_tracked_and_no_other(name):
    file = script(STAGES[name])
    found = read_params(file)
    if "import _stage.threads" in file.read_text(encoding="utf-8"):
        found.add("threads")
    tracked = set(STAGES[name]["params"])

    def within(param, others):
        return any(param == other or param.startswith(f"{other}.") for other in others)

    assert not {
        param for param in found if not within(param, tracked) and not within_any(param, tracked)
    }
    assert not {param for param in tracked if not any(within(f, [param]) for f in found)}


def within_any(section, tracked):
    """Whether `section` is only the way to tracked keys below it (`params.data` of `data.name`)."""
    return any(param.startswith(f"{section}.") for param in tracked)


@pytest.mark.parametrize("name", STAGES)
def test_data_dependencies_are_made_by_other_stages(name):
    made = {out for other in STAGES.values() for out in names(other, "outs", "metrics")}
    data = [dep for dep in names(STAGES[name], "deps") if not dep.startswith(("src", "stages"))]
    # each by its own path, not by a folder of several: lock-check compares them by path
    assert set(data) - {"${data.root}/"} <= made


@pytest.mark.parametrize("name", ["fuse", "sweep_weights"])
def test_it_depends_on_each_branch(name):
    command = [sys.executable, "-m", "dvc", "dag", "--dot", name]
    graph = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for branch in ("ori", "h1", "h2", "h3"):
        assert f'"distances@{branch}" -> "{name}";' in graph


def modules_after(code):
    """Names of the modules that a fresh interpreter has loaded after `code`, run in stages/."""
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": "stages"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return set(done.stdout.split())


def test_fuse_loads_neither_torch_nor_scipy():
    loaded = modules_after("import fuse")
    assert "pandas" in loaded
    assert not {"torch", "torchreid", "timm", "scipy"} & loaded


def test_settings_are_pinned_before_numpy_and_torch_are_loaded():
    assert not {"numpy", "torch"} & modules_after("import _stage.threads")
    for path in (ROOT / "stages").glob("[a-z]*.py"):
        first, *_ = [
            node
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        assert ast.unparse(first).split()[1] in {"_stage.threads", "_stage"}, path


def test_every_chart_is_of_a_table_that_a_stage_makes():
    made = [out for stage in STAGES.values() for out in names(stage, "outs")]
    for chart in DVC["plots"]:
        ((_, definition),) = chart.items()
        for path in definition["y"]:
            assert any(path == out or path.startswith(f"{out}/") for out in made), path


@pytest.mark.parametrize("name", STAGES)
def test_what_a_stage_leaves_to_git_is_a_metric_or_a_plot(name):
    """DVC's run cache keeps no run of a stage with another out that it does not keep itself."""
    assert all(isinstance(out, str) for out in STAGES[name]["outs"])
    for kind in ("metrics", "plots"):
        for out in STAGES[name].get(kind, []):
            assert list(out.values()) == [{"cache": False}]


def test_the_package_s_door_loads_nothing_by_itself():
    loaded = modules_after("import pyramid_reid")
    assert "pyramid_reid" in loaded
    assert not {"numpy", "torch", "pyramid_reid.search"} & loaded


def test_a_lock_of_several_runs_is_told_from_one():
    torn = runpy.run_path(str(ROOT / ".ci/check_lock.py"))["torn"]
    lock = yaml.safe_load((ROOT / "dvc.lock").read_text(encoding="utf-8"))
    assert torn(lock) == []
    (read,) = [
        dep for dep in lock["stages"]["train_reid@h1"]["deps"] if dep["path"] == "data/pyramid/h1"
    ]
    read["md5"] = "0" * 32
    assert torn(lock) == ["train_reid@h1 read another data/pyramid/h1 than was made"]
