"""Run the committed pipeline from nothing, and fail when its bytes cannot be had again.

On the kind of processor that dvc.lock was made on (processor.txt) they must be the committed ones.
On another kind the networks round otherwise: there a second clone must give the bytes of the first,
and the stages before any network those that are committed.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

import yaml  # noqa: E402

from pyramid_reid.core import printing  # noqa: E402
from pyramid_reid.core.provenance import processor  # noqa: E402

RESULTS = ("dvc.lock", "metrics", "plots")
ELSEWHERE = {"LC_ALL": "C", "TZ": "Pacific/Chatham", "PYTHONHASHSEED": "7"}
"""Another user's environment, which must not matter."""
WITHOUT_NETWORKS = ("download", "simulate")


def run(project: Path) -> None:
    """The pipeline of HEAD, in a clone of its own."""
    subprocess.run(["git", "clone", "-q", ROOT, project], check=True)
    # --force: a cache that the user shares between projects would have what it ran before
    command = ["dvc", "repro", "--force"]
    subprocess.run(command, cwd=project, check=True, env=os.environ | ELSEWHERE)


def committed(path: str) -> str:
    """A file of HEAD, whatever is in the working tree."""
    show = ["git", "show", f"HEAD:{path}"]
    return subprocess.run(show, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout


def outs(lock: str) -> dict[str, Any]:
    """Per stage, the hashes of what it wrote."""
    return {
        name: {out["path"]: out["md5"] for out in stage["outs"]}
        for name, stage in yaml.safe_load(lock)["stages"].items()
    }


def compare(project: Path, other: str) -> None:
    """Say what differs."""
    environment = os.environ | {"PYTHONPATH": str(project / "src")}
    command = [sys.executable, "-m", "pyramid_reid", "compare", other, "."]
    subprocess.run(command, cwd=project, env=environment, check=False)


def verify(folder: Path) -> str:
    """What came out; ends the program where bytes differ that must not."""
    first, second = folder / "first", folder / "second"
    run(first)
    changed = ["git", "diff", "--exit-code", "--stat", "--", *RESULTS]
    if not subprocess.run(changed, cwd=first, check=False).returncode:
        return "a clone of HEAD gives the committed bytes"
    compare(first, "HEAD")
    there, here = outs(committed("dvc.lock")), outs((first / "dvc.lock").read_text())
    made_on = committed(".ci/processor.txt").strip()
    alike = all(there.get(stage) == here.get(stage) for stage in WITHOUT_NETWORKS)
    if processor() == made_on or not alike:
        sys.exit("a clone of HEAD gives other bytes than are committed")
    run(second)
    if outs((second / "dvc.lock").read_text()) != here:
        compare(second, str(first))
        sys.exit("two clones of HEAD give different bytes")
    return (
        f"two clones of HEAD give the same bytes; those of dvc.lock are of another processor:"
        f" {made_on}, not {processor()}"
    )


def main() -> None:
    """Verify, and say what came out."""
    printing.end_when_lost()
    if not (ROOT / ".git").exists():
        sys.exit(
            "verify: nothing is committed here, as this is no Git repository: clone the project, or"
            " run `make repro` and `git init && git add -A && git commit`"
        )
    with tempfile.TemporaryDirectory() as temporary:
        print(verify(Path(temporary)))


if __name__ == "__main__":
    main()
