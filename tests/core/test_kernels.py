import torch

from pyramid_reid.core.kernels import torch_only, use_kernels


def test_kernels_are_for_float32_on_a_cpu():
    x = torch.zeros(1)
    assert use_kernels(x)
    assert not use_kernels(x.double())
    assert not use_kernels(x.to("meta"))
    with torch.autocast("cpu", torch.bfloat16):
        assert not use_kernels(x)


def test_the_switch_is_as_before_when_it_is_left():
    x = torch.zeros(1)
    with torch_only():
        with torch_only():
            assert not use_kernels(x)
        assert not use_kernels(x)
    assert use_kernels(x)
