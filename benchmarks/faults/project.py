"""A tiny pipeline in a DVC repository of its own, to be disturbed: set up, run, compared."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml
from benchmarks.pipeline.cost import ROOT, edit

TINY = {
    "threads": 1,
    "data": {"identities": 6, "images_per_camera": 2, "splits": 2},
    "restoration": {
        "swinir_light": {"depths": [1], "dim": 8, "num_heads": 2},
        "head_dim": 4,
        "iterations": 60,
        "batch_size": 2,
        "patch_height": 8,
        "checkpoint_every": 5,
    },
    "reid": {
        "height": 32,
        "width": 16,
        "epochs": 24,
        "warmup_epochs": 1,
        "batch_size": 4,
        "checkpoint_every": 1,
    },
}
"""Params: some seconds of work in each stage, checkpoints some hundredths apart, on one core."""
STARTS = re.compile(r"^Running stage '(.+)':$", re.MULTILINE)
POLL_S = 0.01
PATIENCE_S = 900


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended: exit status, and what it said on both channels."""

    code: int
    said: str

    @property
    def clear(self) -> bool:
        """Whether it failed with sentences, and none of them a traceback."""
        return self.code != 0 and "Traceback" not in self.said and bool(self.said.strip())


class Running:
    """A command in a session of its own, whose output can be read while it runs.

    Args:
        blocks: of 512 bytes, which no file that it writes may exceed.
    """

    def __init__(self, folder: Path, *command: str, blocks: int | None = None) -> None:
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this is
        limit = ("sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh") if blocks else ()
        self.process = psutil.Popen(
            [*limit, *command],
            cwd=folder,
            env=environment(folder),
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    @property
    def said(self) -> str:
        """All that it has said so far."""
        size = os.fstat(self._log.fileno()).st_size
        # without moving the place where the command writes
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def wait_for(self, stage: str) -> bool:
        """Wait until DVC starts a stage; False if it ends without."""
        deadline = time.monotonic() + PATIENCE_S
        while stage not in STARTS.findall(self.said) and time.monotonic() < deadline:
            if self.process.poll() is not None:
                return stage in STARTS.findall(self.said)
            time.sleep(POLL_S)
        return True

    def wait(self) -> Done:
        """Wait until it has ended."""
        code = self.process.wait(PATIENCE_S)
        with self._log:
            return Done(code, self.said)


class Project:
    """A project's folder; its parent holds what DVC notes of files.

    Args:
        folder: of the project.
        last: the stage up to which it is run; "" for all.
    """

    def __init__(self, folder: Path, last: str = "") -> None:
        self.folder, self.last = folder, last

    @classmethod
    def made(cls, folder: Path, params: Mapping[str, object], last: str = "") -> Project:
        """A clone of the checked out code with these params, in which nothing has run."""
        folder.mkdir(parents=True, exist_ok=True)
        tracked = subprocess.run(
            ["git", "ls-files", "-z"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            check=True,
        ).stdout.split("\0")
        results = ("dvc.lock", "metrics/", "plots/", "docs/", "tests/", "benchmarks/")
        for name in filter(None, tracked):
            if not name.startswith(results):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        edit(folder / "params.yaml", params)
        for command in (
            ("git", "init", "-q"),
            ("git", "add", "-A"),
            ("git", *IDENTITY, "commit", "-qm", "tiny"),
        ):
            subprocess.run(command, cwd=folder, check=True)
        return cls(folder, last)

    def copy(self, name: str) -> Project:
        """A copy beside this one, of which DVC knows the size and time of each file."""
        other = Project(self.folder.parent / name / "project", self.last)
        shutil.copytree(self.folder, other.folder, symlinks=True)
        other.run("dvc", "status", "-q")
        return other

    def start(self, *command: str, blocks: int | None = None) -> Running:
        """Start a command; no file that it writes may be larger than `blocks` of 512 bytes."""
        return Running(self.folder, *command, blocks=blocks)

    def run(self, *command: str) -> Done:
        """Run a command to its end."""
        return self.start(*command).wait()

    def repro(self, *arguments: str) -> Done:
        """Run `dvc repro`: of the stage that the arguments name, or up to the last."""
        return self.run("dvc", "repro", *(arguments or filter(None, [self.last])))

    @property
    def lock(self) -> dict[str, dict[str, str]]:
        """Hash of each output in dvc.lock, by stage."""
        path = self.folder / "dvc.lock"
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (FileNotFoundError, yaml.YAMLError):
            return {}  # nothing has run, or a full disk has cut it off
        return {
            # a full disk may have cut off the last one
            stage: {out["path"]: out["md5"] for out in noted.get("outs") or () if out.get("md5")}
            for stage, noted in (content or {}).get("stages", {}).items()
            if noted
        }

    def stages_running(self) -> list[psutil.Process]:
        """Processes of stages in this project, whoever started them."""
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            line = process.info["cmdline"] or []
            stage = len(line) > 1 and line[1].startswith("stages/")
            if stage and process.info["cwd"] == str(self.folder):
                found.append(process)
        return found


IDENTITY = ("-c", "user.name=benchmark", "-c", "user.email=benchmark@example.org")


def environment(folder: Path) -> dict[str, str]:
    """This user's, but for what DVC notes of files: beside the project, on the same disk."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    own = {"PATH": path, "DVC_SITE_CACHE_DIR": str(folder.parent / "dvc-site")}
    return os.environ | own | {"DVC_NO_ANALYTICS": "1", "GIT_CONFIG_NOSYSTEM": "1"}


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[bool]:
    """Mount something at a folder; False where this user may not."""
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, str(folder)], capture_output=True, check=False)
    try:
        yield done.returncode == 0
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
