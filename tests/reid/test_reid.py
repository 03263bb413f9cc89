import ast
import hashlib
import os
import pickle
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, run_stage
from safetensors.torch import load_file, save_file
from torchreid.reid.utils import FeatureExtractor

from pyramid_reid.core.crops import Crop, CropStore, CropWriter
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES, Reid
from pyramid_reid.core.provenance import sha256
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.reid import features
from pyramid_reid.reid.features import Extractor, few_features
from pyramid_reid.reid.network import osnet, preprocessing
from pyramid_reid.reid.training import batches, loop
from pyramid_reid.retrieval.camera_mean import FEWEST
from pyramid_reid.retrieval.distance import normalize
from pyramid_reid.retrieval.whitening import within_people
from pyramid_reid.training.checkpoints import COMPUTING, Checkpoints
from pyramid_reid.training.weights_file import Checkpoint

CPU = torch.device("cpu")


def test_normalised_images_have_imagenet_s_statistics():
    x = torch.tensor(preprocessing.IMAGENET_MEAN).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    torch.testing.assert_close(preprocessing.normalize(x), torch.zeros(1, 3, 2, 2))
    x = x + torch.tensor(preprocessing.IMAGENET_STD).view(1, 3, 1, 1)
    torch.testing.assert_close(preprocessing.normalize(x), torch.ones(1, 3, 2, 2))


def test_crops_are_resized_in_the_order_of_the_rows(store):
    resized = preprocessing.resized(store, [3, 0], 12, 6)
    assert resized.shape == (2, 12, 6, 3)
    assert resized[0].mean() == pytest.approx(store[3].mean(), abs=8)
    floats = preprocessing.to_float(torch.from_numpy(resized))
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


def run(params, folder, key="key", log=lambda *_: None, **changes):
    reid = params.reid.model_copy(update=changes)
    return loop.train(*coloured(), reid, 0, CPU, Checkpoints(folder, key), log=log)


def test_it_learns_what_can_be_learned(params, tmp_path):
    model, curve = run(params, tmp_path, epochs=14, erasing=0.0, color_jitter=0.0, lr=5e-3)
    assert curve.accuracy.iloc[-1] > 60  # four people: 25 by chance
    assert not model.training
    assert curve.epoch.tolist() == list(range(1, 15))
    pictures, pids = coloured()
    features = Extractor(model, CPU, 32, 16)(pictures)
    assert features.shape == (32, 512)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    cosine = features @ features.T
    same = pids[:, None] == pids
    assert cosine[same].mean() > cosine[~same].mean() + 0.1


def test_batches_on_a_thread_each_give_the_bits_of_one_after_the_other(two_threads):
    extractor = Extractor(osnet.build("osnet_x0_25", 4, 0).eval(), CPU, 256, 128)
    size = 2 * extractor.batch + 3
    pictures = np.random.default_rng(0).integers(0, 256, (size, 256, 128, 3), dtype=np.uint8)
    together = extractor(pictures)
    torch.set_num_threads(1)
    alone = [extractor(pictures[s : s + extractor.batch]) for s in range(0, size, extractor.batch)]
    np.testing.assert_array_equal(together, np.concatenate(alone))


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
    _, curve = loop.train(
        pictures.repeat(3, 3), np.repeat([1, 2], 4), reid, 0, CPU, Checkpoints(tmp_path, "key")
    )
    # 0.95 log p(right) + 0.05 log p(wrong), with logits 10 and 0
    assert curve.loss.iloc[0] == pytest.approx(0.05 * 10 + np.log1p(np.exp(-10)), abs=1e-4)


def test_a_killed_training_goes_on_to_the_same_bytes(params, tmp_path):
    whole, curve = run(params, tmp_path / "whole")
    logged = []

    def kill(epoch, figures):
        logged.append((epoch, figures))
        if len(logged) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(params, tmp_path / "killed", log=kill)
    resumed, resumed_curve = run(params, tmp_path / "killed", log=kill)
    # what is behind the checkpoint is logged again, as a killed run may have logged more than that
    assert [epoch for epoch, _ in logged] == [1, 2, 3, 1, 2, 3, 4]
    assert ["images_per_s" in figures for _, figures in logged] == [True] * 3 + [False] * 2 + [
        True
    ] * 2
    assert curve.equals(resumed_curve)
    for name, model in ("a", whole), ("b", resumed):
        osnet.save(tmp_path / name, model, params.reid.model, 32, 16)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_finished_training_is_kept_without_what_only_going_on_needs(params, tmp_path):
    whole, curve = run(params, tmp_path)
    path = Checkpoints(tmp_path, "key").path
    assert path.stat().st_size < 1.2 * sum(4 * p.numel() for p in whole.parameters()) + 2e5
    logged = []
    again, same = run(params, tmp_path, log=lambda epoch, _: logged.append(epoch))
    assert logged == [1, 2, 3, 4]
    assert same.equals(curve)
    ours, theirs = whole.state_dict(), again.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_computing_in_bfloat16_learns_as_float32_does(params, tmp_path, monkeypatch):
    _, exact = run(params, tmp_path, "exact")
    monkeypatch.setattr(loop, "BF16", ("cpu",))  # as on a GPU, where kernels are off, too
    model, rounded = run(params, tmp_path, "rounded")
    assert not rounded.loss.equals(exact.loss)
    np.testing.assert_allclose(rounded.loss, exact.loss, rtol=0.15)
    assert all(p.dtype == torch.float32 for p in model.parameters())


def test_the_classifier_learns_alone_on_pretrained_weights(params, tmp_path):
    start = osnet.build("osnet_x0_25", 9, 5).state_dict()
    reid = params.reid.model_copy(update={"epochs": 2, "fixed_epochs": 1, "pretrained": "x"})
    kept = []
    build = osnet.build

    def remember(*arguments):
        kept.append(build(*arguments))
        return kept[-1]

    def look(epoch, _):
        weights = kept[0].state_dict()
        moved.append([not torch.equal(weights[name], start[name]) for name in body])

    body, moved = [name for name in start if not name.startswith("classifier")], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(osnet, "build", remember)
        checkpoints = Checkpoints(tmp_path, "key")
        loop.train(*coloured(), reid, 0, CPU, checkpoints, Checkpoint(start, ""), look)
    assert not any(moved[0])  # batch statistics, too, are those of the pretrained network
    assert sum(moved[1]) > 0.9 * len(body)


def test_input_size_and_mixed_resolution_are_the_branch_s_own(raw_params):
    reid = raw_params["reid"] | {
        "height": {"ori": 64, "h1": 128, "h2": 192, "h3": 256},
        "mixed_resolution": 0.5,
    }
    reid = Reid.model_validate(reid)
    assert reid.input_size("h2") == (192, 64)
    assert reid.of_branch("ori").mixed_resolution == 0.5
    assert reid.of_branch("h1").mixed_resolution == 0
    assert (reid.of_branch("h3").height, reid.of_branch("h3").width) == (256, 64)


LABELS = np.repeat(np.arange(5), [7, 4, 1, 9, 3])


def test_plain_batches_show_every_crop_once():
    drawn = batches.epoch(LABELS, 8, 0, torch.Generator().manual_seed(0))
    assert drawn.shape == (3, 8)
    assert torch.equal(drawn.flatten().sort().values, torch.arange(24))
    assert batches.epoch(LABELS, 10, 0, torch.Generator()).shape == (2, 10)


def test_balanced_batches_hold_equal_numbers_of_different_people():
    drawn = batches.epoch(LABELS, 8, 4, torch.Generator().manual_seed(0))
    assert len(drawn) >= 2
    for rows in drawn:
        people, counts = np.unique(LABELS[rows.numpy()], return_counts=True)
        assert len(people) == 2
        assert counts.tolist() == [4, 4]
    plenty = drawn[np.isin(LABELS[drawn.numpy()], [0, 1, 3])]
    assert len(plenty) == len(plenty.unique())  # none twice but of those with less than four
    other = batches.epoch(LABELS, 8, 4, torch.Generator().manual_seed(1))
    assert drawn.shape != other.shape or not torch.equal(drawn, other)


def test_impossible_batches_are_named(monkeypatch):
    with pytest.raises(UserError, match=r"takes 8 identities per batch, and 5 train"):
        batches.batch_size(LABELS, 16, 2)
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UserError, match="cannot be shared by 4 processes"):
        batches.batch_size(LABELS, 6, 0)


@pytest.mark.parametrize("limit", [1.0, 1e-9])
def test_crops_that_do_not_fit_are_mapped_and_train_alike(store, tmp_path, limit):
    file = tmp_path / "scratch" / "pixels.npy"
    with batches.training_images(store, [0, 1, 2], 12, 6, limit, file) as pixels:
        assert isinstance(pixels, np.memmap) == (limit < 1)
        np.testing.assert_array_equal(pixels, preprocessing.resized(store, [0, 1, 2], 12, 6))
        rows = torch.tensor([[2, 0], [1, 2], [0, 1], [1, 0]])
        read = torch.stack(list(batches.read_ahead(pixels, rows, CPU)))
        np.testing.assert_array_equal(read.numpy(), pixels[rows.numpy()])
        assert not file.exists()  # a kill leaves nothing


def test_a_loss_that_is_no_number_stops_with_the_remedy(params, tmp_path):
    with pytest.raises(UserError, match=r"loss is .* in epoch 1 at .*no checkpoint") as caught:
        run(params, tmp_path, lr=1e25, warmup_epochs=0)
    assert "lower reid.lr" in str(caught.value)
    assert Checkpoints(tmp_path, "key").load() is None


def test_a_loss_far_above_guessing_stops_and_names_the_last_good_state(
    params, tmp_path, monkeypatch
):
    losses, step = iter([1.0, 1.0, 9.0]), loop._step
    monkeypatch.setattr(
        loop,
        "_step",
        lambda *arguments: step(*arguments) * 0 + torch.tensor([next(losses), 0]),
    )
    with pytest.raises(UserError) as caught:
        run(params, tmp_path, batch_size=32)  # one batch an epoch
    path = Checkpoints(tmp_path, "key").path
    assert "loss is 9 in epoch 3" in str(caught.value)
    assert f"of epoch 2, is {path}" in str(caught.value)
    assert len(Checkpoints(tmp_path, "key").load()["curve"]) == 2


def test_fewer_crops_than_a_batch_are_one_batch(params, tmp_path):
    _, curve = run(params, tmp_path, batch_size=1000)
    assert np.isfinite(curve.loss).all()


def test_subnormal_weights_are_read_as_0_and_all_others_as_they_are(tmp_path):
    model = osnet.build("osnet_x0_25", 4, seed=1)
    bits = np.float32([1e-40, -1e-40, 1e-30, np.nan])
    with torch.no_grad():
        model.classifier.bias[:] = torch.from_numpy(bits)
    osnet.save(tmp_path / "model.safetensors", model, "osnet_x0_25", 32, 16)
    held = load_file(tmp_path / "model.safetensors")
    assert held["classifier.bias"].numpy().tobytes() == bits.tobytes()

    read, _, _ = osnet.load(tmp_path / "model.safetensors")
    assert read.classifier.bias.detach().numpy().tobytes() == (
        np.float32([0, 0, 1e-30, np.nan]).tobytes()
    )
    for name, value in read.state_dict().items():
        if name != "classifier.bias":
            assert torch.equal(value, held[name]), name


def test_a_saved_network_gives_the_same_features(tmp_path):
    model = osnet.build("osnet_x0_25", 3, 0).eval()
    osnet.save(tmp_path / "m", model, "osnet_x0_25", 32, 16)
    loaded, height, width = osnet.load(tmp_path / "m")
    assert (height, width) == (32, 16)
    pictures, _ = coloured(1, 3)
    np.testing.assert_array_equal(
        Extractor(model, CPU, 32, 16)(pictures), Extractor(loaded, CPU, 32, 16)(pictures)
    )


@pytest.mark.parametrize("damage", ["missing", "truncated", "foreign"])
def test_a_broken_model_file_is_named(tmp_path, damage):
    path = tmp_path / "m.safetensors"
    if damage != "missing":
        osnet.save(path, osnet.build("osnet_x0_25", 3, 0), "osnet_x0_25", 32, 16)
        path.write_bytes(path.read_bytes()[:-9] if damage == "truncated" else b"\x80\x04 a pickle")
    with pytest.raises(UserError, match=r"m\.safetensors is not a re-identification network"):
        osnet.load(path)


@pytest.mark.parametrize(
    ("height", "width", "batch"), [(256, 128, 25), (128, 64, 100), (2048, 1024, 1)]
)
def test_batches_of_features_are_sized_by_pixels(height, width, batch):
    model = osnet.build("osnet_x0_25", 3, 0).eval()
    assert Extractor(model, CPU, height, width).batch == batch


def test_features_of_a_crop_do_not_depend_on_the_others(monkeypatch):
    monkeypatch.setattr("pyramid_reid.reid.features.BATCH_PIXELS", 100 * 32 * 16)
    model = osnet.build("osnet_x0_25", 3, 0).eval()
    pictures, _ = coloured(3, 50)
    extract = Extractor(model, CPU, 32, 16)
    np.testing.assert_allclose(
        extract(pictures)[120],
        extract(pictures[120:121])[0],
        rtol=1e-4,
        atol=1e-5,
    )


def test_packages_that_training_and_restoration_import_are_in_the_key_or_make_no_bytes():
    no_bytes = {
        *("dvclive", "tqdm", "matplotlib"),  # show
        *("gdown", "pooch", "requests"),  # fetch what is hashed
        *("pydantic", "ruamel", "yaml"),  # params, which are hashed
        *("pandas", "safetensors"),  # tables and files
        *("accelerate", "_typeshed"),  # how many processes there are is hashed
    }
    modules = {"PIL": "pillow", "skimage": "scikit-image"}
    source, imported = ROOT / "src/pyramid_reid", set()
    kept = {"datasets", "search", "cli.py"}  # no training runs them
    for path in source.rglob("*.py"):
        if kept & set(path.parts):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"pyramid_reid"}
    assert {"torch", "skimage", "numba"} <= foreign
    assert {modules.get(name, name) for name in foreign} - no_bytes <= set(COMPUTING)


def test_a_stray_file_beside_checkpoints_hinders_nothing(tmp_path):
    checkpoints = Checkpoints(tmp_path / "t", "key")
    (tmp_path / "t").mkdir()
    (tmp_path / "t/.nfs000000000001").touch()  # what NFS keeps of a file that is still open
    checkpoints.save({"epoch": 1})
    assert checkpoints.load() == {"epoch": 1}


def test_saving_is_atomic_and_forgets_other_keys(tmp_path, monkeypatch):
    old, new = Checkpoints(tmp_path / "t", "old"), Checkpoints(tmp_path / "t", "new")
    old.save({"epoch": 7})
    assert new.load() is None
    assert old.load() == {"epoch": 7}  # a start alone costs nothing
    new.save({"epoch": 1})
    assert old.load() is None
    monkeypatch.setattr(os, "fsync", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        new.save({"epoch": 2})
    assert new.load() == {"epoch": 1}
    monkeypatch.undo()
    monkeypatch.setenv("RANK", "1")
    new.save({"epoch": 3})
    assert new.load() == {"epoch": 1}  # only the main process writes


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


@pytest.mark.parametrize("name", ["osnet_x0_25", "osnet_ibn_x1_0", "osnet_ain_x0_25"])
def test_features_are_those_of_torchreid_s_extractor(tmp_path, name):
    model = osnet.build(name, 3, 0)
    model(torch.rand(8, 3, 32, 16))  # statistics that are not those of a fresh network
    model.eval()
    torch.save(model.state_dict(), tmp_path / "m.pth")
    reference = FeatureExtractor(
        name, str(tmp_path / "m.pth"), image_size=(32, 16), device="cpu", verbose=False
    )
    pictures, _ = coloured(3, 2)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    np.testing.assert_allclose(
        Extractor(model, CPU, 32, 16)(pictures),
        reference(list(pictures)).numpy(),
        rtol=1e-3,
        atol=1e-5,
    )
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)


def test_distances_of_test_and_held_out_crops_are_kept_apart(tmp_path):
    rng = np.random.default_rng(0)
    counts = {"train": 3, "query": 2, "gallery": 4, "val_query": 1, "val_gallery": 5}
    with CropWriter(tmp_path / "data/crops/split_0") as writer:
        for role in [role for role, count in counts.items() for _ in range(count)]:
            pixels = rng.integers(0, 256, (*rng.integers(8, 40, 2), 3), np.uint8)
            writer.add(Crop(1, 2, role, 3, f"{role}.png"), pixels)
    osnet.save(
        tmp_path / "data/models/reid/ori/split_0/model.safetensors",
        osnet.build("osnet_x0_25", 3, 0),
        *("osnet_x0_25", 32, 16),
    )
    shutil.copy(ROOT / "params.yaml", tmp_path)
    run_stage(tmp_path, "distances", "ori")
    store = CropStore(tmp_path / "data/crops/split_0")
    for folder, prefix in ("", ""), ("validation", "val_"):
        out = tmp_path / "data/distances/ori/split_0" / folder
        features = np.load(out / "features.npz")
        for role in ("query", "gallery"):
            table = pd.read_csv(out / f"{role}.csv")
            assert list(table) == ["pid", "camid", "ratio", "height", "width", "source"]
            own = store.index[store.index.role == prefix + role]
            assert table.height.tolist() == own.height.tolist()
            assert features[role].shape == (counts[prefix + role], 512)
        assert set(features) == {"query", "gallery"}
        expected = 1 - features["query"] @ features["gallery"].T
        np.testing.assert_allclose(np.load(out / "distmat.npy"), expected, atol=1e-6)


def test_tracing_a_network_as_one_part_changes_no_byte(monkeypatch):
    images = np.random.default_rng(1).integers(0, 256, (3, 32, 16, 3), np.uint8)
    model = osnet.build("osnet_ain_x0_25", 3, 0).eval()
    found = Extractor(model, torch.device("cpu"), 32, 16)(images)
    assert all(weight.requires_grad for weight in model.parameters())  # stays as it is
    assert np.array_equal(found, Extractor(model.train(), torch.device("cpu"), 32, 16)(images))
    assert model.training
    model.eval()
    monkeypatch.setattr(features, "_Whole", lambda network: network)
    assert np.array_equal(found, Extractor(model, torch.device("cpu"), 32, 16)(images))


def test_each_branch_starts_from_what_is_named_for_it(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    starts = {branch: tmp_path / f"{branch}.safetensors" for branch in BRANCHES}
    for seed, file in enumerate(starts.values()):
        osnet.save(file, osnet.build("osnet_x0_25", 3, seed), "osnet_x0_25", 32, 16)
    params["reid"] |= {
        "epochs": 0,
        "pretrained": {branch: str(file) for branch, file in starts.items()},
        "pretrained_sha256": {branch: sha256(file) for branch, file in starts.items()},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    for branch, folder in (("ori", "data/crops"), ("h2", "data/pyramid/h2")):
        with CropWriter(tmp_path / folder / "split_0") as writer:
            writer.add(Crop(1, 1, "query", 1, "a.png"), np.zeros((32, 16, 3), np.uint8))
        run_stage(tmp_path, "train_reid", branch)
        out = tmp_path / f"data/models/reid/{branch}/split_0/model.safetensors"
        found, named = load_file(out), load_file(starts[branch])
        assert all(torch.equal(found[name], named[name]) for name in found)


def test_what_training_crops_teach_is_kept_where_it_is_asked_for(tmp_path):
    shown = [("train", 1 + n % 2) for n in range(2 * FEWEST)] + [("query", 2), ("gallery", 1)]

    def write(shown, of_each=4):
        rng = np.random.default_rng(0)
        with CropWriter(tmp_path / "data/crops/split_0") as writer:
            for number, (role, camid) in enumerate(shown):
                pixels = rng.integers(0, 256, (32, 16, 3), np.uint8)
                writer.add(Crop(number // of_each, camid, role, 1, f"{number}.png"), pixels)

    def ask(*names):
        text = (ROOT / "params.yaml").read_text()
        for name in names:
            text = text.replace(f"{name}: false", f"{name}: true")
        (tmp_path / "params.yaml").write_text(text)

    def features():
        return np.load(tmp_path / "data/distances/ori/split_0/features.npz")

    write(shown)
    model = osnet.build("osnet_x0_25", 3, 0)
    file = tmp_path / "data/models/reid/ori/split_0/model.safetensors"
    osnet.save(file, model, "osnet_x0_25", 32, 16)
    ask("centred")
    run_stage(tmp_path, "distances", "ori")
    store = CropStore(tmp_path / "data/crops/split_0")
    rows = store.rows("train")
    alone = few_features(model.eval(), np.stack([store[row] for row in rows]))
    alone /= np.linalg.norm(alone, axis=1, keepdims=True)
    found, means = features(), np.stack([alone[::2].mean(0), alone[1::2].mean(0)])
    assert found["cameras"].tolist() == [1, 2]
    np.testing.assert_allclose(found["means"], means, atol=1e-4)
    assert "whitening" not in found
    ask("whitened")
    run_stage(tmp_path, "distances", "ori")
    less = normalize(alone - np.tile(means, (FEWEST, 1)))
    found, wanted = features(), within_people(less, np.arange(2 * FEWEST) // 4)
    np.testing.assert_allclose(found["means"], means, atol=1e-4)
    np.testing.assert_allclose(less @ found["whitening"], less @ wanted, atol=1e-3)
    write([*shown, ("train", 3)])  # a camera that is its own mean has no part in whitening
    run_stage(tmp_path, "distances", "ori")
    np.testing.assert_allclose(less @ features()["whitening"], less @ wanted, atol=1e-3)
    for more, lacks in (
        ([("gallery", 3)], "gallery crops of split_0: camera 3 has 0 training crops"),
        (
            [("val_query", 3), ("train", 3)],
            "val_query crops .* camera 3 has 1 training crops, .* 20",
        ),
    ):
        write([*shown, *more])
        with pytest.raises(UserError, match=lacks):
            run_stage(tmp_path, "distances", "ori")
    write(shown, of_each=1)
    with pytest.raises(UserError, match="whitening takes two crops of one person, and there are"):
        run_stage(tmp_path, "distances", "ori")
    ask("centred")
    run_stage(tmp_path, "distances", "ori")


def test_a_network_file_with_other_metadata_is_one_clear_error(tmp_path):
    path = tmp_path / "model.safetensors"
    model = osnet.build("osnet_x0_25", 2, 0)
    weights = {key: value.contiguous() for key, value in model.state_dict().items()}
    for network in ("{", "[]", '{"name": "osnet_x0_25"}', '{"name": "other", "height": 1}'):
        save_file(weights, path, {"network": network})
        with pytest.raises(UserError, match="is not a re-identification network"):
            osnet.load(path)


def test_a_checkpoint_that_holds_code_is_not_run(tmp_path, capsys):
    class Trap:
        def __reduce__(self):
            return print, ("code in a checkpoint ran",)

    checkpoints = Checkpoints(tmp_path, "key")
    content = pickle.dumps(Trap(), protocol=2)
    checkpoints.path.parent.mkdir()
    checkpoints.path.write_bytes(hashlib.sha256(content).digest() + content)
    assert checkpoints.load() is None
    said = capsys.readouterr()
    assert "state.pt is damaged" in said.err
    assert "ran" not in said.out
