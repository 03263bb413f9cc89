import os

import numpy as np
import pytest
import torch

from pyramid_reid.checkpoints import Checkpoints, digest
from pyramid_reid.errors import UserError
from pyramid_reid.reid import augment, images, osnet, training
from pyramid_reid.reid.features import extract
from pyramid_reid.runtime import derive_seed

CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=64, height=24, width=16):
    return torch.rand(count, 3, height, width, generator=generator(1))


def test_mirror_turns_about_half_of_the_images():
    x = batch()
    y = augment.mirror(x, generator())
    same = (x == y).flatten(1).all(1)
    flipped = (x.flip(3) == y).flatten(1).all(1)
    assert torch.equal(same, ~flipped)
    assert 20 < flipped.sum() < 44


def test_translate_moves_each_image_by_its_own_whole_pixels():
    ramp = torch.arange(16.0).expand(32, 3, 32, 16) / 16
    moved = augment.translate(ramp, generator())
    shifts = (moved[:, 0, 0, 8] - ramp[:, 0, 0, 8]) * 16
    assert set(shifts.tolist()) == {-1.0, 0.0, 1.0}  # 1/16 of 16 pixels
    rows = torch.arange(32.0)[:, None].expand(32, 3, 32, 16)
    assert set((augment.translate(rows, generator())[:, 0, 16, 0] - 16).tolist()) == {
        -2,
        -1,
        0,
        1,
        2,
    }


def test_jitter_keeps_the_range_and_changes_images_differently():
    x = batch()
    y = augment.jitter(x, 0.3, generator())
    assert y.min() >= 0
    assert y.max() <= 1
    assert (y - x).flatten(1).mean(1).std() > 0.02
    assert torch.equal(augment.jitter(x, 0.0, generator()), x)


def test_jitter_of_a_grey_image_stays_grey():
    x = torch.rand(8, 1, 6, 4, generator=generator()).expand(8, 3, 6, 4)
    y = augment.jitter(x, 0.3, generator())
    torch.testing.assert_close(y[:, 0], y[:, 2])


def test_erase_fills_one_rectangle_of_the_published_size():
    x = torch.arange(64 * 3 * 40 * 20, dtype=torch.float32).view(64, 3, 40, 20)
    y = augment.erase(x, 1.0, generator())
    for image, changed in zip(y, (x != y).all(1), strict=True):
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        height, width = (int(i.max() - i.min()) + 1 for i in (rows, columns))
        assert changed.sum() == height * width  # a full rectangle
        assert 0.01 < changed.sum() / (40 * 20) < 0.45
        assert torch.unique(image[:, changed], dim=1).shape[1] == 1
    assert torch.equal(augment.erase(x, 0.0, generator()), x)
    half = (x != augment.erase(x, 0.5, generator())).flatten(1).any(1).sum()
    assert 20 < half < 44


def test_augmentation_depends_on_the_generator_alone():
    first, again, other = (augment.augment(batch(), 0.5, 0.2, generator(s)) for s in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_normalised_images_have_imagenet_s_statistics():
    x = torch.tensor(images.IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(images.normalize(x), torch.zeros(1, 3, 2, 2))
    x = x + torch.tensor(images.IMAGENET_STD).view(1, 3, 1, 1)
    torch.testing.assert_close(images.normalize(x), torch.ones(1, 3, 2, 2))


def test_crops_are_resized_in_the_order_of_the_rows(store):
    resized = images.resized(store, [3, 0], 12, 6)
    assert resized.shape == (2, 12, 6, 3)
    assert resized[0].mean() == pytest.approx(store[3].mean(), abs=8)
    floats = images.to_float(torch.from_numpy(resized))
    assert floats.shape == (2, 3, 12, 6)
    assert float(floats[1, 2, 5, 4]) == pytest.approx(resized[1, 5, 4, 2] / 255)


def coloured(people=4, each=8, height=32, width=16):
    """People told apart by the colour of a stripe, at random heights."""
    rng = np.random.default_rng(0)
    pictures = rng.integers(90, 110, (people * each, height, width, 3), dtype=np.uint8)
    pids = np.arange(people * each) % people + 10
    for picture, pid in zip(pictures, pids, strict=True):
        top = rng.integers(4, height - 12)
        picture[top : top + 8, :, (pid - 10) % 3] += 100 if pid < 13 else 0
        picture[top : top + 8] += 60 if pid == 13 else 0
    return pictures, pids


def run(params, folder, key="key", **changes):
    reid = params.reid.model_copy(update=changes)
    return training.train(*coloured(), reid, 0, CPU, Checkpoints(folder, key))


def test_it_learns_what_can_be_learned(params, tmp_path):
    model, curve = run(params, tmp_path, epochs=14, erasing=0.0, color_jitter=0.0, lr=5e-3)
    assert curve.accuracy.iloc[-1] > 60  # four people: 25 by chance
    assert not model.training
    assert curve.epoch.tolist() == list(range(1, 15))
    pictures, pids = coloured()
    features = extract(model, pictures, CPU)
    assert features.shape == (32, 512)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosine = features @ features.T
    same = pids[:, None] == pids
    assert cosine[same].mean() > cosine[~same].mean() + 0.1


def test_the_rate_rises_then_falls_to_nearly_nothing(params, tmp_path):
    _, curve = run(params, tmp_path, epochs=6, warmup_epochs=2)
    cosine = [0.5 * (1 + np.cos(np.pi * step / 4)) for step in range(4)]
    np.testing.assert_allclose(curve.lr / params.reid.lr, [0.01, 0.505, *cosine])


def test_the_loss_is_cross_entropy_with_smoothed_labels(params, tmp_path, monkeypatch):
    class Fixed(torch.nn.Module):
        """Always the same logits: 2 for the first person, 0 for the three others."""

        def __init__(self):
            super().__init__()
            self.logits = torch.nn.Parameter(torch.tensor([2.0, 0, 0, 0]))

        def forward(self, x):
            return self.logits.expand(len(x), 4)

    monkeypatch.setattr(osnet, "build", lambda *_: Fixed())
    _, curve = run(params, tmp_path, epochs=1, warmup_epochs=0, lr=1e-9, batch_size=32)
    # a quarter of the crops show each person; smoothing spreads 0.1 over the four
    log_sum = np.log(np.exp(2) + 3)
    assert curve.loss.iloc[0] == pytest.approx(log_sum - 2 * 0.25, abs=1e-4)
    one = run(params, tmp_path, "one", epochs=1, warmup_epochs=0, lr=1e-9, batch_size=32)[1]
    assert one.accuracy.iloc[0] == 25


def test_smoothing_costs_a_network_that_is_sure(params, tmp_path, monkeypatch):
    class Sure(torch.nn.Module):
        """Logits of 10 for the person whose crops have the brightness it knows."""

        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.tensor(10.0))

        def forward(self, x):
            person = (x.mean((1, 2, 3)) > 0).long()
            return self.scale * torch.nn.functional.one_hot(person, 2)

    monkeypatch.setattr(osnet, "build", lambda *_: Sure())
    pictures = np.repeat(np.uint8([0, 255]), 4)[:, None, None, None].repeat(32, 1).repeat(16, 2)
    reid = params.reid.model_copy(
        update={"epochs": 1, "warmup_epochs": 0, "lr": 1e-9, "erasing": 0.0, "color_jitter": 0.0}
    )
    _, curve = training.train(
        pictures.repeat(3, 3), np.repeat([1, 2], 4), reid, 0, CPU, Checkpoints(tmp_path, "key")
    )
    # 0.95 log p(right) + 0.05 log p(wrong), with logits 10 and 0
    assert curve.loss.iloc[0] == pytest.approx(0.05 * 10 + np.log1p(np.exp(-10)), abs=1e-4)


def test_a_killed_training_goes_on_to_the_same_bytes(params, tmp_path, monkeypatch):
    whole, curve = run(params, tmp_path / "whole")
    epoch, calls = training._epoch, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(training, "_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        run(params, tmp_path / "killed")
    resumed, resumed_curve = run(params, tmp_path / "killed")
    assert len(calls) == 3 + 2  # epochs 3 and 4 only
    assert curve.equals(resumed_curve)
    for name, model in ("a", whole), ("b", resumed):
        osnet.save(tmp_path / name, model, params.reid.model, 32, 16)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_loss_that_is_no_number_stops_with_the_remedy(params, tmp_path):
    with pytest.raises(UserError, match=r"loss is .* in epoch .*lower reid\.lr"):
        run(params, tmp_path, lr=1e25, warmup_epochs=0)


def test_fewer_crops_than_a_batch_are_one_batch(params, tmp_path):
    _, curve = run(params, tmp_path, batch_size=1000)
    assert np.isfinite(curve.loss).all()


def test_a_saved_network_gives_the_same_features(tmp_path):
    model = osnet.build("osnet_x0_25", 3, 0).eval()
    osnet.save(tmp_path / "m", model, "osnet_x0_25", 32, 16)
    loaded, height, width = osnet.load(tmp_path / "m")
    assert (height, width) == (32, 16)
    pictures, _ = coloured(1, 3)
    np.testing.assert_array_equal(extract(model, pictures, CPU), extract(loaded, pictures, CPU))


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_a_broken_model_file_is_named(tmp_path, damage):
    path = tmp_path / "m.safetensors"
    if damage != "missing":
        osnet.save(path, osnet.build("osnet_x0_25", 3, 0), "osnet_x0_25", 32, 16)
        path.write_bytes(path.read_bytes()[:-9] if damage == "truncated" else b"\x80\x04 a pickle")
    with pytest.raises(UserError, match=r"m\.safetensors is no re-identification network"):
        osnet.load(path)


def test_features_of_a_crop_do_not_depend_on_the_others():
    model = osnet.build("osnet_x0_25", 3, 0).eval()
    pictures, _ = coloured(3, 50)
    np.testing.assert_allclose(
        extract(model, pictures, CPU)[120],
        extract(model, pictures[120:121], CPU)[0],
        rtol=1e-4,
        atol=1e-5,
    )


def test_the_key_of_a_checkpoint_follows_params_and_data(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "pixels.npy"
    path.write_bytes(b"1")
    first = digest({"seed": 1}, tmp_path / "in")
    assert digest({"seed": 1}, tmp_path / "in") == first
    assert digest({"seed": 2}, tmp_path / "in") != first
    path.write_bytes(b"2")
    assert digest({"seed": 1}, tmp_path / "in") != first


def test_saving_is_atomic_and_other_keys_stay_until_the_end(tmp_path, monkeypatch):
    old, new = Checkpoints(tmp_path / "t", "old"), Checkpoints(tmp_path / "t", "new")
    old.save({"epoch": 7})
    assert new.load() is None
    new.save({"epoch": 1})
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        new.save({"epoch": 2})
    assert new.load() == {"epoch": 1}
    assert old.load() == {"epoch": 7}
    new.remove()
    assert old.load() is None


@pytest.mark.parametrize("place", [3, 50, -1])
def test_a_damaged_checkpoint_is_never_resumed(tmp_path, capsys, place):
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save({"weights": torch.zeros(100)})
    content = bytearray(checkpoints.path.read_bytes())
    content[place] ^= 1
    checkpoints.path.write_bytes(content)
    assert checkpoints.load() is None
    assert "state.pt is damaged" in capsys.readouterr().err


def test_seeds_differ_by_purpose_and_are_the_same_everywhere():
    seeds = {derive_seed(seed, *p) for seed in (1, 2) for p in (("a",), ("b",), ("a", "b"))}
    assert len(seeds) == 6
    assert derive_seed(1, "a") == 6885665436231814845  # first 63 bits of sha256('1/a')
    assert all(0 <= seed < 2**63 for seed in seeds)
