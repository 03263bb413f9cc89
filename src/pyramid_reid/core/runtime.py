"""Settings for reproducible bytes: threads, instruction sets, deterministic algorithms.

Nothing here imports NumPy or torch at module level: they read the variables when they load.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import sys
from typing import TYPE_CHECKING

from pyramid_reid.core.errors import UserError

if TYPE_CHECKING:
    import torch

INSTRUCTION_SETS = {
    # Sums are grouped by vector width: a network trained with AVX-512 differs in its last bits
    # from one trained with AVX2, and after some epochs in its metrics.
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    # Intel processors take MKL's AVX2 path; AMD's take it anyway and ignore this. COMPATIBLE,
    # which is the same on both, makes matrix products 2.4 times slower.
    "MKL_CBWR": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",
    # cuBLAS is deterministic only with a fixed workspace.
    "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# Of glibc's <malloc.h>: how many blocks may be mapped by themselves; how much may be free (-1:
# all); how many heaps there may be
M_MMAP_MAX, M_TRIM_THRESHOLD, M_ARENA_MAX = -4, -1, -8


def pin_environment(threads: int) -> None:
    """Fix the number of CPU threads and the instruction sets, before NumPy or torch is loaded."""
    os.environ.update(INSTRUCTION_SETS)
    for name in THREADS:
        os.environ[name] = str(threads)
    # Threads that wait spin for some microseconds, then sleep. By default they spin for so long
    # that one other busy process makes a training on all cores tens of times slower.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    os.environ["OMP_DYNAMIC"] = os.environ["MKL_DYNAMIC"] = "FALSE"


def world_size() -> int:
    """Number of processes that the launcher started; 1 for plain `python`."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank(*, local: bool = False) -> int:
    """Number of this process among all, or among those of its machine; from 0."""
    return int(os.environ.get("LOCAL_RANK" if local else "RANK", "0"))


def is_main() -> bool:
    """Whether this is the process that writes and reports."""
    return rank() == 0


def derive_seed(seed: int, *purpose: str) -> int:
    """An independent seed for each purpose, such as the weights of one branch in one split.

    Args:
        seed: of the whole pipeline.
        purpose: any words.

    Returns:
        A number in [0, 2**63), the same on every machine.
    """
    text = "/".join([str(seed), *purpose])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def keep_freed_memory(*, of_all_threads: bool = False) -> None:
    """Let this process keep large blocks that it frees, for the next ones of their size.

    glibc hands them back to the kernel, which clears every page again at the next step: 2 to 8 % of
    a training's time (`benchmarks.kernels.ablation`). The peak is the same. Other C libraries do
    otherwise and know no such setting.

    Args:
        of_all_threads: keep those of further threads, too, whose heaps glibc gives back whatever
            else is set: all threads started from now on allocate from one heap.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)
        if of_all_threads:
            mallopt(M_ARENA_MAX, 1)


def start_torch(device: str, threads: int) -> torch.device:
    """Deterministic torch on the named device with a fixed number of threads.

    Raises:
        UserError: `device` is cuda and there is no usable GPU.
    """
    import torch

    keep_freed_memory()
    # A weight that decays towards 0 becomes a subnormal number, with which Intel processors compute
    # many times slower: here it is 0. Threads that are started from now on take this over (POSIX).
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    # use_deterministic_algorithms, without the second that it takes to import torch's compiler
    torch.set_deterministic_debug_mode("error")
    # nothing here reads memory before it is written; filling all of it first only costs time
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda, but torch finds no GPU; set device: cpu")
    return torch.device(device)
