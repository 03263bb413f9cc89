import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from pyramid_reid.checkpoints import Checkpoints
from pyramid_reid.errors import UserError
from pyramid_reid.params import Params
from pyramid_reid.restoration import pairs, pyramid, quality, training
from pyramid_reid.restoration.inference import restore
from pyramid_reid.restoration.swinir import PUBLISHED, SwinIR

SMALL = pyramid.Architecture(depths=(2,), dim=8, num_heads=2, head_dim=4, scales=(2, 3, 4))
SIZES = [(7, 5), (40, 13), (1, 1), (8, 8), (9, 16), (16, 9), (150, 12)]


def trained_looking(seed=0):
    """A network whose heads do something; fresh ones are bicubic by construction."""
    model = pyramid.build(SMALL, seed)
    generator = torch.Generator().manual_seed(seed)
    for head in model.heads:
        torch.nn.init.normal_(head.rgb.weight, std=0.3, generator=generator)
    return model.eval()


def random(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


def crops(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


@pytest.mark.parametrize("size", SIZES)
def test_any_size_is_restored_at_its_own_scales(size):
    with torch.inference_mode():
        images = trained_looking()(random(2, 3, *size))
    assert [tuple(image.shape) for image in images] == [
        (2, 3, size[0] * scale, size[1] * scale) for scale in (2, 3, 4)
    ]


@pytest.mark.parametrize("size", SIZES)
def test_an_untrained_network_is_bicubic(size):
    x = random(1, 3, *size)
    with torch.inference_mode():
        images = pyramid.build(SMALL, 0).eval()(x)
    for image, scale in zip(images, SMALL.scales, strict=True):
        torch.testing.assert_close(image, pyramid.upsample(x, scale), atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 16), (17, 3)])
def test_padding_reaches_the_next_multiple_and_no_further(size):
    x = random(1, 3, *size)
    padded = pyramid.pad(x, 8)
    assert padded.shape[2:] == tuple(-(-side // 8) * 8 for side in size)
    torch.testing.assert_close(padded[:, :, : size[0], : size[1]], x)
    torch.testing.assert_close(padded[:, :, -1, : size[1]], x[:, :, -1])


def test_a_crop_s_result_does_not_depend_on_its_batch():
    model, images = trained_looking(), crops()
    together = list(restore(model, images))
    for crop, restored in zip(images, together, strict=True):
        (alone,) = restore(model, [crop])
        for ours, theirs in zip(restored, alone, strict=True):
            assert ours.shape == theirs.shape
            # one grey level: rounding of the same number to either side
            assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_results_come_in_the_order_of_the_crops():
    images = crops() * 2
    for crop, restored in zip(images, restore(trained_looking(), images), strict=True):
        assert restored[0].shape == (2 * crop.shape[0], 2 * crop.shape[1], 3)


def test_windows_are_shifted_so_that_features_cross_their_borders():
    extractor = trained_looking().extractor
    for module in extractor.modules():  # without the convolutions only attention moves anything
        if isinstance(module, torch.nn.Conv2d) and module.in_channels == 8:
            torch.nn.init.dirac_(module.weight)
    x = random(1, 3, 16, 16)
    with torch.inference_mode():
        before = extractor(x)
        x[:, :, 3, 5] += 0.5  # in the first window
        moved = (extractor(x) - before).abs().amax(1)[0]
    assert moved[12:, 12:].max() == 0  # the far corner is in no window with it
    assert moved[9, 9] > 0  # but the neighbouring window is reached


@pytest.mark.parametrize(("name", "millions"), [("swinir", 11.8), ("swinir_light", 0.89)])
def test_published_sizes(name, millions):
    # SwinIR's own x2 models with their up-sampler: 11.8 M and 0.878 M (Liang et al., tables 2, 3)
    count = sum(p.numel() for p in SwinIR(*PUBLISHED[name]).parameters())
    assert count / 1e6 == pytest.approx(millions, rel=0.04)


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    first = pyramid.build(SMALL, 1).state_dict()
    torch.rand(3)
    again = pyramid.build(SMALL, 1).state_dict()
    other = pyramid.build(SMALL, 2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_saved_network_restores_the_same(tmp_path):
    model = trained_looking()
    pyramid.save(tmp_path / "model.safetensors", model)
    x = random(1, 3, 9, 7)
    with torch.inference_mode():
        for ours, theirs in zip(
            model(x), pyramid.load(tmp_path / "model.safetensors")(x), strict=True
        ):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_a_broken_model_file_is_named(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    if damage != "missing":
        pyramid.save(path, trained_looking())
        path.write_bytes(path.read_bytes()[:-9] if damage == "truncated" else b"PK\x03\x04 a zip")
    with pytest.raises(UserError, match=r"model\.safetensors is no reconstructor"):
        pyramid.load(path)


def test_a_pair_holds_the_crop_at_each_scale():
    crop = np.asarray(Image.linear_gradient("L").convert("RGB").resize((27, 50)))
    pair = pairs.make_pair(crop, (2, 3, 4))
    assert pair.low.shape == (12, 6, 3)
    assert [target.shape for target in pair.targets] == [(24, 12, 3), (36, 18, 3), (48, 24, 3)]
    np.testing.assert_array_equal(pair.targets[-1], crop[:48, :24])
    # the same picture at every scale: brightness rises from top to bottom equally, up to the cut
    for target in (pair.low, *pair.targets):
        assert target[0].mean() < 20
        assert target[-1].mean() > 215


def test_only_the_gallery_s_camera_is_high_resolution(store):
    seen = pairs.high_resolution(store, (2, 3, 4), test=False)
    # the crops of camera 1 of people 1 and 2; neither camera 2 nor the down-sampled one
    assert [pair.targets[-1].shape[:2] for pair in seen] == [(20, 8), (24, 12)]
    unseen = pairs.high_resolution(store, (2, 3, 4), test=True)
    # of the two gallery crops one is of a single pixel; the query is down-sampled
    assert [pair.targets[-1].shape[:2] for pair in unseen] == [(20, 8)]


def test_patches_of_all_scales_show_the_same_place():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (11, 9, 3), dtype=np.uint8)
    enlarged = tuple(low.repeat(s, 0).repeat(s, 1) for s in (2, 3, 4))
    sampler = pairs.PatchSampler([pairs.Pair(low, enlarged)], (4, 3), (2, 3, 4))
    inputs, targets = sampler.batch(8, torch.Generator().manual_seed(0))
    assert inputs.shape == (8, 3, 4, 3)
    assert len({tuple(image.flatten().tolist()) for image in inputs}) > 4
    for target, scale in zip(targets, (2, 3, 4), strict=True):
        repeated = inputs.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        torch.testing.assert_close(target, repeated)


def test_patches_are_mirrored_now_and_then():
    low = np.arange(3, dtype=np.uint8)[None, :, None].repeat(4, 0).repeat(3, 2) * 80
    sampler = pairs.PatchSampler([pairs.Pair(low, (low,))], (4, 3), (1,))
    inputs, _ = sampler.batch(16, torch.Generator().manual_seed(0))
    rising = inputs[:, 0, 0, 2] > inputs[:, 0, 0, 0]
    assert 0 < rising.sum() < 16


def test_crops_smaller_than_the_patch_are_left_out_and_none_is_an_error():
    small, large = (
        pairs.make_pair(np.zeros((*size, 3), np.uint8), (2, 3, 4)) for size in [(12, 12), (40, 20)]
    )
    assert len(pairs.PatchSampler([small, large], (8, 4), (2, 3, 4)).pairs) == 1
    with pytest.raises(UserError, match="32x16 pixels"):
        pairs.PatchSampler([small], (8, 4), (2, 3, 4))


def small_pairs():
    rng = np.random.default_rng(0)
    smooth = [Image.fromarray(rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)) for _ in range(3)]
    return [pairs.make_pair(np.asarray(image.resize((16, 24))), (2, 3, 4)) for image in smooth]


def run(params: Params, folder, key="key"):
    checkpoints = Checkpoints(folder, key)
    return training.train(small_pairs(), params.restoration, 0, torch.device("cpu"), checkpoints)


def weights(model, path):
    pyramid.save(path, model)
    return path.read_bytes()


def test_training_lowers_the_loss_and_beats_bicubic_on_what_it_saw(params, tmp_path):
    longer = params.restoration.model_copy(update={"iterations": 240, "lr": 5e-3})
    model, curve = run(params.model_copy(update={"restoration": longer}), tmp_path)
    assert curve.loss.iloc[-1] < 0.8 * curve.loss.iloc[0]
    figures = quality.summary(quality.measure(model, small_pairs()))
    for scale in ("x2", "x3", "x4"):
        assert figures[scale]["psnr"] > figures[scale]["psnr_bicubic"] + 0.5


def test_a_killed_training_goes_on_to_the_same_bytes(params, tmp_path, monkeypatch):
    whole, curve = run(params, tmp_path / "whole")
    batch, calls = pairs.PatchSampler.batch, []

    def killed(self, *arguments):
        calls.append(1)
        if len(calls) == 4:  # after the checkpoint of iteration 2
            raise KeyboardInterrupt
        return batch(self, *arguments)

    monkeypatch.setattr(pairs.PatchSampler, "batch", killed)
    with pytest.raises(KeyboardInterrupt):
        run(params, tmp_path / "killed")
    resumed, resumed_curve = run(params, tmp_path / "killed")
    assert len(calls) == 4 + 4  # iterations 3 to 6 only
    assert weights(whole, tmp_path / "a") == weights(resumed, tmp_path / "b")
    assert curve.equals(resumed_curve)


def test_a_checkpoint_of_another_key_is_never_resumed(params, tmp_path, monkeypatch):
    run(params, tmp_path / "c")
    calls = []
    batch = pairs.PatchSampler.batch
    monkeypatch.setattr(
        pairs.PatchSampler, "batch", lambda self, *a: (calls.append(1), batch(self, *a))[1]
    )
    run(params, tmp_path / "c", key="other")
    assert len(calls) == params.restoration.iterations


def test_a_loss_that_is_no_number_stops_with_the_remedy(params, tmp_path):
    wild = params.restoration.model_copy(update={"lr": 1e30})
    with pytest.raises(UserError, match=r"loss is nan .*lower restoration\.lr"):
        run(params.model_copy(update={"restoration": wild}), tmp_path)


def test_psnr_by_hand():
    target = np.full((8, 8, 3), 100, np.uint8)
    model = pyramid.build(SMALL.model_copy(update={"scales": (1, 2, 4)}), 0).eval()
    pair = pairs.Pair(
        target + 10, (target, target.repeat(2, 0).repeat(2, 1), target.repeat(4, 0).repeat(4, 1))
    )
    figures = quality.summary(quality.measure(model, [pair]))
    # an error of 10 everywhere: 10 log10(255^2 / 100)
    assert figures["x2"]["psnr"] == pytest.approx(28.13, abs=0.01)
    assert figures["x2"]["psnr_bicubic"] == pytest.approx(28.13, abs=0.01)


def test_crops_too_small_to_be_judged_are_one_clear_error():
    pair = pairs.make_pair(np.zeros((6, 6, 3), np.uint8), (2, 3, 4))
    with pytest.raises(UserError, match="large enough to judge"):
        quality.measure(pyramid.build(SMALL, 0), [pair])


def test_an_exact_copy_has_a_finite_psnr():
    plain = np.full((8, 8, 3), 100, np.uint8)
    model = pyramid.build(SMALL, 0).eval()
    pair = pairs.Pair(plain, tuple(plain.repeat(s, 0).repeat(s, 1) for s in (2, 3, 4)))
    assert quality.summary(quality.measure(model, [pair]))["x4"]["psnr"] == quality.BEST_PSNR


def test_model_files_hold_float_weights_and_their_architecture(tmp_path):
    path = tmp_path / "model.safetensors"
    pyramid.save(path, trained_looking())
    assert all(value.dtype == torch.float32 for value in load_file(path).values())
    assert pyramid.load(path).architecture == SMALL
