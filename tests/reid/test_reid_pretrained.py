import hashlib
import pickle
from pathlib import Path

import gdown
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchreid.reid.utils import save_checkpoint

from pyramid_reid.core.errors import UserError
from pyramid_reid.reid.network import osnet
from pyramid_reid.reid.training import pretrained
from pyramid_reid.training import weights_file


@pytest.fixture
def network():
    return osnet.build("osnet_x0_25", 7, 1)


def checkpoint(weights):
    return weights_file.Checkpoint(dict(weights), "")


def same_body(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    return all(torch.equal(ours[n], theirs[n]) for n in ours if not n.startswith("classifier"))


def in_torchreid_s_format(network, folder):
    weights = {f"module.{name}": value for name, value in network.state_dict().items()}
    state = {"state_dict": weights, "epoch": 1, "rank1": np.float64(94.2), "optimizer": {}}
    save_checkpoint(state, str(folder), remove_module_from_keys=False)
    return folder / "model.pth.tar-1"


def plain(network, folder):
    torch.save(network.state_dict(), folder / "m.pth")
    return folder / "m.pth"


def safetensors(network, folder):
    weights = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / "m.safetensors")
    return folder / "m.safetensors"


@pytest.mark.parametrize("write", [in_torchreid_s_format, plain, safetensors])
def test_every_format_gives_all_but_the_classifier(network, tmp_path, capsys, write):
    path = write(network, tmp_path)
    capsys.readouterr()
    model = osnet.build("osnet_x0_25", 4, 2)
    before = model.classifier.weight.clone()
    pretrained.apply(model, weights_file.read(path))
    assert same_body(model, network)
    assert torch.equal(model.classifier.weight, before)
    count = len(model.state_dict()) - 2
    said = capsys.readouterr().out
    assert f"{count} of {count} weights loaded" in said
    assert "not used: classifier.bias, classifier.weight" in said


def test_a_network_of_another_width_is_refused(network):
    with pytest.raises(
        UserError, match=r"weights of reid\.model are found .*too few; missing conv1"
    ):
        pretrained.apply(osnet.build("osnet_x0_5", 4, 2), checkpoint(network.state_dict()))


def test_what_fits_in_part_is_reported(network, capsys):
    weights = network.state_dict()
    del weights["fc.0.weight"]
    weights["head.weight"] = torch.zeros(3)
    pretrained.apply(osnet.build("osnet_x0_25", 4, 2), checkpoint(weights))
    said = capsys.readouterr().out
    assert "left as they were: fc.0.weight" in said
    assert "not used: classifier.bias, classifier.weight, head.weight" in said


class Trap:
    def __reduce__(self):
        return print, ("code in a checkpoint ran",)


@pytest.mark.parametrize("content", [b"nothing", pickle.dumps(Trap(), protocol=2)])
@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
def test_what_is_no_checkpoint_is_named_and_never_run(tmp_path, capsys, name, content):
    (tmp_path / name).write_bytes(content)
    held = name == "m.pth" and content != b"nothing"
    what = r"holds more than tensors \(__builtin__\.print\)" if held else "is not a checkpoint"
    with pytest.raises(UserError, match=rf"{name} {what}"):
        weights_file.read(tmp_path / name)
    torch.save({"state_dict": Trap()}, tmp_path / "m.pth")
    with pytest.raises(UserError, match=r"m\.pth holds more than tensors \(__builtin__\.print\)"):
        weights_file.read(tmp_path / "m.pth")
    assert "ran" not in capsys.readouterr().out


def test_the_file_is_held_against_its_hash(tmp_path, capsys):
    path = tmp_path / "m.pth"
    path.write_bytes(b"weights")
    sha256 = hashlib.sha256(b"weights").hexdigest()
    assert pretrained.find(str(path), "osnet_x1_0", sha256.upper(), tmp_path) == path
    assert pretrained.find(str(path), "osnet_x1_0", None, tmp_path) == path
    assert f"set reid.pretrained_sha256: {sha256}" in capsys.readouterr().out
    with pytest.raises(UserError, match="not that of"):
        pretrained.find(str(path), "osnet_x1_0", "0" * 64, tmp_path)
    with pytest.raises(UserError, match="other is neither a file nor a folder"):
        pretrained.find(str(tmp_path / "other"), "osnet_x1_0", None, tmp_path)


def test_published_weights_are_fetched_once(tmp_path, monkeypatch):
    fetched = []

    def download(url, file):
        fetched.append(url)
        Path(file).write_bytes(b"weights")

    monkeypatch.setattr(gdown, "download", download)
    for _ in range(2):
        path = pretrained.find("imagenet", "osnet_ain_x0_5", None, tmp_path / "new")
        assert path.read_bytes() == b"weights"
    assert len(fetched) == 1
    assert fetched[0].startswith("https://drive.google.com/")


def test_without_a_network_the_message_says_what_to_do(tmp_path, monkeypatch):
    def download(url, file):
        raise ConnectionError("no route")

    monkeypatch.setattr(gdown, "download", download)
    with pytest.raises(UserError, match=r"could not be fetched \(ConnectionError\).*give its path"):
        pretrained.find("imagenet", "osnet_x1_0", None, tmp_path)
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
