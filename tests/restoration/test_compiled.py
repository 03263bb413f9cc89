import os
import platform
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyramid_reid.restoration.kernels.compiled import exp2

# Outputs and gradients of all that is compiled.
EVERYTHING = """
import hashlib, torch
from pyramid_reid.restoration.kernels.window_attention import windowed_attention
from pyramid_reid.restoration.kernels.winograd import Conv3x3

torch.manual_seed(0)
sha = hashlib.sha256()
qkv, bias = torch.randn(1, 16, 16, 60), torch.randn(2, 64, 64)
sha.update(windowed_attention(qkv, bias, None, 4, 0.3).numpy().tobytes())
layer, x = Conv3x3(20, 17), torch.randn(1, 20, 7, 9)
y = layer(x.requires_grad_())
for each in (y, *torch.autograd.grad(y.sin().sum(), (x, *layer.parameters()))):
    sha.update(each.detach().numpy().tobytes())
print(sha.hexdigest())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names instruction sets of x86")
def test_bytes_do_not_depend_on_the_width_of_vectors(tmp_path):
    runs = []
    for features in (None, "+avx2,+fma", "+avx2,+fma,+prefer-128-bit"):
        environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / str(features))}
        if features:
            environment |= {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features}
        runs.append(
            subprocess.Popen(
                [sys.executable, "-c", EVERYTHING],
                env=environment | {"OMP_NUM_THREADS": "1"},
                stdout=subprocess.PIPE,
                encoding="utf-8",
            )
        )
    digests = {run.communicate()[0] for run in runs}
    assert len(digests) == 1
    assert len(digests.pop()) == 65


ONE = """
import torch
from pyramid_reid.restoration.kernels.winograd import transformed

print(transformed(torch.linspace(-1, 1, 36).view(2, 2, 3, 3)).square().sum().item())
"""


def test_what_is_kept_of_compiled_loops_may_be_damaged(tmp_path):
    def run():
        done = subprocess.run(
            [sys.executable, "-c", ONE],
            env=os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    first, files = run(), [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".nbi", ".nbc"}
    for suffix, content in ((".nbi", b""), (".nbc", b"\0" * 500)):
        for path in files:
            if path.suffix == suffix:
                path.write_bytes(content)
        assert run() == first
        assert all(path.read_bytes() not in (b"", content) for path in files)  # kept once more


@settings(deadline=None)  # compiles at the first call
@given(st.floats(-125, 0, width=32, allow_subnormal=False))  # which torch has flushed here
@example(-1e-40)
def test_powers_of_two(x):
    assert exp2(np.float32(x)) == pytest.approx(2.0**x, rel=2e-7)


def test_less_than_the_smallest_power_is_the_smallest():
    assert exp2(np.float32(-1e30)) == 2.0**-125
