"""Fail when dvc.lock does not belong to the code and params that are checked out."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "src"))

from pyramid_reid.core import printing

printing.end_when_lost()
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
    sys.exit("dvc.lock is not true to code and params: run `make repro` and commit dvc.lock")
print("dvc.lock is true to code and params")
