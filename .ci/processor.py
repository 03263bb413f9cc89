"""Note on which kind of processor a new dvc.lock was made: another kind rounds otherwise."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

try:
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", "dvc.lock"]
    changed = subprocess.run(command, cwd=ROOT, capture_output=True, check=False).stdout
except FileNotFoundError:
    sys.exit()  # without Git nothing is committed
if changed:
    from pyramid_reid.core.provenance import processor

    (ROOT / ".ci" / "processor.txt").write_text(f"{processor()}\n", encoding="utf-8")
