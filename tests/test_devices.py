"""Which devices are taken, and how others are refused."""

import pytest
import yaml

from pyramid_reid import cli
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import load

COMMANDS = [
    ["index", "crops", "--store", "gallery"],
    ["search", "a.jpg", "--store", "gallery"],
    ["restore", "crops", "--out", "restored"],
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("device", ["cpu", "cuda", "cuda:1"])
def test_devices_of_torch_that_are_tried_are_taken(command, device):
    assert cli._parser().parse_args([*command, "--device", device]).device == device


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("device", ["mps", "cuda:", "gpu", "cuda:1x"])
def test_others_are_refused_in_a_sentence(command, device, capsys):
    with pytest.raises(SystemExit) as ended:
        cli._parser().parse_args([*command, "--device", device])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.endswith(f"--device: {device} is not supported: give cpu, cuda, or cuda:1, …")


def test_params_refuse_a_mac_s_gpu_in_a_sentence(tmp_path, raw_params):
    raw_params["device"] = "mps"
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw_params))
    with pytest.raises(UserError) as refused:
        load(path)
    assert str(refused.value) == f"{path}: device: Input should be 'cpu' or 'cuda', got 'mps'"
