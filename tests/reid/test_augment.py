import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchreid.reid.data.transforms import Random2DTranslation
from torchvision.transforms.v2 import functional as tv

from pyramid_reid.reid.network.preprocessing import IMAGENET_MEAN, normalize
from pyramid_reid.reid.training import augment


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(count=64, height=24, width=16):
    return torch.rand(count, 3, height, width, generator=generator(1))


def column(*values):
    return torch.tensor(values, dtype=torch.float32)


def test_about_half_are_mirrored_and_the_others_stay():
    x, u = batch(), torch.rand(64, generator=generator())
    never = torch.ones(64)
    y = augment.mirror_and_crop(x, u, never, never, never)
    same = torch.isclose(x, y, atol=1e-5).flatten(1).all(1)
    flipped = torch.isclose(x.flip(3), y, atol=1e-5).flatten(1).all(1)
    assert torch.equal(same, u >= 0.5)
    assert torch.equal(flipped, u < 0.5)


@pytest.mark.parametrize(("y", "x"), [(0.0, 0.0), (0.99, 0.99), (0.4, 0.7)])
def test_a_crop_is_torchreid_s(monkeypatch, y, x):
    height, width = 32, 16
    smooth = torch.nn.functional.interpolate(batch(1, 8, 4), (height, width), mode="bicubic")
    picture = (smooth.clamp(0, 1) * 255).round().to(torch.uint8)
    draws = iter([0.0, x * 2, y * 4])  # whether, then where in an image 2 wider and 4 higher
    monkeypatch.setattr(random, "uniform", lambda *_: next(draws))
    pillow = Image.fromarray(picture[0].permute(1, 2, 0).numpy())
    expected = np.asarray(Random2DTranslation(height, width)(pillow))
    ours = augment.mirror_and_crop(picture / 255, column(1), column(0), column(y), column(x))
    difference = ours[0].permute(1, 2, 0) * 255 - torch.from_numpy(expected.astype(np.float32))
    assert difference.abs().max() < 1.01  # Pillow rounds twice


def test_jitter_is_torchvision_s():
    x, u = batch(8), torch.rand(2, 8, generator=generator())
    y = augment.jitter(x, 0.2, *u)
    for image, ours, brightness, contrast in zip(x, y, *u, strict=True):
        expected = tv.adjust_brightness(image, 0.8 + 0.4 * float(brightness))
        expected = tv.adjust_contrast(expected, 0.85 + 0.3 * float(contrast))
        torch.testing.assert_close(ours, expected, atol=2e-4, rtol=0)
    assert torch.equal(augment.jitter(x, 0.0, *u), x)


def test_erase_fills_one_rectangle_of_the_published_size():
    x = torch.arange(64 * 3 * 40 * 20, dtype=torch.float32).view(64, 3, 40, 20) + 1
    u = torch.rand(5, 64, generator=generator())
    y = augment.erase(x, 1.0, *u)
    for image, changed in zip(y, (x != y).all(1), strict=True):
        rows, columns = changed.any(1).nonzero(), changed.any(0).nonzero()
        height, width = (int(i.max() - i.min()) + 1 for i in (rows, columns))
        assert changed.sum() == height * width  # a full rectangle
        assert 0.01 < changed.sum() / (40 * 20) < 0.45
        assert (image[:, changed] == 0).all()  # ImageNet's mean colour, normalised
    assert torch.equal(augment.erase(x, 0.0, *u), x)
    erased = (x != augment.erase(x, 0.5, *u)).flatten(1).any(1)
    assert torch.equal(erased, u[0] < 0.5)


def test_mixed_resolution_takes_detail_from_some():
    x = batch(90, 24, 24)
    chance, choice = torch.rand(2, 90, generator=generator())
    y = augment.degrade(x, 0.5, chance, choice)
    changed = (x != y).flatten(1).any(1)
    assert torch.equal(changed, chance < 0.5)
    detail = [y[changed & ((choice * 3).long() == r)].std((2, 3)).mean() for r in range(3)]
    assert x.std((2, 3)).mean() > detail[0] > detail[1] > detail[2]
    assert augment.degrade(x, 0.0, chance, choice) is x


def test_an_image_s_augmentation_depends_on_its_own_numbers_alone():
    strength = augment.Strength(0.5, 0.2, 0.3)
    x, u = batch(), augment.random_numbers(64, generator())
    whole = augment.augment(x, u, strength)
    parts = [augment.augment(x[part], u[part], strength) for part in (slice(0, 21), slice(21, 64))]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert torch.equal(augment.random_numbers(64, generator()), u)
    other = augment.augment(x, augment.random_numbers(64, generator(1)), strength)
    assert not torch.equal(whole, other)


def test_without_any_strength_only_mirror_and_crop_are_left():
    x = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1).expand(4, 3, 20, 10)
    u = augment.random_numbers(4, generator())
    y = augment.augment(x, u, augment.Strength(0.0, 0.0, 0.0))
    torch.testing.assert_close(y, normalize(x), atol=1e-5, rtol=0)
