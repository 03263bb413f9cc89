"""Memory and threads that cannot be had: one sentence, whatever raised it, and nothing is lost."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT

from pyramid_reid import cli
from pyramid_reid.core.crops import CropStore
from pyramid_reid.core.errors import UserError, reason, shortage
from pyramid_reid.training.checkpoints import Checkpoints

MEMORY = "the memory is not enough; end other programs"
GPU = "the memory of the GPU is not enough; end other programs that use it"
THREADS = "no further thread or process can be started; end other programs, or raise the limit"

AS_WRITTEN = {
    # torch on the CPU: Linux, Windows, a map
    MEMORY: [
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate"
            " memory: you tried to allocate 4000000000000 bytes. Error code 12 (Cannot allocate"
            " memory)"
        ),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:116] data. DefaultCPUAllocator: not enough memory: you"
            " tried to allocate 4294967296 bytes."
        ),
        RuntimeError("unable to mmap 74 bytes from file <m.pth>: Cannot allocate memory (12)"),
        RuntimeError("std::bad_alloc"),
        MemoryError(),
        MemoryError("Allocation failed (probably too large)."),  # numba
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), "pixels.npy"),
        ValueError("Error tokenizing data. C error: out of memory"),  # pandas
        ImportError("libtorch_cpu.so: cannot map zero-fill pages: Cannot allocate memory"),
    ],
    GPU: [
        torch.OutOfMemoryError(
            "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 7.79 GiB"
            " of which 1.02 GiB is free."
        ),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously…"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError("HIP out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError(
            "NCCL error in: ProcessGroupNCCL.cpp:1691, unhandled cuda error\nLast error:\nCuda"
            " failure 2 'out of memory'"
        ),
    ],
    THREADS: [
        RuntimeError("can't start new thread"),
        BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),  # fork
        RuntimeError("Resource temporarily unavailable"),  # std::thread
    ],
}


@pytest.mark.parametrize(
    ("error", "sentence"), [(error, key) for key, errors in AS_WRITTEN.items() for error in errors]
)
def test_every_way_to_say_it_is_known(error, sentence):
    assert shortage(error).startswith(sentence)
    assert reason(error).startswith(sentence)
    outer = KeyError("around it")
    outer.__cause__ = error
    assert shortage(outer).startswith(sentence)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
        RuntimeError("Trying to backward through the graph a second time"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "out of memory/can't allocate"),
        BlockingIOError(errno.EAGAIN, "write could not complete without blocking"),
        KeyError("memory"),
    ],
)
def test_no_other_error_is_taken_for_it(error):
    assert shortage(error) is None


LIMITED = """
import resource, sys
import _stage
import mmap, threading
import numba, numpy as np, pandas, torch
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from pyramid_reid.core.errors import shortage

@numba.njit
def fill(size):
    return np.ones(size)

def threads():
    stop = threading.Event()
    try:
        while True:
            threading.Thread(target=stop.wait, daemon=True).start()
    finally:
        stop.set()

def in_a_thread():
    with ThreadPoolExecutor(1) as pool:
        pool.submit(torch.ones, 2**33).result()

def gradient():
    x = torch.ones(1, requires_grad=True)
    x.expand(2**33).sin().sum().backward()

def loaded():
    torch.load("big.pth", weights_only=True)

def mapped():
    torch.load("big.pth", weights_only=True, mmap=True)

TRIED = {
    "torch": lambda: torch.ones(2**33),
    "gradient": gradient,
    "in_a_thread": in_a_thread,
    "loaded": loaded,
    "mapped": mapped,
    "numpy": lambda: np.ones(2**33),
    "numba": lambda: fill(2**33),
    "python": lambda: bytearray(2**34),
    "mmap": lambda: mmap.mmap(-1, 2**34),
    "memmap": lambda: np.load("big.npy", mmap_mode="r"),
    "threads": threads,
}
fill(1)
torch.save(torch.zeros(2**26), "big.pth")
with open("big.npy", "wb") as file:
    header = {"descr": "|u1", "fortran_order": False, "shape": (2**33,)}
    np.lib.format.write_array_header_1_0(file, header)
    file.truncate(file.tell() + 2**33)
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + 2**27
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for name, work in TRIED.items():
    try:
        work()
    except Exception as error:
        print(name, type(error).__name__, "|", shortage(error), flush=True)
    else:
        print(name, "had it", flush=True)

_stage.NAME, sys.argv[0] = "train_reid h1", "stages/train_reid.py"
_stage.run(lambda params: TRIED["torch"]())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_what_libraries_raise_where_memory_is_limited(tmp_path):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    done = subprocess.run(
        [sys.executable, "-c", LIMITED],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'stages'}{os.pathsep}{ROOT / 'src'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    said = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert len(said) == 11, done.stdout + done.stderr
    assert said.pop("threads").startswith(f"RuntimeError | {THREADS}")
    assert {line.partition(" | ")[2] for line in said.values()} == {MEMORY}, said
    assert said["torch"].startswith("RuntimeError |")  # not MemoryError: only its text tells
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.endswith(
        f"train_reid h1: {MEMORY}, or lower reid.batch_size or reid.memory\n"
    )


def test_a_checkpoint_that_does_not_fit_into_memory_is_kept(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save({"epoch": 200})

    def scarce(*_, **__):
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        )

    with monkeypatch.context() as patch:
        patch.setattr(torch, "load", scarce)
        with pytest.raises(RuntimeError, match="can't allocate"):  # and not: None, start over
            checkpoints.load()
    assert checkpoints.load() == {"epoch": 200}


def test_a_crop_store_that_cannot_be_mapped_is_not_called_damaged(store, tmp_path, monkeypatch):
    def scarce(*_, **__):
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    monkeypatch.setattr(np.lib.format, "open_memmap", scarce)
    with pytest.raises(UserError, match=f"store cannot be opened: {MEMORY}$"):
        CropStore(tmp_path / "store")


def stage(folder, code):
    """Run code as a stage, in a folder with params."""
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "stages")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_stage_that_lacks_memory_while_it_is_loaded_says_so(tmp_path):
    done = stage(
        tmp_path, "import _stage; raise ImportError('libtorch.so: x: Cannot allocate memory')"
    )
    assert done.returncode == 1
    assert done.stderr == f"-c: {MEMORY}\n"


NO_FORK = """
import _stage, errno, os, subprocess

def refuse(*_, **__):
    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

subprocess.run = refuse
_stage.run(lambda params: "done")
"""


def test_a_stage_that_may_start_no_process_says_so(tmp_path):
    done = stage(tmp_path, NO_FORK)  # the first is Git, asked for the commit
    assert done.returncode == 1
    assert done.stderr.startswith(f"-c: {THREADS}")
    assert done.stderr.count("\n") == 1


def test_a_mistake_in_the_code_keeps_its_traceback(tmp_path):
    code = """
import _stage

def main(params):
    raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)")

_stage.run(main)
"""
    done = stage(tmp_path, code)
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert done.stderr.endswith("shapes cannot be multiplied (2x3 and 4x5)\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MemoryError(), MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), GPU),
        (RuntimeError("a mistake in the code"), None),
    ],
)
def test_a_command_says_in_one_line_what_is_short_and_hides_no_mistake(
    monkeypatch, capsys, error, said
):
    def runs_out(_):
        raise error

    monkeypatch.setattr(cli, "_compare", runs_out)
    monkeypatch.setattr("sys.argv", ["pyramid-reid", "compare", "a", "b"])
    if said is None:
        with pytest.raises(RuntimeError, match="a mistake"):
            cli.main()
        return
    assert cli.main() == 2
    assert capsys.readouterr().err == f"pyramid-reid compare: {said}\n"
