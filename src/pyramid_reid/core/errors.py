"""The exception whose message users read, and the exceptions it is made from."""

import re
import struct
import tokenize
import zipfile
import zlib

DAMAGED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    EOFError,
    SyntaxError,
    RuntimeError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy, pandas, Pillow and torch raise for files that are missing, damaged or hostile."""
LONGEST = 200
"""Characters of what another library says of an error."""


OF_GPU = re.compile(
    r"\b(CUDA|CUBLAS|CUDNN|CUSOLVER|CUSPARSE|CUFFT|HIP|NCCL)\w*\b.*(out of memory|OUT_OF_MEMORY)"
    r"|\bCU\w+_(ALLOC_FAILED|OUT_OF_MEMORY)\b|_DEVICE_ALLOCATION_FAILED\b",
    re.IGNORECASE | re.DOTALL,
)
"""What torch, CUDA and its libraries say where the GPU has no memory left."""
OF_HOST = re.compile(
    r"can't allocate memory|cannot allocate memory|DefaultCPUAllocator: not enough memory"
    r"|std::bad_alloc|\bbad allocation\b|\bout of memory\b",
    re.IGNORECASE,
)
"""The same of the machine: of torch's allocator, C++, system calls, the loader, and pandas."""
OF_THREADS = re.compile(r"can't start new thread|Resource temporarily unavailable")


def shortage(error: BaseException) -> str | None:
    """What the machine is short of, and what to do; None where an error has another cause.

    Memory that cannot be had is a MemoryError of Python, NumPy and numba, an OSError of a map, and
    a plain RuntimeError of torch, where only the text tells it from a mistake in the code.
    """
    # of a system call only what it says itself: a path behind it may hold any words
    said = getattr(error, "strerror", None) or str(error)
    if OF_GPU.search(said):
        return "the memory of the GPU is not enough; end other programs that use it"
    if isinstance(error, MemoryError) or OF_HOST.search(said):
        return "the memory is not enough; end other programs"
    if OF_THREADS.search(said):
        return (
            "no further thread or process can be started; end other programs, or raise the limit"
            " (ulimit -u, or that of the container)"
        )
    return shortage(error.__cause__) if error.__cause__ else None


class UserError(Exception):
    """Something outside the code is wrong: data, params or machine.

    The message is one sentence or two that name the offender and the remedy. Stages print it
    without a traceback.
    """


def reason(error: BaseException) -> str:
    """What an error of another library says, in one line of bounded length."""
    if missing := shortage(error):
        return missing
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
