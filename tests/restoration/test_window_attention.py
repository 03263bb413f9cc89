import pytest
import torch
from timm.models.swin_transformer import SwinTransformerBlock

from pyramid_reid.core.kernels import torch_only
from pyramid_reid.restoration.kernels.window_attention import windowed_attention
from pyramid_reid.restoration.network import swinir
from pyramid_reid.restoration.network.swinir import SwinBlock


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def block(dim, heads, shift):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = SwinBlock(dim, heads, shift)
        torch.nn.init.normal_(made.attn.relative_position_bias_table)
    return made


@torch.inference_mode()
@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize(
    ("dim", "heads", "size"),
    [(8, 2, (24, 16)), (16, 2, (8, 8)), (15, 3, (8, 24)), (60, 6, (16, 8)), (30, 1, (16, 16))],
)
def test_a_block_is_timm_s(dim, heads, size, shift):
    ours, x = block(dim, heads, shift), 3 * random(2, *size, dim)
    y = ours(x)
    exact = ours.double()(x.double())  # in float64 all is timm's and torch's
    assert (y - exact).norm() <= 2e-6 * exact.norm()


def test_training_and_the_switch_leave_it_to_timm(monkeypatch):
    def never(*_):
        raise AssertionError("the kernel has no gradient")

    monkeypatch.setattr(swinir, "windowed_attention", never)
    ours, x = block(8, 2, 4), random(1, 8, 8, 8)
    ours(x).sum().backward()
    with torch.inference_mode(), torch_only():
        ours(x)
    with torch.inference_mode(), pytest.raises(AssertionError, match="no gradient"):
        ours(x)


def test_what_the_shift_parts_weighs_exactly_nothing_and_changes_no_other_gradient(monkeypatch):
    """With timm's -100 it weighs a subnormal number, which makes products many times slower."""
    ours, x = block(8, 2, 4), random(2, 16, 8, 8)
    mask = ours.get_attn_mask(x)
    weights = torch.softmax(mask + random(*mask.shape), -1)
    assert torch.equal(weights > 0, mask == 0)
    assert torch.all((weights == 0) | (weights >= torch.finfo(torch.float32).tiny))
    timm_s = SwinTransformerBlock.get_attn_mask(ours, x)
    assert timm_s.unique().tolist() == [-100, 0]
    assert torch.equal(mask == 0, timm_s == 0)

    def gradients():
        y = ours(x)
        return y, *torch.autograd.grad((y * random(*y.shape, seed=3)).sum(), ours.parameters())

    found = gradients()
    monkeypatch.setattr(ours, "get_attn_mask", lambda _: timm_s)
    # a bias that only parted tokens have: its gradient is 0 here, and there next to it
    for gradient, of_timm in zip(found, gradients(), strict=True):
        torch.testing.assert_close(gradient, of_timm, rtol=0, atol=1e-35)


def test_two_tokens_by_hand():
    # one head of one channel; all keys but the first two tokens' are far below
    qkv = torch.zeros(1, 8, 8, 3)
    qkv[..., 0] = 1
    qkv[..., 1] = -1e3
    qkv[0, 0, 0], qkv[0, 0, 1] = torch.tensor([[1.0, 0.0, 4.0], [1.0, 1.0, 8.0]])
    attended = windowed_attention(qkv, torch.zeros(1, 64, 64), None, 0, 0.5)
    near = 1 / (1 + torch.tensor(0.5).exp())  # of 0 against 0.5 x 1 x 1
    torch.testing.assert_close(attended, (near * 4 + (1 - near) * 8).expand(1, 8, 8, 1))


def test_large_products_saturate():
    qkv = 1e3 * random(1, 8, 8, 24)
    q, k, v = qkv.view(64, 3, 2, 4).permute(1, 2, 0, 3).double()
    weights = (q @ k.transpose(1, 2)).softmax(-1)
    expected = (weights @ v).transpose(0, 1).reshape(1, 8, 8, 8)
    attended = windowed_attention(qkv, torch.zeros(2, 64, 64), None, 0, 1.0)
    torch.testing.assert_close(attended.double(), expected, rtol=1e-5, atol=1e-2)


def test_images_of_a_batch_do_not_touch():
    qkv, bias = random(3, 16, 16, 48), random(2, 64, 64, seed=1)
    together = windowed_attention(qkv, bias, None, 4, 0.3)
    alone = [windowed_attention(one, bias, None, 4, 0.3) for one in qkv.split(1)]
    torch.testing.assert_close(together, torch.cat(alone), atol=0, rtol=0)


def test_parts_of_windows_are_an_error():
    with pytest.raises(ValueError, match="12 x 16 is no multiple of a window of 8"):
        windowed_attention(random(1, 12, 16, 6), torch.zeros(1, 64, 64), None, 0, 1.0)
