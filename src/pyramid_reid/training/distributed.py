"""One training on several processes: a thin layer over torch.distributed.

`torchrun` starts the same stage in every process. Each computes its part of every batch, gradients
are summed, and only the main process writes. With plain `python` there is one process, and these
functions do nothing.
"""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Annotated, TypeVar

import torch
from torch import Tensor, nn
from torch import distributed as dist

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.runtime import is_main, rank, world_size

T = TypeVar("T")

PATIENCE = timedelta(hours=6)
"""How long processes wait for each other: the main one may read a large set, or judge, alone. One
that dies is noticed at once, by its launcher."""


def join(device: torch.device) -> torch.device:
    """Join the other processes, if there are any, by gloo on the CPU and NCCL on GPUs.

    Args:
        device: cpu or cuda.

    Returns:
        The device of this process: with several GPUs, its own one.

    Raises:
        UserError: there are more processes than GPUs on this machine.
    """
    if world_size() == 1:
        return device
    if device.type == "cuda" and rank(local=True) >= torch.cuda.device_count():
        raise UserError(
            f"the launcher started more processes than the {torch.cuda.device_count()} GPU(s) of"
            " this machine; start one per GPU"
        )
    if device.type == "cuda":
        device = torch.device("cuda", rank(local=True))
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=PATIENCE)
    atexit.register(dist.destroy_process_group)
    return device


def wait() -> None:
    """Wait until every process has come here."""
    if world_size() > 1:
        dist.barrier()


@contextmanager
def main_first() -> Iterator[None]:
    """Let the main process run a block before the others, which then find what it wrote."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def own_part(rows: Annotated[Tensor, "B"]) -> slice:
    """The rows of a batch that this process makes, as even as can be.

    Args:
        rows: (B, ...), the same in every process.
    """
    return slice(len(rows) * rank() // world_size(), len(rows) * (rank() + 1) // world_size())


def add_up(values: Annotated[Tensor, "..."]) -> Annotated[Tensor, "..."]:
    """Sum a tensor over all processes, in place, to the same bytes in each."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values


def sum_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Sum the gradients of all processes; called between backward and the optimiser's step.

    The sum, not DistributedDataParallel's mean: a loss that each process divides by the size of
    the whole batch then gives the gradient of one process with that batch, however unevenly it is
    shared. As one vector in a fixed order, so that a training that is resumed gives the same bytes
    (DistributedDataParallel orders its buckets anew after the first batch).

    Args:
        parameters: in the same order in every process; one that takes no part in the loss here
            must take part in none of them.
    """
    if world_size() == 1:
        return
    gradients = [each.grad for each in parameters if each.grad is not None]
    flat = add_up(torch.cat([gradient.reshape(-1) for gradient in gradients]))
    parts = torch.split(flat, [gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def from_main(value: T) -> T:
    """What the main process passes, in every process (any object that pickle can write)."""
    if world_size() == 1:
        return value
    holder = [value]
    dist.broadcast_object_list(holder)
    return holder[0]
