"""`pyramid-reid doctor`: what a bug report should say of the machine, the project and the model.

Each part is examined alone: what is missing or broken becomes the text of its line, and never an
end without the others. DVC, Git and a project are not needed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib import metadata, util
from pathlib import Path
from typing import Any

from pyramid_reid.core import provenance
from pyramid_reid.core.errors import UserError, reason

HERE = Path(__file__).resolve().parent
PINS = (HERE / "core" / "pins.txt", HERE / "training" / "pins.txt")
SHOWN = ("torch", "torchvision", "numpy", "pillow", "lancedb", "onnxruntime", "fastapi", "dvc")
"""Packages whose versions are shown even where they are as pinned."""
DEFAULT = " (default)"
"""How DVC marks the remote that it takes where none is named."""
GIB = 2**30
PATIENCE_S = 60
"""Seconds that a command of DVC may take."""


def examine(project: Path, model: Path) -> dict[str, dict[str, Any]]:
    """All that the report tells.

    Args:
        project: folder that may hold params.yaml and a DVC project.
        model: model folder, which need not exist.

    Returns:
        Facts by the name of their line, ready for JSON.
    """
    torch = _torch()
    recorded = provenance.gather(provenance.revision(HERE.parents[1]), [])
    return {
        "pyramid-reid": _own(recorded["git"]),
        "python": {"version": recorded["python"], "executable": sys.executable},
        "system": _system(recorded["machine"]),
        "packages": _packages(recorded["packages"]),
        "threads": _threads(project),
        "device": _device(project, torch),
        "cache": _cache(project),
        "remote": _remotes(project),
        "model": _model(model),
        "weights": _weights(os.environ.get("PYRAMID_REID_WEIGHTS")),
    }


def lines(facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The report, a line for each part: its name and its text."""
    width = max(map(len, facts)) + 2
    return [f"{name:<{width}}{_text(name, told)}" for name, told in facts.items()]


def without_secrets(url: str) -> str:
    """An address without user, password and what follows `?`: a bug report is public.

    A password may hold `/` and `@` where nobody wrote them as %2F and %40, so all up to the last
    `@` goes.
    """
    return re.sub(r"(?<=://).*@", "", url.partition("?")[0])


def not_as_pinned(pins: Iterable[str], installed: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Packages whose installed version is not the pinned one.

    Args:
        pins: lines `name==version`.
        installed: version by name, in any spelling of the name.

    Returns:
        `pinned` and `installed` (or "missing") by name.
    """
    found = {_normal(name): version for name, version in installed.items()}
    pinned = dict(line.split("==") for line in pins)
    return {
        name: {"pinned": version, "installed": found.get(_normal(name), "missing")}
        for name, version in pinned.items()
        # torch's wheels add the kind of build: 2.14.1+cpu
        if found.get(_normal(name), "missing").partition("+")[0] != version.partition("+")[0]
    }


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _torch() -> Any:
    """The module, or the sentence that says why it cannot be loaded."""
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a library that it needs
        return reason(error)
    return torch


def _own(git: Any) -> dict[str, Any]:
    try:
        version = metadata.version("pyramid-reid")
    except metadata.PackageNotFoundError:
        version = None
    return {"version": version, "from": str(HERE), **git}


def _system(machine: Any) -> dict[str, Any]:
    return {**machine, "free_gib": round(shutil.disk_usage(Path()).free / GIB, 1)}


def _packages(installed: Any) -> dict[str, Any]:
    pins = [line for file in PINS if file.exists() for line in file.read_text().split()]
    shown = {_normal(name): version for name, version in installed.items()}
    return {
        "versions": {name: shown.get(name) for name in SHOWN},
        "pins_known": bool(pins),
        "not_as_pinned": not_as_pinned(pins, installed),
    }


def _params(project: Path) -> Any:
    """The params of a project, or the sentence that says why there are none."""
    from pyramid_reid.core import params

    try:
        return params.load(project / "params.yaml")
    except UserError as error:
        return str(error)


def _of_params(project: Path, key: str) -> dict[str, Any]:
    if not (project / "params.yaml").exists():
        return {"params": None}
    params = _params(project)
    return {"error": params} if isinstance(params, str) else {"params": getattr(params, key)}


def _threads(project: Path) -> dict[str, Any]:
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    usable = len(affinity(0)) if affinity else os.cpu_count()
    return {**_of_params(project, "threads"), "cores": os.cpu_count(), "usable": usable}


def _device(project: Path, torch: Any) -> dict[str, Any]:
    asked = _of_params(project, "device")
    if isinstance(torch, str):
        return {**asked, "torch_error": torch}
    gpus = [torch.cuda.get_device_name(each) for each in range(torch.cuda.device_count())]
    return {
        **asked,
        "gpus": gpus,
        "cuda_of_torch": torch.version.cuda,
        "mps": bool(torch.backends.mps.is_available()),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


def _dvc(project: Path, *arguments: str) -> tuple[str | None, str | None]:
    """What a command of DVC prints, or why it does not."""
    if util.find_spec("dvc") is None:
        return None, "DVC is not installed"
    if not (project / ".dvc").is_dir():
        return None, "no DVC project in this folder"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "dvc", *arguments],
            cwd=project,
            capture_output=True,
            encoding="utf-8",
            errors="backslashreplace",
            check=False,
            timeout=PATIENCE_S,
        )
    except subprocess.TimeoutExpired:
        return None, f"dvc {' '.join(arguments)} took more than {PATIENCE_S} s"
    if done.returncode:
        return None, f"dvc {' '.join(arguments)}: {' '.join(done.stderr.split())}"
    return done.stdout, None


def _cache(project: Path) -> dict[str, Any]:
    said, why = _dvc(project, "cache", "dir")
    if said is None:
        return {"error": why}
    folder = Path(said.strip())
    files, size = 0, 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):  # another command of DVC has removed it
                files, size = files + 1, size + (Path(parent) / name).lstat().st_size
    return {"folder": str(folder), "files": files, "bytes": size}


def _remotes(project: Path) -> dict[str, Any]:
    # not `dvc remote list`, whose table breaks long addresses
    said, why = _dvc(project, "config", "--list")
    if said is None:
        return {"error": why}
    config = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
    urls = {
        key.removeprefix("remote.").removesuffix(".url"): url
        for key, url in config.items()
        if key.startswith("remote.") and key.endswith(".url")
    }
    return {
        "remotes": {
            name: {"url": without_secrets(url), "default": name == config.get("core.remote")}
            for name, url in urls.items()
        }
    }


def _model(folder: Path) -> dict[str, Any]:
    from pyramid_reid.search import description

    if not folder.exists():
        return {"folder": str(folder), "error": "none there"}
    try:
        told = description.read(folder)
    except UserError as error:
        return {"folder": str(folder), "error": str(error)}
    return {
        "folder": str(folder),
        "name": told.name,
        "networks": sorted({branch.network for branch in told.branches.values()}),
        "restorer": told.restorer.extractor,
        "calibrated": told.calibration is not None,
        "features": told.features,
    }


def _weights(folder: str | None) -> dict[str, Any]:
    if not folder:
        return {"folder": None}
    path = Path(folder)
    if not path.is_dir():
        return {"folder": folder, "error": "no such folder"}
    return {"folder": folder, "files": sum(1 for each in path.rglob("*") if each.is_file())}


def _text(name: str, told: Mapping[str, Any]) -> str:
    """The text of one line."""
    match name:
        case "pyramid-reid":
            changed = told["changed"]
            checkout = f"commit {told['commit'][:12]}" if told["commit"] else "not in Git"
            if changed:
                checkout += f", changed: {_some(changed)}"
            return f"{told['version'] or 'not installed'}, {checkout}, from {told['from']}"
        case "python":
            return f"{told['version']}, {told['executable']}"
        case "system":
            return f"{told['system']}, {told['cpu']}, {told['free_gib']} GiB free here"
        case "packages":
            return _packages_text(told)
        case "threads":
            return f"{_asked(told)}; {told['usable']} of {told['cores']} cores may be used"
        case "device":
            return f"{_asked(told)}; {_devices_text(told)}"
        case "cache":
            if "error" in told:
                return str(told["error"])
            return f"{told['bytes'] / GIB:.2f} GiB, {told['files']} files, {told['folder']}"
        case "remote":
            if "error" in told:
                return str(told["error"])
            each = [
                f"{remote} {at['url']}{DEFAULT if at['default'] else ''}"
                for remote, at in told["remotes"].items()
            ]
            return "; ".join(each) or "none (docs/sharing.md adds one)"
        case "model":
            if "error" in told:
                return f"{told['folder']}: {told['error']}"
            calibrated = "calibrated" if told["calibrated"] else "not calibrated"
            return (
                f"{told['folder']}: {told['name']}, {', '.join(told['networks'])},"
                f" restorer {told['restorer']}, {calibrated}, features {told['features'][:12]}"
            )
        case "weights":
            if told["folder"] is None:
                return "PYRAMID_REID_WEIGHTS is not set"
            number = f"{told.get('files')} files"
            return f"{told['folder']}: {told.get('error', number)}"
    raise AssertionError(name)


def _asked(told: Mapping[str, Any]) -> str:
    """What params.yaml asks for."""
    if "error" in told:
        return str(told["error"])
    return "no params.yaml here" if told["params"] is None else f"params.yaml: {told['params']}"


def _packages_text(told: Mapping[str, Any]) -> str:
    versions = [f"{name} {version or 'missing'}" for name, version in told["versions"].items()]
    if not told["pins_known"]:
        return f"{', '.join(versions)}; pins are not installed with this package"
    other = [
        f"{name} {each['installed']} (pinned: {each['pinned']})"
        for name, each in told["not_as_pinned"].items()
    ]
    state = f"NOT AS PINNED: {', '.join(other)}" if other else "as pinned"
    return f"{', '.join(versions)}; {state}"


def _devices_text(told: Mapping[str, Any]) -> str:
    if "torch_error" in told:
        return f"torch cannot be loaded: {told['torch_error']}"
    cuda = f"CUDA {told['cuda_of_torch']}" if told["cuda_of_torch"] else "without CUDA"
    gpus = ", ".join(told["gpus"]) or "no GPU"
    mps = ", MPS (not used)" if told["mps"] else ""
    return f"torch {cuda}, {gpus}{mps}, CPU {told['cpu_capability']}"


def _some(names: list[str]) -> str:
    """The first three, and the number of the others."""
    more = [f"and {len(names) - 3} more"] if len(names) > 3 else []
    return ", ".join([*names[:3], *more])
