"""Run the committed pipeline from nothing and fail when it gives other bytes than are committed."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402

RESULTS = ("dvc.lock", "metrics", "plots")
ELSEWHERE = {"LC_ALL": "C", "TZ": "Pacific/Chatham", "PYTHONHASHSEED": "7"}
"""Another user's environment, which must not matter."""

printing.end_when_lost()
if not (ROOT / ".git").exists():
    sys.exit(
        "verify: nothing is committed here, as this is no Git repository: clone the project, or run"
        " `make repro` and `git init && git add -A && git commit`"
    )
with tempfile.TemporaryDirectory() as folder:
    project = Path(folder) / "project"
    subprocess.run(["git", "clone", "-q", ROOT, project], check=True)
    subprocess.run(["dvc", "repro"], cwd=project, check=True, env=os.environ | ELSEWHERE)
    changed = ["git", "diff", "--exit-code", "--stat", "--", *RESULTS]
    if subprocess.run(changed, cwd=project, check=False).returncode:
        environment = os.environ | {"PYTHONPATH": str(project / "src")}
        compare = [sys.executable, "-m", "pyramid_reid", "compare", "HEAD", "."]
        subprocess.run(compare, cwd=project, env=environment, check=False)
        sys.exit("a clone of HEAD gives other bytes than are committed")
print("a clone of HEAD gives the committed bytes")
