"""Fail when dvc.lock does not belong to the code and params that are checked out, or to one run."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from pyramid_reid.core import printing

REMEDY = "run `make repro` and commit dvc.lock"


def torn(lock: Mapping[str, Any]) -> list[str]:
    """Files that a stage read in another state than the one that the lock says another made.

    `dvc repro --dry --allow-missing` asks for none of them: in a fresh clone they are missing.
    """
    made = {
        out["path"]: out["md5"]
        for stage in lock["stages"].values()
        for out in stage.get("outs", ())
    }
    return [
        f"{name} read another {dep['path']} than was made"
        for name, stage in lock["stages"].items()
        for dep in stage.get("deps", ())
        if made.get(dep["path"], dep["md5"]) != dep["md5"]
    ]


def main() -> None:
    """Check, and say what is wrong."""
    lock = yaml.safe_load(Path("dvc.lock").read_text(encoding="utf-8"))
    if several := torn(lock):
        print("\n".join(several))
        sys.exit(f"dvc.lock is of several runs: {REMEDY}")
    done = subprocess.run(
        ["dvc", "repro", "--dry", "--allow-missing"],
        capture_output=True,
        encoding="utf-8",
        errors="backslashreplace",
        check=False,
    )
    stale = [line for line in done.stdout.splitlines() if "Running stage" in line]
    if done.returncode or stale or "up to date" not in done.stdout:
        print(done.stdout, done.stderr, sep="\n")
        sys.exit(f"dvc.lock is not true to code and params: {REMEDY}")
    print("dvc.lock is true to code and params")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
