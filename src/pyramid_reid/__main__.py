"""Tools beside the stages of the pipeline.

    pyramid-reid compare A B

names the first stage whose bytes differ between two runs, and by how much their figures do. A and
B are folders with a dvc.lock, Git revisions, or names of experiments. Like `diff`, it ends with 0
when all outs are the same, with 1 when some differ, and with 2 when it cannot tell.
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from pyramid_reid.compare import differences
from pyramid_reid.compare.runs import read
from pyramid_reid.core.errors import UserError


def main() -> int:
    """Run the tool that the command line names; the number to end with."""
    parser = argparse.ArgumentParser(
        prog="pyramid-reid", description=(__doc__ or "").splitlines()[0]
    )
    tools = parser.add_subparsers(required=True)
    tool = tools.add_parser("compare", help="the first stage whose bytes differ between two runs")
    for name in ("a", "b"):
        tool.add_argument(name, help="folder with a dvc.lock, Git revision, or experiment")
    given = parser.parse_args()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it without a traceback
    try:
        ours, theirs = (read(name, Path()) for name in (given.a, given.b))
    except UserError as error:
        print(f"pyramid-reid compare: {error}", file=sys.stderr)
        return 2
    for part in (differences.first_stage, differences.figures, differences.records):
        print("\n".join(part(ours, theirs)))
    return 1 if differences.changed_stages(ours, theirs) else 0


if __name__ == "__main__":
    sys.exit(main())
