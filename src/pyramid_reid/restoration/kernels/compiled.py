"""Compilation of loops over arrays, for what torch's operators do slowly on a CPU."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numba import config, njit

from pyramid_reid.core.errors import DAMAGED, shortage

Function = TypeVar("Function", bound=Callable[..., object])

# A product and the sum behind it may be rounded once, and the sign of a zero be lost. Nothing may
# be summed in another order, so the bytes are the same for every width of vectors.
ARITHMETIC = {"contract", "nsz"}

# What numba keeps of a function is outdated when the function's own file changes. What this one
# gives goes into functions of other files: they are kept in a folder of each state of it.
_STATE = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
_kept = Path(config.CACHE_DIR or Path(__file__).parent / "__pycache__")  # type: ignore[attr-defined]
config.CACHE_DIR = str(_kept / _STATE)  # type: ignore[attr-defined]


def compiled(function: Function) -> Function:
    """Compile a function of NumPy arrays and numbers at its first call, and keep it on the disk.

    It runs without Python's lock, so that several threads can be in it, and does not check indices.
    """
    compile_ = partial(njit, nogil=True, error_model="numpy", fastmath=ARITHMETIC)
    try:
        kept = compile_(cache=True)(function)
    except RuntimeError:  # no folder can be written to: each process compiles for itself
        return cast("Function", compile_()(function))
    # numba has no public way to it
    _compile_where_damaged(kept._cache)  # type: ignore[attr-defined]  # noqa: SLF001
    return cast("Function", kept)


def _compile_where_damaged(cache: Any) -> None:
    """Let numba's cache of a function forget what it cannot read.

    A machine that goes down may cut its files off, and numba (0.68) would stop there each time.
    """
    load = cache.load_overload

    def load_or_forget(*arguments: object) -> object:
        try:
            return load(*arguments)
        except (*DAMAGED, AttributeError, pickle.UnpicklingError) as error:
            if shortage(error):
                raise
            cache.flush()
            return None

    cache.load_overload = load_or_forget


def inlined(function: Function) -> Function:
    """The same for a short function that compiled ones call."""
    compile_ = njit(inline="always", error_model="numpy", fastmath=ARITHMETIC)
    return cast("Function", compile_(function))


f32 = np.float32

LOG2_E = f32(np.log2(np.e))
"""e^x is 2^(x LOG2_E)."""

# 2^x = 2^n 2^r, n the nearest integer, which the sum with 1.5 * 2^23 leaves in the lowest bits. The
# polynomial is that of Cephes' exp2f (S. Moshier, www.netlib.org/cephes).
_ROUND = f32(12582912.0)
_P0, _P1, _P2 = f32(1.535336188319500e-4), f32(1.339887440266574e-3), f32(9.618437357674640e-3)
_P3, _P4, _P5 = f32(5.550332471162809e-2), f32(2.402264791363012e-1), f32(6.931472028550421e-1)
_SMALLEST = f32(-125)  # the power of less would not be a normal number


@inlined
def exp2(x: f32) -> f32:
    """2^x of a float32 x <= 0, 2^-125 at least, to a relative error below 2e-7.

    LLVM has no vectors of exponentials of its own.
    """
    x = max(x, _SMALLEST)
    shifted = x + _ROUND
    r = x - (shifted - _ROUND)
    p = (((((_P0 * r + _P1) * r + _P2) * r + _P3) * r + _P4) * r + _P5) * r + f32(1)
    bits = f32(p).view(np.int32) + (f32(shifted).view(np.int32) << 23)
    return np.int32(bits).view(np.float32)
