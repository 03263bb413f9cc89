"""Print which stages a change reruns, as a table.

DVC itself is asked, in a copy of the project that it takes for finished. R: the stage reads what
was changed and is rerun. r: so are those that read what it writes, as if none of its outs came out
the same again. A stage of which only some branches are rerun counts.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

import pandas as pd
import yaml
from dvc.repo import Repo, lock_repo

ROOT = Path(__file__).resolve().parent.parent
READ = (
    ".dvc/config",
    "dvc.yaml",
    "params.yaml",
    "None",
    ".dvcignore",
    "src",
    "stages",
    "benchmarks",
)


@dataclass(frozen=True)
class Change:
    """Another text of a file."""

    what: str
    file: str
    edit: Callable[[str], str]


def param(key: str, value: object) -> Change:
    """Another value of a param."""
    *sections, name = key.split(".")

    def edit(text: str) -> str:
        params = yaml.safe_load(text)
        section = params
        for each in sections:
            section = section[each]
        section[name] = value
        return yaml.safe_dump(params)

    return Change(key, "params.yaml", edit)


def comment(file: str) -> Change:
    """A comment at the end of a file."""
    return Change(f"# in {file}", file, lambda text: f"{text}# changed\n")


CHANGES = [
    *(param("fusion.w_ori", 0.4), param("evaluation.resamples", 100)),
    *(param("evaluation.rule", "single_shot"), param("sweep.step", 0.5)),
    *(param("reid.lr", 0.5), param("reid.validation_identities", 4)),
    *(param("generation.batch_pixels", 4096), param("restoration.lr", 0.5)),
    *(param("simulate.ratios", [2]), param("simulate.degradation", "camera")),
    *(param("data.identities", 8), param("seed", 2), param("threads", 1)),
    param("device", "cuda"),
    comment("params.yaml"),
    comment("benchmarks/pipeline/cost.py"),
    comment("src/pyramid_reid/compare/differences.py"),
    comment("src/pyramid_reid/evaluation/rankings.py"),
    comment("src/pyramid_reid/reid/training/loop.py"),
    comment("src/pyramid_reid/restoration/network/swinir.py"),
    comment("src/pyramid_reid/protocol/degradation.py"),
    comment("src/pyramid_reid/core/params.py"),
]


def finished_copy(project: Path) -> Path:
    """A copy of the project in the new folder `project`, every stage as if it had run."""
    (project / ".dvc").mkdir(parents=True)
    for name in READ:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, project / name)
    subprocess.run(["git", "init", "-q"], cwd=project, check=True)
    with contextlib.chdir(project), Repo() as repo:
        for out in (out for stage in repo.index.stages for out in stage.outs):
            path = Path(out.fs_path)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name, encoding="utf-8")
        repo.commit(force=True)
    return project


def rerun(project: Path, change: Change) -> tuple[set[str], set[str]]:
    """Stages that a change reruns at once, and those that follow.

    Args:
        project: from `finished_copy`; it is left as it was.
        change: must leave dvc.yaml and params.yaml valid.
    """
    path = project / change.file
    before = path.read_text(encoding="utf-8")
    path.write_text(change.edit(before), encoding="utf-8")
    try:
        # under one lock DVC reads its files once for both
        with contextlib.chdir(project), Repo() as repo, lock_repo(repo):
            changed, graph = set(repo.status()), repo.index.graph
            reads_from = {
                stage.addressing: {other.addressing for other in graph.successors(stage)}
                for stage in graph
            }
    finally:
        path.write_text(before, encoding="utf-8")
    reached = set(changed)
    for name in TopologicalSorter(reads_from).static_order():
        if reads_from[name] & reached:
            reached.add(name)
    return changed, reached - changed


def row(names: Iterable[str], at_once: set[str], then: set[str]) -> list[str]:
    """A mark for each stage, the branches of one together."""
    first, second = ({name.partition("@")[0] for name in stages} for stages in (at_once, then))
    return ["R" if name in first else "r" if name in second else "." for name in names]


def main() -> None:
    """Print the table."""
    logging.getLogger("dvc").setLevel(logging.WARNING)
    names = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    with tempfile.TemporaryDirectory() as folder:
        project = finished_copy(Path(folder) / "project")
        rows = {change.what: row(names, *rerun(project, change)) for change in CHANGES}
    print(pd.DataFrame(rows, index=list(names)).T.to_string())


if __name__ == "__main__":
    main()
