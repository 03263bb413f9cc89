"""A Ray cluster of two machines on loopback, each of processes of its own, with a core.

A process beside the one that uses it starts and ends them, by what it reads: `join`, `leave`.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "src"))

from pyramid_reid.core import printing  # noqa: E402

OBJECTS = 80 * 2**20
"""Bytes for objects of a machine; Ray takes no less."""
ENDS_S = 60
ATTEMPTS = 3
"""To start them: Ray gives up after 30 s, which a busy computer may need."""


class Machines:
    """A head and a further machine; a context manager, which ends them.

    Attributes:
        address: for --ray.
    """

    def __init__(self) -> None:
        """Start both.

        Raises:
            RuntimeError: they do not start.
        """
        for _ in range(ATTEMPTS):
            self._process = _started()
            if address := self._answer():
                self.address = address
                return
            _end(self._process)
        raise RuntimeError("the machines did not start: what Ray says stands above")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _end(self._process)

    def join(self) -> None:
        """Let a further machine join."""
        self._ask("join")

    def leave(self) -> None:
        """Kill the further machine, as if its power was cut."""
        self._ask("leave")

    def _ask(self, what: str) -> None:
        print(what, file=self._process.stdin, flush=True)
        if self._answer() is None:
            raise RuntimeError(f"the machines cannot {what}: what Ray says stands above")

    def _answer(self) -> str | None:
        """What stands behind the next `DONE`, or None where they ended."""
        for line in self._process.stdout or ():
            if line.startswith(DONE):
                return line.removeprefix(DONE).strip()
        return None


def _started() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "RAY_USAGE_STATS_ENABLED": "0"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def _end(process: subprocess.Popen[str]) -> None:
    """Let the machines end, and kill what is left of them."""
    with suppress(BrokenPipeError, subprocess.TimeoutExpired):
        process.communicate(timeout=ENDS_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


DONE = "done "
PORTS = (
    "metrics_agent_port",
    "metrics_export_port",
    "dashboard_agent_listen_port",
    "runtime_env_agent_port",
)


def machine(**further: object) -> dict[str, object]:
    """What a machine is started with.

    Ports of what Ray starts beside it are chosen here: it would wait for those that are chosen
    there, for 15 s alone, which a busy computer may need.
    """
    with ExitStack() as stack:
        free = [stack.enter_context(socket.socket()) for _ in PORTS]
        for one in free:
            one.bind(("", 0))
        ports = {name: one.getsockname()[1] for name, one in zip(PORTS, free, strict=True)}
    return {"num_cpus": 1, "object_store_memory": OBJECTS, **ports, **further}


def main() -> None:
    """Be the machines."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        cluster.add_node(**machine(include_dashboard=False))
        other = cluster.add_node(**machine())
        print(DONE, cluster.address, flush=True)
        for line in sys.stdin:
            if line.strip() == "join":
                other = cluster.add_node(**machine())
            else:
                cluster.remove_node(other, allow_graceful=False)
            print(DONE, flush=True)
    finally:
        cluster.shutdown()


if __name__ == "__main__":
    printing.survive()
    main()
