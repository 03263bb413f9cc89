import copy
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import HANGS_S
from PIL import Image
from safetensors.torch import load_file

from pyramid_reid.core.crops import Crop, CropStore, CropWriter
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import HanSize, Params, SwinSize
from pyramid_reid.core.single_threads import single_threads
from pyramid_reid.restoration.inference import plan, restore
from pyramid_reid.restoration.network import bicubic, reconstructor
from pyramid_reid.restoration.network.extractors import PUBLISHED, build
from pyramid_reid.restoration.network.images import to_pixels, to_tensor
from pyramid_reid.restoration.training import loop, patches, quality
from pyramid_reid.training.checkpoints import Checkpoints

SIZE_OF = {
    "swinir": SwinSize(depths=(2,), dim=8, num_heads=2),
    "han": HanSize(groups=2, blocks=1, dim=16),
    "bicubic": None,
}
ARCHITECTURES = {
    name: reconstructor.Architecture(size=size, head_dim=4, scales=(2, 3, 4))
    for name, size in SIZE_OF.items()
}
SMALL = ARCHITECTURES["swinir"]
SIZES = [(7, 5), (40, 13), (1, 1), (8, 8), (9, 16), (16, 9), (10, 15), (15, 10), (400, 30)]
every_extractor = pytest.mark.parametrize("name", list(ARCHITECTURES))
every_network = pytest.mark.parametrize("name", ["swinir", "han"])


def trained_looking(name="swinir", seed=0):
    """A network all of whose parts do something; fresh heads and attentions add nothing."""
    model = reconstructor.build(ARCHITECTURES[name], seed)
    generator = torch.Generator().manual_seed(seed)
    for head in model.heads:
        torch.nn.init.normal_(head.rgb.weight, std=0.3, generator=generator)
    for part, value in model.named_parameters():
        if part.endswith(("gamma", "conv_du.0.bias")):
            torch.nn.init.constant_(value, 0.5)
    return model.eval()


def random(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(3))


def crops(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


@every_extractor
@pytest.mark.parametrize("size", SIZES)
def test_any_size_is_restored_at_its_own_scales(name, size):
    with torch.inference_mode():
        images = trained_looking(name)(random(2, 3, *size))
    assert [tuple(image.shape) for image in images] == [
        (2, 3, size[0] * scale, size[1] * scale) for scale in (2, 3, 4)
    ]
    assert all(image.isfinite().all() for image in images)


@every_extractor
@pytest.mark.parametrize("size", SIZES)
def test_an_untrained_network_is_bicubic(name, size):
    x = random(1, 3, *size)
    with torch.inference_mode():
        images = reconstructor.build(ARCHITECTURES[name], 0).eval()(x)
    for image, scale in zip(images, SMALL.scales, strict=True):
        torch.testing.assert_close(image, bicubic.upsample(x, scale), atol=0, rtol=0)


def test_scales_are_any_that_increase():
    architecture = SMALL.model_copy(update={"scales": (1, 5, 7)})
    images = reconstructor.build(architecture, 0)(random(1, 3, 6, 4))
    assert [tuple(image.shape[2:]) for image in images] == [(6, 4), (30, 20), (42, 28)]


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (8, 16), (17, 3)])
def test_padding_reaches_the_next_multiple_and_no_further(size):
    x = random(1, 3, *size)
    padded = reconstructor.pad(x, 8)
    assert padded.shape[2:] == tuple(-(-side // 8) * 8 for side in size)
    torch.testing.assert_close(padded[:, :, : size[0], : size[1]], x)
    torch.testing.assert_close(padded[:, :, -1, : size[1]], x[:, :, -1])


@every_extractor
def test_a_crop_s_result_does_not_depend_on_its_batch(name):
    model, images = trained_looking(name), crops()
    for crop, restored in zip(images, restore(model, images), strict=True):
        with torch.inference_mode():  # alone and unpadded by anyone else
            alone = [to_pixels(image)[0] for image in model(to_tensor(crop[None]))]
        for ours, theirs in zip(restored, alone, strict=True):
            assert ours.shape == theirs.shape
            # one grey level: rounding of the same number to either side
            assert np.abs(ours.astype(int) - theirs).max() <= 1


@every_network
def test_what_a_batch_pads_changes_no_number(name):
    model, crop = trained_looking(name), random(1, 3, 13, 10)
    padded = reconstructor.pad(crop, 8)
    mask = None
    if name == "han":
        mask = torch.zeros(1, 1, 16, 16)
        mask[:, :, :13, :10] = 1
    with torch.inference_mode():
        for alone, image, scale in zip(model(crop), model(padded, mask), (2, 3, 4), strict=True):
            cut = image[:, :, : 13 * scale, : 10 * scale]
            torch.testing.assert_close(cut, alone, atol=2e-5, rtol=0)


def test_han_s_pooling_sees_what_is_padded_without_a_mask():
    # that the mask is what keeps padding out: without it the same crop comes out differently
    model, crop = trained_looking("han"), random(1, 3, 13, 10)
    with torch.inference_mode():
        alone, padded = model(crop)[0], model(reconstructor.pad(crop, 8))[0]
    assert (padded[:, :, :26, :20] - alone).abs().max() > 1e-3


@every_network
def test_gradients_reach_every_weight(name):
    model = trained_looking(name).train()
    sum(image.square().mean() for image in model(random(2, 3, 16, 8))).backward()
    assert [part for part, value in model.named_parameters() if not value.grad.any()] == []


@every_network
def test_a_batch_that_threads_share_has_the_gradients_of_one(name):
    model = trained_looking(name).train()
    low, targets = random(5, 3, 16, 8), [random(5, 3, 16 * s, 8 * s) for s in (2, 3, 4)]
    gradients = []
    for parts in (1, 2, 8):  # more threads than patches are none too many
        with single_threads(parts) as pool:
            loss = loop.backward(model, low, targets, (1, 2, 3), pool, parts)
        gradients.append([loss, *(value.grad for value in model.parameters())])
    images = model(low)
    wanted = (
        sum(w * (i - t).abs().mean() for w, i, t in zip((1, 2, 3), images, targets, strict=True))
        / 6
    )
    torch.testing.assert_close(gradients[0][0], wanted.detach())
    for shared in gradients[1:]:
        for part, whole in zip(shared, gradients[0], strict=True):
            assert (part - whole).norm() <= 1e-4 * whole.norm() + 1e-7
            assert part.stride() == whole.stride()  # the fused optimiser reads memory in order
    for value in model.parameters():
        assert value.grad.stride() == value.stride()


def test_threads_of_a_pool_compute_alone_and_others_as_before(two_threads):
    before = torch.get_num_threads()
    ready = threading.Barrier(3)

    def inside(_):
        ready.wait(HANGS_S)  # each on a thread of its own
        torch.ones(10**6).sum()
        return torch.get_num_threads()

    with single_threads(3) as pool:
        assert list(pool.map(inside, range(3))) == [1, 1, 1]
        assert torch.get_num_threads() == before
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before


def test_channel_attention_by_hand():
    # one channel is all that matters: squeeze to relu(mean), excite by sigmoid(2 relu(mean))
    attention = build(SIZE_OF["han"]).body[0].body[0].body[3]
    for value in attention.parameters():
        torch.nn.init.zeros_(value)
    attention.conv_du[0].weight.data[0, 0] = 1
    attention.conv_du[2].weight.data[:, 0] = 2
    x = torch.ones(1, 16, 2, 2)
    x[0, 0] = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    mask = torch.tensor([[[[1.0, 1.0], [1.0, 0.0]]]])
    gate = 1 / (1 + np.exp(-2 * 2.0))  # of the mean of 1, 2 and 3
    torch.testing.assert_close(attention(x, mask)[0, 0, 0, 0], torch.tensor(gate).float())


def test_a_residual_block_by_hand():
    # kernels of one tap: y = 2 relu(3 x), of which the skip adds a gated part
    block = build(SIZE_OF["han"]).body[0].body[0]
    first, _, second, attention = block.body
    for conv, factor in ((first, 3), (second, 2)):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.zeros_(conv.bias)
        conv.weight.data[range(16), range(16), 1, 1] = factor
    x = random(1, 16, 5, 6) - 0.5
    y = 6 * x.clamp(min=0)
    torch.testing.assert_close(block(x, None), x + y * attention(y, None), atol=1e-5, rtol=1e-5)


def test_channel_spatial_attention_is_a_convolution_of_volumes():
    attention = build(SIZE_OF["han"]).csa
    torch.nn.init.constant_(attention.gamma, 0.5)
    exact = copy.deepcopy(attention).double()  # a convolution of volumes in float64
    results = []
    for network in (attention, exact):
        x = random(2, 16, 5, 7).to(network.gamma.dtype).requires_grad_()
        y = network(x)
        results.append([y, *torch.autograd.grad(y.sin().sum(), (x, *network.parameters()))])
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def test_layer_attention_by_hand():
    attention = build(SIZE_OF["han"]).la
    torch.nn.init.constant_(attention.gamma, 0.5)
    first, second = torch.full((1, 1, 1, 2), 1.0), torch.tensor([[[[0.0, 1.0]]]])
    # correlations of (1, 1) and (0, 1): 2 and 1 in the first row, 1 and 1 in the second
    near, far = np.exp([2, 1]) / np.exp([2, 1]).sum()
    expected = [[1 + 0.5 * near, 1 + 0.5 * (near + far)], [0.25, 1 + 0.5]]
    mixed = attention([first, second])
    torch.testing.assert_close(mixed[0, :, 0], torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("multiple", [4, 8])
def test_batches_hold_every_crop_once_and_no_more_pixels_than_allowed(multiple):
    rng = np.random.default_rng(0)
    sizes = [(int(h), int(w)) for h, w in rng.integers(1, 60, (200, 2))]
    batches = plan(sizes, 5000, multiple)
    assert sorted(number for batch in batches for number in batch) == list(range(200))
    for batch in batches:
        (padded,) = {tuple(-(-side // multiple) * multiple for side in sizes[n]) for n in batch}
        assert len(batch) * padded[0] * padded[1] <= 5000
    pixels = [
        sum(-(-h // multiple) * -(-w // multiple) for h, w in map(sizes.__getitem__, batch))
        for batch in batches
    ]
    assert pixels == sorted(pixels, reverse=True)  # threads that share them end together
    assert len(batches) < (120 if multiple == 8 else 160)
    assert plan([(100, 100)], 10, multiple) == [[0]]


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


def parameters(module):
    return sum(value.numel() for value in module.parameters())


def convolution(inputs, outputs):
    return 9 * inputs * outputs + outputs


@pytest.mark.parametrize(
    ("name", "up_sampler", "published"),
    [
        # up-samplers of the publications, which their counts include: one convolution for the
        # light SwinIR; to 64 channels, by 2 and to RGB for the classical one; twice by 2 for HAN
        ("swinir_light", convolution(60, 3 * 2**2), 910_152),
        ("swinir_light", convolution(60, 3 * 4**2), 929_628),
        ("swinir", convolution(180, 64) + convolution(64, 256) + convolution(64, 3), 11_752_487),
        ("han", 2 * convolution(64, 256) + convolution(64, 3), 16_071_745),
    ],
)
def test_published_sizes(name, up_sampler, published):
    assert parameters(build(PUBLISHED[name])) + up_sampler == published


def test_han_light_is_as_large_as_swinir_light():
    light, han = (parameters(build(PUBLISHED[name])) for name in ("swinir_light", "han_light"))
    assert han == pytest.approx(light, rel=0.05)


def test_weights_depend_on_the_seed_alone():
    torch.manual_seed(5)
    first = reconstructor.build(SMALL, 1).state_dict()
    torch.rand(3)
    again = reconstructor.build(SMALL, 1).state_dict()
    other = reconstructor.build(SMALL, 2).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@every_extractor
def test_a_saved_network_restores_the_same(name, tmp_path):
    model = trained_looking(name)
    reconstructor.save(tmp_path / "model.safetensors", model)
    x = random(1, 3, 9, 7)
    with torch.inference_mode():
        for ours, theirs in zip(
            model(x), reconstructor.load(tmp_path / "model.safetensors")(x), strict=True
        ):
            torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_a_broken_model_file_is_named(tmp_path, damage):
    path = tmp_path / "model.safetensors"
    if damage != "missing":
        reconstructor.save(path, trained_looking())
        path.write_bytes(path.read_bytes()[:-9] if damage == "truncated" else b"PK\x03\x04 a zip")
    with pytest.raises(UserError, match=r"model\.safetensors is not a reconstructor"):
        reconstructor.load(path)


def test_a_pair_holds_the_crop_at_each_scale():
    crop = np.asarray(Image.linear_gradient("L").convert("RGB").resize((27, 50)))
    pair = patches.make_pair(crop, (2, 3, 4))
    assert pair.low.shape == (12, 6, 3)
    assert [target.shape for target in pair.targets] == [(24, 12, 3), (36, 18, 3), (48, 24, 3)]
    np.testing.assert_array_equal(pair.targets[-1], crop[:48, :24])
    # the same picture at every scale: brightness rises from top to bottom equally, up to the cut
    for target in (pair.low, *pair.targets):
        assert target[0].mean() < 20
        assert target[-1].mean() > 215


def test_only_the_gallery_s_camera_is_high_resolution(store):
    seen = patches.of_roles(store, patches.TRAIN, (2, 3, 4))
    # the crops of camera 1 of people 1 and 2; neither camera 2 nor the down-sampled one
    assert [pair.targets[-1].shape[:2] for pair in seen] == [(20, 8), (24, 12)]
    unseen = patches.of_roles(store, patches.TEST, (2, 3, 4))
    # of the two gallery crops one is of a single pixel; the query is down-sampled
    assert [pair.targets[-1].shape[:2] for pair in unseen] == [(20, 8)]
    assert patches.of_roles(store, patches.VALIDATION, (2, 3, 4)) == []


def test_a_pair_may_be_down_sampled_less_than_by_the_largest_scale():
    pair = patches.make_pair(np.zeros((25, 12, 3), np.uint8), (2, 3, 4), 2)
    assert pair.low.shape == (12, 6, 3)
    assert [target.shape for target in pair.targets] == [(24, 12, 3), (36, 18, 3), (48, 24, 3)]


def test_patches_of_all_scales_show_the_same_place():
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (11, 9, 3), dtype=np.uint8)
    enlarged = tuple(low.repeat(s, 0).repeat(s, 1) for s in (2, 3, 4))
    sampler = patches.PatchSampler([patches.Pair(low, enlarged)], (4, 3), (2, 3, 4))
    inputs, targets = sampler.batch(8, torch.Generator().manual_seed(0))
    assert inputs.shape == (8, 3, 4, 3)
    assert len({tuple(image.flatten().tolist()) for image in inputs}) > 4
    for target, scale in zip(targets, (2, 3, 4), strict=True):
        repeated = inputs.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        torch.testing.assert_close(target, repeated)


def test_patches_are_mirrored_now_and_then():
    low = np.arange(3, dtype=np.uint8)[None, :, None].repeat(4, 0).repeat(3, 2) * 80
    sampler = patches.PatchSampler([patches.Pair(low, (low,))], (4, 3), (1,))
    inputs, _ = sampler.batch(16, torch.Generator().manual_seed(0))
    rising = inputs[:, 0, 0, 2] > inputs[:, 0, 0, 0]
    assert 0 < rising.sum() < 16


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_bicubic_is_torch_s_to_the_bit_whatever_the_layout(layout):
    x = torch.rand(2, 3, 9, 5).contiguous(memory_format=layout)
    for scale in (2, 3, 4):
        wanted = torch.nn.functional.interpolate(x, scale_factor=scale, mode="bicubic")
        assert torch.equal(bicubic.upsample(x, scale), wanted)


def test_crops_smaller_than_the_patch_are_left_out_and_none_is_an_error():
    small, large = (
        patches.make_pair(np.zeros((*size, 3), np.uint8), (2, 3, 4))
        for size in [(12, 12), (40, 20)]
    )
    assert len(patches.PatchSampler([small, large], (8, 4), (2, 3, 4)).pairs) == 1
    with pytest.raises(UserError, match="32x16 pixels"):
        patches.PatchSampler([small], (8, 4), (2, 3, 4))
    with pytest.raises(UserError, match="as those have that the gallery's cameras took"):
        patches.PatchSampler([], (8, 4), (2, 3, 4))


def test_of_unknown_cameras_all_that_was_not_down_sampled_is_high_resolution(tmp_path):
    with CropWriter(tmp_path / "store") as writer:
        for camera, (role, ratio) in enumerate(
            [("train", 1), ("train", 2), ("train", 1), ("query", 1), ("gallery", 1)], start=1
        ):
            crop = Crop(1 + (camera > 3), camera, role, ratio, f"{camera}.png")
            writer.add(crop, np.full((8, 4, 3), camera, np.uint8))
    found = patches.high_resolution(CropStore(tmp_path / "store"), patches.TRAIN, 4)
    assert [crop[0, 0, 0] for crop in found] == [1, 3]


def small_pairs():
    rng = np.random.default_rng(0)
    smooth = [Image.fromarray(rng.integers(0, 256, (6, 4, 3), dtype=np.uint8)) for _ in range(3)]
    return [patches.make_pair(np.asarray(image.resize((16, 24))), (2, 3, 4)) for image in smooth]


class Live:
    """Keeps what is logged instead of writing it."""

    def __init__(self):
        self.logged = []

    def log(self, step, figures):
        self.logged += [(step, name, value) for name, value in figures.items()]


def run(params: Params, folder, key="key", live=None):
    checkpoints = Checkpoints(folder, key)
    held_out = small_pairs()[:1]
    cpu = torch.device("cpu")
    return loop.train(
        small_pairs(), held_out, params.restoration, 0, cpu, checkpoints, live or Live()
    )


def changed(params, **update):
    restoration = params.restoration.model_copy(update=update)
    return params.model_copy(update={"restoration": restoration})


def weights(model, path):
    reconstructor.save(path, model)
    return path.read_bytes()


@pytest.mark.parametrize("extractor", ["swinir_light", "han_light"])
def test_training_lowers_the_loss_and_beats_bicubic_on_what_it_saw(params, tmp_path, extractor):
    longer = changed(params, extractor=extractor, iterations=120, lr=1e-2, checkpoint_every=60)
    live = Live()
    trained = run(longer, tmp_path, live=live)
    assert trained.loss.loss.iloc[-1] < 0.8 * trained.loss.loss.iloc[0]
    figures = quality.summary(quality.compare(trained.model, small_pairs()))
    for scale in ("x2", "x3", "x4"):
        assert figures[scale]["psnr"] > figures[scale]["psnr_bicubic"] + 0.5
    watched = trained.watched
    assert list(watched.iteration) == [60, 120]
    assert (watched.psnr_x2 > watched.psnr_x2_bicubic).all()
    assert watched.psnr_x2_bicubic.nunique() == 1
    steps = [step for step, name, _ in live.logged if name == "psnr_x2"]
    assert steps == [60, 120]


def test_bicubic_is_not_trained(params, tmp_path):
    trained = run(changed(params, extractor="bicubic"), tmp_path)
    assert trained.loss.empty
    assert (trained.watched.psnr_x4 == trained.watched.psnr_x4_bicubic).all()
    assert not (tmp_path / "key").exists()


def test_without_restoration_every_branch_is_the_crop_and_counts_once(params, tmp_path):
    without = changed(params, extractor="identity")
    model = reconstructor.build(reconstructor.Architecture.of(without.restoration), 0)
    for crop, images in zip(crops(), restore(model, crops()), strict=True):
        assert len(images) == 3
        for image in images:
            np.testing.assert_array_equal(image, crop)
    same = [patches.make_pair(crop, without.restoration.branch_scales) for crop in crops()[-2:]]
    figures = quality.summary(quality.compare(model, same))
    assert set(figures) == {"x1"}
    assert figures["x1"]["psnr"] == figures["x1"]["psnr_bicubic"] == quality.BEST_PSNR


def test_what_is_kept_is_a_running_mean_of_the_weights(params, tmp_path, monkeypatch):
    seen = []
    average = loop.running_mean

    def spy(means, weights, number):
        before = means[0].clone()
        average(means, weights, number)
        seen.append((before, weights[0].clone(), means[0].clone(), int(number)))

    monkeypatch.setattr(loop, "running_mean", spy)
    trained = run(params, tmp_path)
    assert [number for *_, number in seen] == [1, 2, 3, 4, 5]  # the first is a copy
    for before, weight, after, number in seen:
        decay = (1 + number) / (10 + number)
        torch.testing.assert_close(after, decay * before + (1 - decay) * weight)
    kept = next(iter(trained.model.parameters()))
    torch.testing.assert_close(kept, seen[-1][2])


def test_a_head_that_weighs_nothing_learns_nothing(params, tmp_path):
    model = run(changed(params, head_weights=(1.0, 0.0, 0.0)), tmp_path).model
    assert [bool(head.rgb.weight.any()) for head in model.heads] == [True, False, False]


@pytest.mark.parametrize("extractor", ["swinir_light", "han_light"])
def test_a_killed_training_goes_on_to_the_same_bytes(params, tmp_path, monkeypatch, extractor):
    params = changed(params, extractor=extractor)
    straight, again = Live(), Live()
    whole = run(params, tmp_path / "whole", live=straight)
    batch, calls = patches.PatchSampler.batch, []

    def killed(self, *arguments):
        calls.append(1)
        if len(calls) == 4:  # after the checkpoint of iteration 2
            raise KeyboardInterrupt
        return batch(self, *arguments)

    monkeypatch.setattr(patches.PatchSampler, "batch", killed)
    with pytest.raises(KeyboardInterrupt):
        run(params, tmp_path / "killed")
    resumed = run(params, tmp_path / "killed", live=again)
    assert sorted(again.logged) == sorted(straight.logged)  # each curve in its own order
    assert len(calls) == 4 + 4  # iterations 3 to 6 only
    assert weights(whole.model, tmp_path / "a") == weights(resumed.model, tmp_path / "b")
    assert whole.loss.equals(resumed.loss)
    assert whole.watched.equals(resumed.watched)


@pytest.mark.parametrize("extractor", ["swinir_light", "han_light"])
def test_a_finished_training_is_kept_without_what_only_going_on_needs(params, tmp_path, extractor):
    params, first, again = changed(params, extractor=extractor), Live(), Live()
    whole = run(params, tmp_path, live=first)
    state = Checkpoints(tmp_path, "key").load()
    assert set(state) == {"step", "mean", "curve", "watch"}
    size = sum(4 * each.numel() for each in whole.model.state_dict().values())
    assert Checkpoints(tmp_path, "key").path.stat().st_size < 1.2 * size + 2e5
    same = run(params, tmp_path, live=again)
    assert sorted(again.logged) == sorted(first.logged)
    assert same.loss.equals(whole.loss)
    assert same.watched.equals(whole.watched)
    assert weights(whole.model, tmp_path / "a") == weights(same.model, tmp_path / "b")


def test_a_checkpoint_of_another_key_is_never_resumed(params, tmp_path, monkeypatch):
    run(params, tmp_path / "c")
    calls = []
    batch = patches.PatchSampler.batch
    monkeypatch.setattr(
        patches.PatchSampler, "batch", lambda self, *a: (calls.append(1), batch(self, *a))[1]
    )
    run(params, tmp_path / "c", key="other")
    assert len(calls) == params.restoration.iterations


def test_a_loss_that_is_no_number_stops_with_the_remedy(params, tmp_path):
    with pytest.raises(UserError, match=r"loss is nan .*lower restoration\.lr"):
        run(changed(params, lr=1e30), tmp_path)


def test_psnr_by_hand():
    target = np.full((8, 8, 3), 100, np.uint8)
    model = reconstructor.build(SMALL.model_copy(update={"scales": (1, 2, 4)}), 0).eval()
    pair = patches.Pair(
        target + 10, (target, target.repeat(2, 0).repeat(2, 1), target.repeat(4, 0).repeat(4, 1))
    )
    figures = quality.summary(quality.compare(model, [pair]))
    # an error of 10 everywhere: 10 log10(255^2 / 100)
    assert figures["x2"]["psnr"] == pytest.approx(28.13, abs=0.01)
    assert figures["x2"]["psnr_bicubic"] == pytest.approx(28.13, abs=0.01)


def test_crops_too_small_to_be_judged_are_one_clear_error():
    pair = patches.make_pair(np.zeros((6, 6, 3), np.uint8), (2, 3, 4))
    with pytest.raises(UserError, match="large enough to judge"):
        quality.judged([pair])


def test_an_exact_copy_has_a_finite_psnr():
    plain = np.full((8, 8, 3), 100, np.uint8)
    model = reconstructor.build(SMALL, 0).eval()
    pair = patches.Pair(plain, tuple(plain.repeat(s, 0).repeat(s, 1) for s in (2, 3, 4)))
    assert quality.summary(quality.compare(model, [pair]))["x4"]["psnr"] == quality.BEST_PSNR


def test_model_files_hold_float_weights_and_their_architecture(tmp_path):
    path = tmp_path / "model.safetensors"
    reconstructor.save(path, trained_looking())
    assert all(value.dtype == torch.float32 for value in load_file(path).values())
    assert reconstructor.load(path).architecture == SMALL


def test_judged_crops_are_spread_evenly():
    made = [
        patches.make_pair(np.zeros((16 + 4 * n, 16, 3), np.uint8), (2, 3, 4)) for n in range(10)
    ]
    heights = [pair.low.shape[0] for pair in quality.judged(made, 5)]
    assert heights == [4, 6, 8, 10, 12]


def test_psnr_by_height_is_the_mean_of_the_crops_of_a_height():
    rows = [
        (pair, height, scale, height + scale, 1.0)
        for pair, height in enumerate([10, 10, 20, 40])
        for scale in (2, 4)
    ]
    measured = pd.DataFrame(rows, columns=["pair", "height", "scale", "psnr", "psnr_bicubic"])
    table = quality.by_height(measured, bins=2)
    assert list(table.columns) == ["height", "crops", "x2", "x2_bicubic", "x4", "x4_bicubic"]
    assert table.crops.sum() == 4
    assert table.height.is_monotonic_increasing
    np.testing.assert_allclose(table.x4 - table.height, 4)
    assert list(quality.by_height(measured[:4]).crops) == [2]  # of one height: one bin


def test_inputs_may_be_degraded_as_a_camera_does(store):
    plain = patches.of_roles(store, patches.TRAIN, (2, 3, 4))
    robust = [patches.of_roles(store, patches.TRAIN, (2, 3, 4), seed) for seed in (1, 1, 2)]
    for ours, other in zip(robust[0], plain, strict=True):
        assert ours.low.shape == other.low.shape
        assert (ours.low != other.low).any()
        assert all(np.array_equal(*both) for both in zip(ours.targets, other.targets, strict=True))
    assert all(np.array_equal(a.low, b.low) for a, b in zip(robust[0], robust[1], strict=True))
    assert any((a.low != b.low).any() for a, b in zip(robust[0], robust[2], strict=True))


def test_training_validation_and_test_inputs_are_degraded_by_draws_of_their_own(tmp_path):
    """The same pixels in each role: one sequence for all would make the same inputs of them."""
    pixels = np.random.default_rng(0).integers(0, 256, (40, 20, 3), dtype=np.uint8)
    with CropWriter(tmp_path) as writer:
        for number, role in enumerate(("train", "val_gallery", "gallery")):
            for frame in range(3):
                writer.add(Crop(number, 1, role, 1, f"{role}{frame}.png"), pixels)
    lows = [
        pair.low
        for roles in (patches.TRAIN, patches.VALIDATION, patches.TEST)
        for pair in patches.of_roles(CropStore(tmp_path), roles, (2, 3, 4), 7)
    ]
    assert len(lows) == len({low.tobytes() for low in lows}) == 9
