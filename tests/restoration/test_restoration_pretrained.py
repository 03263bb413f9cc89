import pytest
import torch
from safetensors.torch import save_file
from test_restoration import ARCHITECTURES, trained_looking

from pyramid_reid.core.errors import UserError
from pyramid_reid.restoration.network import reconstructor
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
    with pytest.raises(UserError, match=r"none of the 1 entries .*'fc\.weight'"):
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
    with pytest.raises(UserError, match=r"weights\.pth is no checkpoint"):
        start_from(fresh(), path)
    assert "run" not in capsys.readouterr().out
