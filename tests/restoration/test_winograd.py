import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pyramid_reid.restoration.kernels import winograd
from pyramid_reid.restoration.kernels.winograd import Conv3x3


def image(*shape, seed=0):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return x.contiguous(memory_format=torch.channels_last)


def layer(channels=16, outputs=16):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Conv3x3(channels, outputs)


def close(ours, exact):
    return (ours - exact).norm() <= 1e-5 * exact.norm()


sides, channels = st.integers(1, 14), st.integers(16, 37)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3), channels, channels, sides, sides, st.sampled_from([1, 2**12, 2**19]))
def test_it_is_the_convolution_and_its_gradients(batch, inputs, outputs, height, width, at_once):
    x, g = image(batch, inputs, height, width), image(batch, outputs, height, width, seed=2)
    ours = layer(inputs, outputs)
    exact = [each.detach().double().requires_grad_() for each in (x, ours.weight, ours.bias)]
    expected = F.conv2d(*exact, padding=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(winograd, "AT_ONCE", at_once)  # a row of tiles at a time, some, or all
        y = ours(x.requires_grad_())
        gradients = torch.autograd.grad(y, (x, ours.weight, ours.bias), g)
    assert close(y, expected)
    for ours_, theirs in zip(
        gradients, torch.autograd.grad(expected, exact, g.double()), strict=True
    ):
        assert close(ours_, theirs)


def test_one_tap_moves_the_image_and_brings_in_zeros():
    conv = layer()
    torch.nn.init.zeros_(conv.bias)
    x = image(2, 16, 9, 6)
    for row in range(3):
        for column in range(3):
            torch.nn.init.zeros_(conv.weight)
            conv.weight.data[range(16), range(16), row, column] = 1
            moved = F.pad(x, (1, 1, 1, 1))[:, :, row : row + 9, column : column + 6]
            torch.testing.assert_close(conv(x), moved, atol=5e-5, rtol=0)


def test_a_wrong_number_of_channels_is_an_error():
    with torch.no_grad(), pytest.raises(ValueError, match="17 channels for a convolution of 16"):
        layer()(image(1, 17, 5, 5))


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("inputs", [3, 16])
def test_a_mask_is_a_factor_of_the_result(grad, inputs):
    conv, x = layer(inputs), image(2, inputs, 6, 7)
    mask = (image(2, 1, 6, 7, seed=5) > 0).float()
    with torch.set_grad_enabled(grad):
        torch.testing.assert_close(conv(x, mask), conv(x) * mask)


def test_few_channels_and_other_types_are_torch_s():
    for conv, x in (
        (layer(3), image(1, 3, 6, 7)),
        (layer(16, 3), image(1, 16, 6, 7)),
        (layer().double(), image(1, 16, 6, 7).double()),
    ):
        torch.testing.assert_close(
            conv(x), F.conv2d(x, conv.weight, conv.bias, padding=1), atol=0, rtol=0
        )


def test_any_memory_format_will_do():
    conv, x = layer(), image(2, 16, 6, 7)
    torch.testing.assert_close(conv(x.contiguous()), conv(x), atol=0, rtol=0)
    y = conv(x.requires_grad_())
    one, other = (torch.autograd.grad(y, x, g, retain_graph=True) for g in (y.contiguous(), y))
    torch.testing.assert_close(one, other, atol=0, rtol=0)
