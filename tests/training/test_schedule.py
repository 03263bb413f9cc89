import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.scheduler.cosine_lr import CosineLRScheduler

from pyramid_reid.training.schedule import cosine, set_lr, warmed_up


@given(
    lr=st.floats(1e-6, 1.0),
    warmup=st.integers(0, 20),
    falling=st.integers(2, 40),
    data=st.data(),
)
def test_rates_are_timm_s_to_the_last_bit(lr, warmup, falling, data):
    step = data.draw(st.integers(0, warmup + falling - 1))
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = CosineLRScheduler(
        optimizer,
        t_initial=falling,
        warmup_t=warmup,
        warmup_lr_init=lr / 100,
        warmup_prefix=True,
    )
    schedule.step(step)
    assert warmed_up(lr, step, warmup + falling, warmup) == optimizer.param_groups[0]["lr"]


def test_a_cosine_falls_from_the_rate_by_halves_to_nearly_0():
    assert cosine(2.0, 0, 4) == 2.0
    assert abs(cosine(2.0, 2, 4) - 1.0) < 1e-15
    assert 0 < cosine(2.0, 3, 4) < 0.3


def test_all_groups_of_an_optimiser_get_the_rate():
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.2)]
    optimizer = torch.optim.SGD(groups)
    set_lr(optimizer, 0.05)
    assert [group["lr"] for group in optimizer.param_groups] == [0.05, 0.05]
