import subprocess
import sys


def test_threads_of_torch_compute_without_subnormal_numbers():
    words = [sys.executable, "-c", PROGRAM]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ran.stdout.split() == ["subnormal", "0", "0", "0", "normal"], ran.stderr


PROGRAM = """
from concurrent.futures import ThreadPoolExecutor

from pyramid_reid.core.runtime import start_torch
import torch

of_torch = torch.full((1 << 20,), 2e-38)  # so many are shared out among torch's threads

def halves(numbers):
    return numbers * 0.25

print("subnormal" if halves(of_torch[:1]).item() else "0")
start_torch("cpu", 2)
print("0" if halves(of_torch[:1]).view(torch.int32).item() == 0 else "subnormal")
print("0" if halves(of_torch).view(torch.int32).count_nonzero() == 0 else "subnormal")
with ThreadPoolExecutor(1) as pool:
    bits = pool.submit(lambda: halves(of_torch[:1]).view(torch.int32).item()).result()
print("0" if bits == 0 else "subnormal")
print("normal" if torch.equal(of_torch * 2, torch.full_like(of_torch, 4e-38)) else "not exact")
"""
