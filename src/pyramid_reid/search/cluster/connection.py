"""Joining a Ray cluster, and what it offers."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from pyramid_reid.core.errors import UserError, reason

LOCAL = "local"
"""The address at which this machine becomes a cluster of its own, for as long as the command runs.
"""
OBJECTS = 2**29
"""Bytes for what processes of one machine hand each other, in a cluster of its own: lists of paths
and features, a few MB at a time."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one process gets of a machine.

    Attributes:
        cores, gpus: that Ray keeps free for it.
        number: of such processes that the cluster has room for now.
    """

    cores: int
    gpus: int
    number: int


def ray_module() -> Any:
    """The module `ray`, with `ray.data`.

    Raises:
        UserError: it is not installed.
    """
    for name in ("ray", "lance_ray"):
        if find_spec(name) is None:
            raise UserError(
                f"--ray needs the extra `cluster`, of which {name} is not installed: run `uv pip"
                " install 'pyramid-reid[cluster]'`, or the same with pip, on every machine of the"
                " cluster"
            )
    # Ray reports what its own library for data does as an error
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    import ray
    import ray.data

    return ray


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """Be a driver of a cluster; before anything else that starts threads, which no fork survives.

    Args:
        address: `local`; `auto`, the cluster that this machine belongs to; or `HOST:PORT` of the
            head of such a cluster.

    Yields:
        The module `ray`.

    Raises:
        UserError: Ray is not installed, or the cluster cannot be joined or is lost.
    """
    if "://" in address:
        raise UserError(
            f"--ray {address}: give auto, local or HOST:PORT, on a machine of the cluster; from"
            " elsewhere send the whole command by `ray job submit`"
        )
    with redirect_stdout(sys.stderr):  # where Ray says of a lost worker what it says
        yield from _joined(address)


def _joined(address: str) -> Iterator[Any]:
    ray = ray_module()
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read by what `local` starts
    own = {"include_dashboard": False, "object_store_memory": OBJECTS} if address == LOCAL else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **own)
    except Exception as error:  # Ray has no class of its own for what may happen here
        raise UserError(
            f"--ray {address}: no cluster answers ({reason(error)}): start one with `ray start"
            " --head --disable-usage-stats`, and give auto"
        ) from error
    try:
        quiet(ray)
        yield ray
    except ray.exceptions.RayTaskError:
        raise  # a mistake in the code of a worker: its own lines say where
    except ray.exceptions.RayError as error:
        raise UserError(
            f"the cluster at {address} failed ({reason(error)}): once it runs, the same command"
            " goes on with the rest"
        ) from error
    finally:
        ray.shutdown()


def quiet(ray: ModuleType) -> None:
    """Let Ray Data print nothing beside the command's own bar."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def check_device(device: str) -> None:
    """Check that processes of a cluster can have a device: Ray picks the GPU of each.

    Raises:
        UserError: it is one GPU of several.
    """
    if device not in ("cpu", "cuda"):
        raise UserError(
            f"--device {device}: with --ray each process gets the GPU that Ray picks for it: give"
            " cuda"
        )


def share(ray: ModuleType, device: str) -> Share:
    """What each process gets: a core, or a GPU with its part of the cores.

    Raises:
        UserError: the cluster has no such device.
    """
    there = ray.cluster_resources()
    cores, gpus = int(there.get("CPU", 0)), int(there.get("GPU", 0))
    if device == "cpu":
        if not cores:
            raise UserError("the cluster has no cores (its machines were started with 0)")
        return Share(1, 0, cores)
    if not gpus:
        raise UserError(f"--device {device}: the cluster has no GPU; leave --device out")
    return Share(max(1, cores // gpus), 1, gpus)


@cache
def code() -> str:
    """What is the same on two machines only if they run the same code of this package."""
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
