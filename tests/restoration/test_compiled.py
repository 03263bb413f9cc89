import os
import platform
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyramid_reid.restoration.kernels.compiled import exp2
from pyramid_reid.restoration.kernels.gelu import GELU

# Outputs and gradients of all that is compiled.
EVERYTHING = """
import hashlib, torch
from pyramid_reid.restoration.network.swinir import SwinBlock
from pyramid_reid.restoration.kernels.winograd import Conv3x3

torch.manual_seed(0)
sha = hashlib.sha256()
for layer, x in (
    (SwinBlock(20, 2, 4), torch.randn(1, 16, 16, 20)),
    (Conv3x3(20, 17), torch.randn(1, 20, 7, 9)),
):
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
                text=True,
            )
        )
    digests = {run.communicate()[0] for run in runs}
    assert len(digests) == 1
    assert len(digests.pop()) == 65


@settings(deadline=None)  # compiles at the first call
@given(st.floats(-125, 0, width=32))
def test_powers_of_two(x):
    assert exp2(np.float32(x)) == pytest.approx(2.0**x, rel=2e-7)


def test_less_than_the_smallest_power_is_the_smallest():
    assert exp2(np.float32(-1e30)) == 2.0**-125


def test_gelu_and_its_gradient_are_torch_s():
    x = torch.cat([torch.linspace(-8, 8, 4001), torch.tensor([-1e4, -30, 30, 1e4])])
    g = torch.cos(torch.arange(len(x)))
    results = []
    for activation, dtype in ((GELU(), torch.float32), (torch.nn.GELU(), torch.float64)):
        x_ = x.to(dtype).requires_grad_()
        y = activation(x_)
        results.append((y, *torch.autograd.grad(y, x_, g.to(dtype))))
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours, exact.float(), atol=1e-6, rtol=1e-6)
