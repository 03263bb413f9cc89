"""What docs/results.md has beside the pipeline: the restorer's pool, and the rivals' parts."""

import csv
import re
import sys
from collections import OrderedDict

import numpy as np
import torch
from benchmarks.results import dictionaries, feature_loss, plan, pool, rivals, workspace
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from pyramid_reid.core.params import BRANCHES, Params
from pyramid_reid.core.provenance import sha256
from pyramid_reid.reid.network import osnet
from pyramid_reid.restoration.network import reconstructor
from pyramid_reid.restoration.training import patches
from pyramid_reid.training import weights_file


def test_the_pool_holds_nobody_who_is_tested_on(tmp_path, monkeypatch):
    names = [f"3DPeS/{person}_1_FRAME_{n}_RGB.bmp" for person in (7, 8) for n in range(4)]
    names += [f"iLIDS/{person:04}_{n:03}.jpg" for person in range(1, 12) for n in range(2)]
    names += [f"TownCentre/1_{n}.jpg" for n in range(8)]
    names += ["CAVIAR4REID/0001001.jpg", "CAVIAR4REID/0003001.jpg"]  # 3 was seen by both cameras
    for name in names:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16), (len(name), 0, 0)).save(path)
    out = tmp_path / "pool"
    monkeypatch.setattr(sys, "argv", ["pool", str(tmp_path / "data"), str(out)])
    pool.main()
    with (out / "manifest.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 + 22 + 2 + 1  # every other, all, every fourth, one camera's people
    assert {row["pid"] for row in rows if row["pid"].startswith("caviar")} == {"caviar4reid-0001"}
    assert all((out / row["path"]).is_file() for row in rows)
    roles: dict[str, set[str]] = {}
    for row in rows:
        roles.setdefault(row["pid"], set()).add(row["role"])
    held_out = {pid for pid, of in roles.items() if of != {"train"}}
    assert held_out
    assert all(roles[pid] == {"query", "gallery"} for pid in held_out)


def test_what_the_discriminator_learns_the_network_unlearns():
    features = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    plain = features.detach().clone().requires_grad_()
    rivals._Reversed.apply(features, 0.25).square().sum().backward()
    plain.square().sum().backward()
    torch.testing.assert_close(features.grad, -0.25 * plain.grad)


def test_the_kept_features_are_what_the_classifier_was_given():
    layers = OrderedDict(body=torch.nn.Linear(3, 4), classifier=torch.nn.Linear(4, 2))
    model = torch.nn.Sequential(layers)
    kept = rivals.Features(model)
    x = torch.randn(5, 3)
    y = model(x)
    last = model.classifier
    torch.testing.assert_close(F.linear(kept.last, last.weight, last.bias), y)
    before = kept.last
    kept.close()
    model(x)
    assert kept.last is before


def test_a_lowered_image_has_its_size_and_no_detail():
    fine = np.zeros((32, 16, 3), np.uint8)
    fine[::2] = 255
    low = rivals._lower(fine, 4)
    assert low.shape == fine.shape
    assert low[8:24].std() < 10 < fine.std()


def test_codes_of_an_orthonormal_dictionary_are_shrunk_products():
    dictionary = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1)))[0]
    features = torch.tensor([[0.5, -0.01, 0.0, -0.3, 0.02, 0.1, 0.0, 1.0]]) @ dictionary
    shrunk = torch.tensor([[0.48, 0.0, 0.0, -0.28, 0.0, 0.08, 0.0, 0.98]])
    torch.testing.assert_close(dictionaries.codes(features, dictionary), shrunk, rtol=0, atol=1e-5)


def test_coupled_dictionaries_tell_low_resolution_in_terms_of_high():
    generator = torch.Generator().manual_seed(1)
    high = F.normalize(torch.randn(400, 16, generator=generator))
    turned = torch.linalg.qr(torch.randn(16, 16, generator=generator))[0]
    low = high @ turned  # what down-sampling does to features here
    learned = dictionaries.Coupled(low[:320], high[:320], seed=1)
    asked, known = learned.of_low(low[320:]), learned.of_high(high[320:])
    before = F.cosine_similarity(low[320:], high[320:]).mean()
    after = F.cosine_similarity(asked, known).mean()
    assert abs(before) < 0.2
    assert after > 0.9


def test_softmax_and_triplet_loss_count_alike(params, monkeypatch):
    """Hardest of each crop: 1 - 1.5, 1 - 0.5, 2.5 - 0.5, 2.5 - 3; with the margin of 0.3."""
    found = torch.tensor([[0.0], [1.0], [1.5], [4.0]])
    targets, logits = torch.tensor([0, 0, 1, 1]), torch.randn(4, 2)
    losses = []

    def fine_tuned(*given):
        losses.append(given[6](logits, found, targets))

    monkeypatch.setattr(rivals, "fine_tuned", fine_tuned)
    rivals.triplet(*[None] * 2, params.reid, *[None] * 3)
    softmax = F.cross_entropy(logits, targets, label_smoothing=params.reid.label_smoothing)
    torch.testing.assert_close(losses[0] - softmax, torch.tensor((0.0 + 0.8 + 2.3 + 0.0) / 4))


def test_another_loss_trains_the_network_and_what_stands_beside_it(params):
    reid = params.reid.model_copy(
        update={"epochs": 2, "warmup_epochs": 1, "batch_size": 4, "instances": 2}
    )
    images = np.random.default_rng(1).integers(0, 256, (8, 32, 16, 3), np.uint8)
    start_from = osnet.build("osnet_x0_25", 2, seed=5)
    start = weights_file.Checkpoint(start_from.state_dict(), "")
    beside, shapes = torch.nn.Linear(512, 1), []
    before = beside.weight.clone()

    def loss_of(logits, found, targets):
        shapes.append((tuple(logits.shape), tuple(found.shape), targets.tolist()))
        return F.cross_entropy(logits, targets) + beside(found).square().mean()

    trained = rivals.fine_tuned(
        images,
        np.repeat([3, 7], 4),
        reid,
        1,
        torch.device("cpu"),
        start,
        loss_of,
        (0.0, 1.0),
        beside,
    )
    assert not trained.training
    assert not torch.equal(beside.weight, before)
    assert not torch.equal(trained.conv1.conv.weight, start_from.conv1.conv.weight)
    assert {each[:2] for each in shapes} == {((8, 2), (8, 512))}
    assert all(each[2][:4] == each[2][4:] for each in shapes)  # copies of the same crops


def test_another_seed_trains_the_same_networks_by_other_luck(tmp_path):
    start = tmp_path / "start.safetensors"
    osnet.save(start, osnet.build("osnet_x0_25", 3, seed=5), "osnet_x0_25", 32, 16)
    given = plan.settings("hypotheses", "prid2011", "seeds_2", "quick") | {
        "data.name": "synthetic",
        "data.identities": 8,
        "data.images_per_camera": 1,
        "reid.batch_size": 4,
        "reid.height": "{ori:32,h1:32,h2:48,h3:32}",
        "reid.pretrained": str(start),
        "reid.pretrained_sha256": sha256(start),
    }
    place = workspace.Workspace(tmp_path / "workspace")
    place.run(given, *(f"train_reid {branch}" for branch in BRANCHES))
    read = Params.model_validate(workspace.with_params(given))
    for seed, same in ((1, True), (2, False)):
        out = tmp_path / f"seed_{seed}"
        rivals.again(place.folder, "split_0", read, out, seed)
        for branch in BRANCHES:
            one, other = (
                folder / branch / "split_0/model.safetensors"
                for folder in (place.folder / "data/models/reid", out)
            )
            assert osnet.load(one)[1:] == osnet.load(other)[1:], branch
            assert all_equal(load_file(one), load_file(other)) == same, branch


def all_equal(one, other):
    return all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_loss_on_features_pulls_restored_images_towards_what_the_network_sees(params):
    network = osnet.build("osnet_x0_25", 1, seed=1).eval().requires_grad_(False)
    held = {name: value.clone() for name, value in network.state_dict().items()}
    alike = feature_loss.by_features(network)
    pixels = np.random.default_rng(1).integers(0, 256, (128, 64, 3), np.uint8)
    pair = patches.make_pair(pixels, (2, 3, 4))
    sampler = patches.PatchSampler([pair], feature_loss.PATCH, (2, 3, 4))
    _, targets = sampler.batch(2, torch.Generator().manual_seed(1))
    # of three images one has the features of the target of the largest scale: its own
    apart = alike(targets, targets)
    assert apart > 1e-4
    torch.testing.assert_close(
        alike([targets[-1]] * 3, targets), torch.tensor(0.0), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(
        alike([targets[0], targets[-1], targets[-1]], targets)
        + alike([targets[-1], targets[1], targets[-1]], targets),
        apart,
    )

    han = params.restoration.model_copy(update={"extractor": "han_light"})
    model = reconstructor.build(reconstructor.Architecture.of(han), seed=1)
    before = feature_loss.judged(model.eval(), [pair], alike)
    losses = feature_loss.train(model, sampler, alike, 6, seed=1)
    after = feature_loss.judged(model, [pair], alike)
    told = r"PSNR x2 [\d.]+, x3 [\d.]+, x4 [\d.]+ dB, features ([\d.]+)"
    first, last = (float(re.fullmatch(told, text)[1]) for text in (before, after))
    assert last < first
    assert losses[-1][1] < losses[0][1]
    assert all(torch.equal(held[name], value) for name, value in network.state_dict().items())
