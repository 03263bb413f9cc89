"""Checkpoints as other programs write them: names and wrappings are those of their code."""

import argparse
import pathlib
import re
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pyramid_reid.core import provenance
from pyramid_reid.core.errors import UserError
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.training import pretrained
from pyramid_reid.training import weights_file
from pyramid_reid.training.weights_file import NUMBERS, of_split, read

TRAINED, OLDER = torch.full((2,), 2.0), torch.full((2,), 1.0)


def write(folder, content, **options):
    torch.save(content, folder / "m.pth", **options)
    return folder / "m.pth"


def prefixed(prefix, weights):
    return OrderedDict((prefix + name, value) for name, value in weights.items())


def of_lightning(weights):
    state = prefixed("model.", weights) | {"loss.center": torch.zeros(3)}
    return {"state_dict": state, "epoch": 3, "hyper_parameters": {"lr": 1e-3}, "callbacks": {}}


PROGRAMS = {
    "torchreid": lambda w: {
        "state_dict": w,
        "epoch": 60,
        "rank1": np.float64(0.7),
        "optimizer": {},
    },
    "DataParallel": lambda w: {"state_dict": prefixed("module.", w)},
    "fast-reid": lambda w: {"model": prefixed("backbone.", w) | {"pixel_mean": torch.zeros(1, 3)}},
    "boxmot": lambda w: prefixed("extractor.model.", w),
    "torch.compile": lambda w: prefixed("_orig_mod.", w),
    "DDP of a compiled network": lambda w: {"net": prefixed("module._orig_mod.", w)},
    "a compiled part": lambda w: prefixed("module.backbone._orig_mod.", w),
    "FSDP": lambda w: prefixed("_fsdp_wrapped_module.", w),
    "DeepSpeed": lambda w: {"module": prefixed("module.", w), "dp_world_size": 2},
    "Lightning": of_lightning,
    "a wrapper in a wrapper": lambda w: {"model": {"state_dict": prefixed("model.module.", w)}},
    "a config called model": lambda w: {"model": {"name": "osnet"}, "model_state_dict": w},
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_s_checkpoint_gives_the_whole_network(tmp_path, program, capsys):
    source = osnet.build("osnet_x0_25", 5, 1).state_dict()
    del source["classifier.weight"], source["classifier.bias"]
    model = osnet.build("osnet_x0_25", 4, 2)
    pretrained.apply(model, read(write(tmp_path, PROGRAMS[program](source))))
    ours = model.state_dict()
    assert all(torch.equal(ours[name], value) for name, value in source.items())
    assert f"{len(source)} of {len(source)} weights loaded;" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"state_dict": {"a": OLDER}, "state_dict_ema": {"a": TRAINED}}, "state_dict_ema"),  # timm
        ({"params": {"a": OLDER}, "params_ema": {"a": TRAINED}}, "params_ema"),  # BasicSR
        ({"model": {"a": OLDER}, "ema": {"module": {"a": TRAINED}}}, "ema"),
        (
            {"state_dict": {"a": OLDER}, "ema_state_dict": {"module.a": TRAINED}},  # mmengine
            "ema_state_dict",
        ),
        ({"model": {"net": {"a": OLDER}, "ema": {"a": TRAINED}}}, "model.ema"),
        (
            {"state_dict": {"model.a": OLDER, "ema_model.module.a": TRAINED}},  # Lightning
            "the names ema_model.…",
        ),
    ],
)
def test_running_means_are_preferred_and_named(tmp_path, content, where):
    found = read(write(tmp_path, content))
    assert torch.equal(found.weights["a"], TRAINED)
    assert found.ema == where


def test_what_has_no_running_mean_is_taken_beside_those_that_have_one(tmp_path, capsys):
    source = osnet.build("osnet_x0_25", 5, 1)
    means = {name: value.detach() + 1 for name, value in source.named_parameters()}
    buffers = dict(source.named_buffers())
    assert "conv1.bn.running_mean" in buffers
    content = {"state_dict": source.state_dict(), "ema": means}
    model = osnet.build("osnet_x0_25", 4, 2)
    pretrained.apply(model, read(write(tmp_path, content)))
    assert "weights loaded, running means of ema;" in capsys.readouterr().out
    assert torch.equal(model.state_dict()["conv1.conv.weight"], means["conv1.conv.weight"])
    assert torch.equal(model.conv1.bn.running_var, buffers["conv1.bn.running_var"])


def test_a_decay_is_no_running_mean(tmp_path):
    content = {"state_dict": {"a": OLDER, "b": OLDER}, "ema": {"decay": torch.tensor(0.99)}}
    found = read(write(tmp_path, content))
    assert torch.equal(found.weights["a"], OLDER)
    assert found.ema == ""


def test_a_file_that_holds_itself_ends(tmp_path):
    content = {"epoch": 3}
    content |= dict.fromkeys((*weights_file.PLAIN, *weights_file.EMA), content)
    content["model"] = content
    with pytest.raises(UserError, match="holds no weights by name"):
        read(write(tmp_path, content))


def test_two_networks_in_one_file_are_refused(tmp_path):
    path = write(tmp_path, {"model.conv1.weight": OLDER, "backbone.conv1.weight": TRAINED})
    with pytest.raises(UserError, match=r"two networks, as model\.conv1.* and backbone\.conv1"):
        read(path)


def test_a_transformer_is_no_osnet(tmp_path):
    transreid = {"base.cls_token": torch.zeros(1, 1, 8), "base.pos_embed": torch.zeros(1, 5, 8)}
    transreid |= {f"base.blocks.{n}.attn.qkv.weight": torch.zeros(24, 8) for n in range(12)}
    transreid |= {"bottleneck.weight": torch.ones(8), "classifier.weight": torch.zeros(751, 8)}
    model = osnet.build("osnet_x0_25", 4, 2)
    with pytest.raises(UserError, match=r"too few; missing conv1\.bn\..*, unknown base\.blocks"):
        pretrained.apply(model, read(write(tmp_path, transreid)))


SCALARS = [np.ones((), code)[()] for code in "?bhilqBHILQefdgFDG"]
SCALARS += [np.str_("é"), np.bytes_(b"x"), np.datetime64("2020-01-01"), np.timedelta64(1, "s")]


@pytest.mark.parametrize("zipped", [True, False])
def test_numpy_s_numbers_of_all_kinds_may_be_in_it(tmp_path, zipped):
    content = {"state_dict": {"a": OLDER}, "best": dict(enumerate(SCALARS))}
    path = write(tmp_path, content, _use_new_zipfile_serialization=zipped)
    assert read(path).weights.keys() == {"a"}
    assert len(NUMBERS) > 10


class Marked(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)


WITH_CODE = {
    "a whole network": (Marked(), r"a whole network \(test_weights_file\.Marked, .*", "."),
    "a network in a dict": (
        {"epoch": 1, "model": Marked()},
        r"a whole network \(test_weights_file\.Marked, .*",
        '["model"].',
    ),
    "Namespace": (
        {"args": argparse.Namespace(lr=1), "model_state_dict": {"a": OLDER}},
        r"more than tensors \(argparse\.Namespace\)",
        '["model_state_dict"]',
    ),
    "Path": (
        {"from": pathlib.PurePosixPath("/x"), "a": OLDER},
        r"more than tensors \(pathlib\.PurePosixPath\)",
        "{k: v for k, v in",
    ),
    "array": (
        {"net": {"a": OLDER}, "cmc": np.ones(3)},
        r"more than tensors \(numpy\._core\.multiarray\._reconstruct, numpy\.ndarray\)",
        '["net"]',
    ),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("kind", WITH_CODE)
def test_what_would_run_code_is_named_with_the_way_out(tmp_path, kind, protocol, zipped):
    content, what, access = WITH_CODE[kind]
    path = write(tmp_path, content, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=rf"m\.pth holds {what}, which cannot be read") as caught:
        read(path)
    said = str(caught.value)
    assert said.isprintable()
    assert access in said
    # the command that it gives makes a file that can be read
    exec(said[said.index("torch.save(") :], {"torch": torch})  # noqa: S102
    assert any("weight" in name or name == "a" for name in read(tmp_path / "weights.pth").weights)


def test_omegaconf_is_named(tmp_path):
    omegaconf = pytest.importorskip("omegaconf")
    path = write(tmp_path, {"cfg": omegaconf.OmegaConf.create({"a": 1}), "params": {"a": OLDER}})
    with pytest.raises(UserError, match=r"omegaconf\.base\..* and \d+ more\), which") as caught:
        read(path)
    assert str(caught.value).isprintable()


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_a_torchscript_program_is_named(tmp_path):
    torch.jit.trace(torch.nn.Linear(1, 1), torch.zeros(1, 1)).save(tmp_path / "m.pt")
    with pytest.raises(UserError, match="holds a TorchScript program, which") as caught:
        read(tmp_path / "m.pt")
    said = str(caught.value)
    exec(said[said.index("torch.save(") :], {"torch": torch})  # noqa: S102
    assert read(tmp_path / "weights.pth").weights.keys() == {"weight", "bias"}


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_protocol_that_torch_cannot_read_is_named(tmp_path, protocol):
    path = write(tmp_path, {"a": OLDER}, pickle_protocol=protocol)
    with pytest.raises(
        UserError, match=rf"is pickled by protocol {protocol}, .*without pickle_pro"
    ):
        read(path)


def test_a_name_out_of_a_file_cannot_write_to_the_terminal(tmp_path):
    path = write(tmp_path, {"\x1b[31mred": torch.tensor([torch.nan])})
    with pytest.raises(UserError, match=r"1 of 1 values of \?\[31mred are NaN") as caught:
        read(path)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_no_numbers_are_refused_by_name(tmp_path, value, suffix, dtype):
    weights = {"fine": OLDER, "conv1.weight": torch.tensor([1.0, value, 1.0], dtype=dtype)}
    path = tmp_path / f"m.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(weights, path)
    with pytest.raises(UserError, match=r"1 of 3 values of conv1\.weight are NaN or infinite"):
        read(path)


@pytest.mark.parametrize("tensor", [torch.zeros(2, device="meta"), torch.eye(2).to_sparse()])
def test_tensors_without_numbers_of_their_own_are_refused_by_name(tmp_path, tensor):
    with pytest.raises(UserError, match="w is not a plain tensor of numbers"):
        read(write(tmp_path, {"w": tensor}))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"state_dict": {}}, torch.zeros(2)])
def test_a_file_without_weights_by_name_says_so(tmp_path, content):
    with pytest.raises(UserError, match="holds no weights by name: save the network's state_dict"):
        read(write(tmp_path, content))


def test_each_split_has_its_network_and_a_file_is_every_split_s(tmp_path):
    def add(split):
        file = tmp_path / "ori" / split / "model.safetensors"
        file.parent.mkdir(parents=True)
        file.write_bytes(b"")
        return file

    with pytest.raises(
        UserError, match=r"has no ori/split_0/model\.safetensors: give data/models/re"
    ):
        of_split(tmp_path, "split_0", "reid", "ori")
    first = add("split_0")
    assert of_split(tmp_path, "split_0", "reid", "ori") == first
    assert of_split(first, "split_4", "reid", "ori") == first
    # people of split 4's test may have trained the network of split 0
    with pytest.raises(UserError, match=r"networks of split_0, none of split_4: set data\."):
        of_split(tmp_path, "split_4", "reid", "ori")
    second = add("split_1")
    assert of_split(tmp_path, "split_1", "reid", "ori") == second
    with pytest.raises(
        UserError, match=r"networks of split_0, split_1, none of split_4: set data\."
    ):
        of_split(tmp_path, "split_4", "reid", "ori")
    with pytest.raises(UserError, match="is neither a file nor a folder"):
        of_split(tmp_path / "missing", "split_0", "restoration")
    weights_file.check_hash(tmp_path, provenance.sha256(tmp_path), "restoration")
    with pytest.raises(UserError, match=r"not that of restoration\.pretrained_sha256"):
        weights_file.check_hash(tmp_path, "0" * 64, "restoration")


def test_judging_needs_every_weight_and_takes_the_network_s_own_size(tmp_path, params):
    reid = params.reid.model_copy(update={"epochs": 0})
    source = osnet.build("osnet_x0_25", 9, 1)
    osnet.save(tmp_path / "h1/split_0/model.safetensors", source, "osnet_x0_25", 48, 24)
    model, *size = pretrained.finished(tmp_path, "h1", "split_0", reid)
    assert size == ["osnet_x0_25", 48, 24]
    assert torch.equal(model.classifier.weight, source.classifier.weight)
    weights = source.state_dict()
    path = write(tmp_path, {"state_dict": weights})
    model, *size = pretrained.finished(path, "h1", "split_0", reid)
    assert size == ["osnet_x0_25", 32, 16]  # of params
    assert torch.equal(model.fc[0].weight, source.fc[0].weight)
    del weights["fc.0.weight"]
    with pytest.raises(UserError, match=re.escape("epochs: 0 needs all; missing fc.0.weight")):
        pretrained.finished(write(tmp_path, weights), "h1", "split_0", reid)
    osnet.save(tmp_path / "h1/split_0/model.safetensors", source, "osnet_x0_25", 48, 24)
    torch.nn.init.constant_(source.fc[0].bias, torch.nan)
    osnet.save(tmp_path / "h1/split_0/model.safetensors", source, "osnet_x0_25", 48, 24)
    with pytest.raises(UserError, match=r"values of fc\.0\.bias are NaN"):
        pretrained.finished(tmp_path, "h1", "split_0", reid)


def test_published_checkpoints_give_the_whole_network(real_data):
    folder = real_data.parent / "weights"
    files = sorted(folder.glob("osnet_x0_25_*.pth"))
    if not files:
        pytest.skip("no published checkpoints beside PYRAMID_REID_DATA")
    for file in files:
        model = osnet.build("osnet_x0_25", 2, 0)
        pretrained.apply(model, read(file), enough=1.0)
