"""Peak memory of a process itself."""

from __future__ import annotations

import re
from pathlib import Path


def peak_memory() -> float:
    """The most memory that this process has held so far, in GiB (Linux).

    Not getrusage's, which starts at the size of the process that started this one.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    (kib,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
    return int(kib) / 2**20
