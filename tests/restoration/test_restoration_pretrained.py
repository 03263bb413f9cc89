from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file
from test_restoration import ARCHITECTURES, trained_looking

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import HanSize, SwinSize
from pyramid_reid.restoration.network import extractors, reconstructor
from pyramid_reid.restoration.network.extractors import PUBLISHED
from pyramid_reid.restoration.training import pretrained
from pyramid_reid.restoration.training.pretrained import start_from


def fresh(name="swinir"):
    return reconstructor.build(ARCHITECTURES[name], 9)


@pytest.mark.parametrize("name", ["swinir", "han"])
def test_a_model_file_gives_all_its_weights(tmp_path, name):
    source, path = trained_looking(name), tmp_path / "model.safetensors"
    reconstructor.save(path, source)
    model = fresh(name)
    match = start_from(model, path)
    assert not match.fresh
    ours, theirs = model.state_dict(), source.state_dict()
    assert all(torch.equal(ours[part], theirs[part]) for part in theirs)


def test_a_published_checkpoint_gives_the_trunk(tmp_path):
    # as the authors of SwinIR publish it: nested, trunk unprefixed, an up-sampler of its own
    trunk = trained_looking().extractor.state_dict()
    assert "layers.0.residual_group.blocks.1.attn.relative_position_bias_table" in trunk
    path = tmp_path / "published.pth"
    torch.save({"params": {**trunk, "upsample.0.weight": torch.zeros(1)}}, path)
    model = fresh()
    match = start_from(model, path)
    assert len(match.taken) == len(trunk)
    assert all(part.startswith("heads.") for part in match.fresh)
    assert torch.equal(model.extractor.norm.weight, trunk["norm.weight"])
    assert f"{len(trunk)} of {len(model.state_dict())} weights taken" in str(match)


def test_weights_of_another_network_are_an_error(tmp_path):
    path = tmp_path / "other.safetensors"
    save_file({"fc.weight": torch.zeros(3)}, path)
    with pytest.raises(UserError, match=r"0 of 36 weights .*it has fc\.weight;"):
        start_from(fresh(), path)


class Harmful:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize("content", ["code", "text", "missing"])
def test_a_file_of_more_than_weights_is_an_error(tmp_path, content, capsys):
    path = tmp_path / "weights.pth"
    if content == "code":
        torch.save({"state_dict": Harmful()}, path)
    elif content == "text":
        path.write_text("not weights")
    what = r"holds more than tensors \(__builtin__\.print\)"
    with pytest.raises(
        UserError, match=rf"\.pth {what if content == 'code' else 'is not a checkpoint'}"
    ):
        start_from(fresh(), path)
    assert "run" not in capsys.readouterr().out


def official_swinir(size):
    """A SwinIR as KAIR and BasicSR name it, written down from network_swinir.py, of zeros."""
    window, (dim, heads) = 8, (size.dim, size.num_heads)
    shapes = {"conv_first.weight": (dim, 3, 3, 3), "conv_first.bias": (dim,)}
    shapes |= {f"{norm}.{part}": (dim,) for norm in NORMS for part in ("weight", "bias")}
    for group, depth in enumerate(size.depths):
        shapes[f"layers.{group}.conv.weight"] = (dim, dim, 3, 3)
        shapes[f"layers.{group}.conv.bias"] = (dim,)
        for number in range(depth):
            block = f"layers.{group}.residual_group.blocks.{number}"
            if number % 2:
                shapes[f"{block}.attn_mask"] = (64, window**2, window**2)
            for norm in ("norm1", "norm2"):
                shapes |= {f"{block}.{norm}.{part}": (dim,) for part in ("weight", "bias")}
            table = f"{block}.attn.relative_position"
            shapes[f"{table}_bias_table"] = ((2 * window - 1) ** 2, heads)
            shapes[f"{table}_index"] = (window**2, window**2)
            layers = ("attn.qkv", dim, 3 * dim), ("attn.proj", dim, dim)
            for name, inside, outside in (
                *layers,
                ("mlp.fc1", dim, 2 * dim),
                ("mlp.fc2", 2 * dim, dim),
            ):
                shapes[f"{block}.{name}.weight"] = (outside, inside)
                shapes[f"{block}.{name}.bias"] = (outside,)
    shapes |= {"conv_after_body.weight": (dim, dim, 3, 3), "conv_after_body.bias": (dim,)}
    shapes |= {"upsample.0.weight": (12, dim, 3, 3), "upsample.0.bias": (12,)}
    return OrderedDict((name, torch.zeros(shape)) for name, shape in shapes.items())


NORMS = ("patch_embed.norm", "norm")


def made(size):
    return reconstructor.build(
        reconstructor.Architecture(size=size, head_dim=4, scales=(2, 3, 4)), 9
    )


@pytest.mark.parametrize("name", ["swinir", "swinir_light"])
@pytest.mark.parametrize("wrapper", ["params", "params_ema"])  # of KAIR, and of BasicSR
def test_a_swinir_of_the_published_size_gives_its_whole_trunk(tmp_path, name, wrapper):
    path = tmp_path / "002_lightweightSR_DIV2K_s64w8_SwinIR-S_x2.pth"
    torch.save({wrapper: official_swinir(PUBLISHED[name])}, path)
    match = start_from(made(PUBLISHED[name]), path)
    assert all(part.startswith("heads.") for part in match.fresh)
    assert match.ema == ("params_ema" if wrapper == "params_ema" else "")
    assert ("running means of params_ema" in str(match)) == bool(match.ema)


def test_a_swinir_of_another_size_is_named_with_what_to_set(tmp_path):
    path, demo = tmp_path / "m.pth", SwinSize(depths=(2, 2, 2), dim=32, num_heads=4)
    torch.save({"params": official_swinir(PUBLISHED["swinir_light"])}, path)
    with pytest.raises(UserError) as caught:
        start_from(made(demo), path)
    assert str(caught.value) == (
        "restoration.pretrained: 0 of 92 weights of the extractor, a SwinIR of depths [2, 2, 2],"
        f" dim 32, num_heads 4, are found in {path} by name and shape, too few: it is a SwinIR of"
        " depths [6, 6, 6, 6], dim 60, num_heads 6; set restoration.extractor: swinir_light with"
        " restoration.swinir_light: null, or give another file"
    )
    torch.save({"params": official_swinir(SwinSize(depths=(3, 2), dim=24, num_heads=2))}, path)
    with pytest.raises(UserError, match=r"light: \{depths: \[3, 2\], dim: 24, num_heads: 2\}, or"):
        start_from(made(demo), path)


@pytest.mark.parametrize("name", ["han", "han_light"])
def test_a_han_tells_its_size(tmp_path, name):
    trunk = extractors.build(PUBLISHED[name]).state_dict()
    assert pretrained.published_size(trunk) == PUBLISHED[name]
    torch.save({f"module.{part}": value for part, value in trunk.items()}, tmp_path / "m.pt")
    other = made(HanSize(groups=2, blocks=1, dim=16))
    with pytest.raises(UserError, match=rf"set restoration\.extractor: {name}"):
        start_from(other, tmp_path / "m.pt")


def test_less_than_half_of_the_extractor_is_refused_whatever_the_heads_give(tmp_path):
    weights = {part: value for part, value in fresh().state_dict().items() if "heads" in part}
    torch.save(weights | {"extractor.norm.weight": torch.ones(8)}, tmp_path / "m.pth")
    with pytest.raises(UserError, match="1 of 36 weights of the extractor"):
        start_from(fresh(), tmp_path / "m.pth")


def test_only_a_finished_reconstructor_is_judged_as_it_is(tmp_path):
    path = tmp_path / "split_0" / "model.safetensors"
    reconstructor.save(path, trained_looking())
    model = pretrained.finished(path, "split_3")  # a file is every split's
    ours, theirs = model.state_dict(), trained_looking().state_dict()
    assert all(torch.equal(ours[part], theirs[part]) for part in theirs)
    save_file({"conv_first.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="iterations: 0 needs a finished reconstructor"):
        pretrained.finished(tmp_path / "other.safetensors", "split_0")
    weights = trained_looking()
    torch.nn.init.constant_(weights.heads[0].rgb.bias, torch.inf)
    reconstructor.save(path, weights)
    with pytest.raises(UserError, match=r"3 of 3 values of heads\.0\.rgb\.bias are NaN or inf"):
        pretrained.finished(tmp_path, "split_0")
