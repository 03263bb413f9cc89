"""Fill pages of the documentation with the real output of the commands that they show.

A block of output follows a line `<!-- output of: COMMAND -->`; this runs COMMAND in the project's
root and replaces the block. Run it in a clone where `make repro` has finished:

    python docs/fill.py README.md docs/protocols.md
    python docs/fill.py --only benchmarks.datasets.watch docs/datasets.md
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402

LOST = 128 + 13
"""Exit status of a program whose reader has gone, such as `head`."""
BLOCK = re.compile(
    r"(?P<head><!-- output of: (?P<command>[^\n]+) -->\n+```(?P<language>\w+)\n)(?P<body>.*?)```\n",
    re.DOTALL,
)


def output_of(command: str) -> str:
    """What a command prints, without trailing blanks, blank ends and progress bars."""
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},  # the pages are the same in every locale
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    if done.returncode not in (0, LOST):
        sys.exit(f"{command!r} failed")
    lines = [line.rstrip() for line in done.stdout.replace("\r", "\n").splitlines()]
    return "\n".join(lines).strip("\n") + "\n"


def main() -> None:
    """Rewrite the pages that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--only", default="", metavar="TEXT", help="of commands that hold it")
    arguments = parser.parse_args()

    def filled_in(match: re.Match[str]) -> str:
        if arguments.only not in match["command"]:
            return match[0]
        return f"{match['head']}{output_of(match['command'])}```\n"

    for path in arguments.pages:
        text = path.read_text(encoding="utf-8")
        filled = BLOCK.sub(filled_in, text)
        path.write_text(filled, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    printing.end_when_lost()
    main()
