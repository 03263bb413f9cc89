import hashlib
import re
import subprocess

import pytest
import yaml
from conftest import ROOT
from dvc.utils.hydra import apply_overrides
from dvc.utils.serialize import load_yaml as dvc_load_yaml

from pyramid_reid import presets
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES, load


def write(tmp_path, raw):
    path = tmp_path / "params.yaml"
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw), encoding="utf-8")
    return path


def test_the_committed_file_is_valid_and_leaves_room_for_the_card_s_example(tmp_path, raw_params):
    assert load(write(tmp_path, raw_params)).fusion.w_ori != 0.4


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("seed", -1, "seed"),
        ("seed", True, "seed"),
        ("device", "tpu", "device"),
        ("data.name", "market", "data.name"),
        ("data.root", "somewhere", "data.root must be data/own"),
        ("simulate.ratios", [1], "simulate.ratios"),
        ("simulate.ratios", 3, "simulate.ratios"),
        ("restoration.scales", [2, 4], "restoration.scales"),
        ("restoration.scales", [2, 4, 3], "restoration.scales must increase"),
        (
            "restoration.swinir_light",
            {"depths": [2], "dim": 30, "num_heads": 4},
            "restoration.swinir_light.dim (30) must be a multiple",
        ),
        ("restoration.swinir_light", {"dim": 30}, "restoration.swinir_light.depths is missing"),
        ("restoration.han_light", {"groups": 1, "blocks": 1, "dim": 8}, "restoration.han_light"),
        ("restoration.extractor", "edsr", "restoration.extractor"),
        ("restoration.head_weights", [0.0, 0.0, 0.0], "at least one of restoration.head_weights"),
        ("generation.batch_pixels", 0, "generation.batch_pixels"),
        ("data.identities", 10_000, "data.identities"),
        ("restoration.lr", "fast", "restoration.lr"),
        ("restoration.lr", float("nan"), "restoration.lr"),
        ("restoration.iterations", 0, "restoration.iterations"),
        ("restoration.iterations", 5.0, "restoration.iterations"),
        ("reid.epochs", 5, "reid.warmup_epochs (5) must be less than reid.epochs (5)"),
        ("reid.label_smoothing", 1.0, "reid.label_smoothing"),
        ("reid.height", 8, "params.yaml: reid.height: Input should be greater"),
        ("reid.height", {"ori": 32, "h1": 32, "h2": 32}, "params.yaml: reid.height.h3 is missing"),
        ("reid.pretrained", 3, "params.yaml: reid.pretrained: Input should be a valid string"),
        ("reid.pretrained", {"ori": "none"}, "params.yaml: reid.pretrained.h1 is missing"),
        ("reid.pretrained_sha256", "zz", "params.yaml: reid.pretrained_sha256: String should"),
        ("reid.unknown", 1, "reid.unknown is not a known key"),
        ("fusion.w_h1", float("inf"), "fusion.w_h1"),
        ("fusion.w_h1", -0.1, "fusion.w_h1"),
        ("evaluation.rule", "cuhk03", "evaluation.rule"),
        ("evaluation.resamples", 10, "evaluation.resamples"),
        ("evaluation.lambda_value", 1.5, "evaluation.lambda_value"),
        ("sweep.step", 0.3, "sweep.step (0.3) must divide 1"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, raw_params, key, value, named):
    *sections, name = key.split(".")
    section = raw_params[sections[0]] if sections else raw_params
    section[name] = value
    with pytest.raises(UserError) as caught:
        load(write(tmp_path, raw_params))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_problems_are_named_at_once(tmp_path, raw_params):
    del raw_params["reid"]["epochs"]
    raw_params["threads"] = 0
    with pytest.raises(UserError, match=r"threads.*reid\.epochs is missing"):
        load(write(tmp_path, raw_params))


def replaced(old, new):
    """The committed file with one line changed; the text, as a user writes it."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert old in text
    return text.replace(old, new, 1)


@pytest.mark.parametrize(
    ("old", "new", "value"),
    [
        ("w_h1: 0.25", "w_h1: 25e-2", 0.25),
        ("w_h1: 0.25", "w_h1: 0x10", 16),
        ("w_h1: 0.25", "w_h1: 010", 10),
        ("w_h1: 0.25", "w_h1: 1_000", 1000),
    ],
)
def test_numbers_are_read_as_dvc_reads_them(tmp_path, old, new, value):
    path = write(tmp_path, replaced(old, new))
    assert load(path).fusion.w_h1 == value
    assert dvc_load_yaml(path)["fusion"]["w_h1"] == value


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("w_h1: 0.25", 'w_h1: "25e-2"', "fusion.w_h1: .* a number has no quotes"),
        ("rerank: false", "rerank: no", "evaluation.rerank: .* a truth value is true or false"),
        ("w_h1: 0.25", "w_h1: 0.25\n  w_h1: 0.5", 'line (LINE|NEXT): .* duplicate key "w_h1"'),
        ("w_h1: 0.25", "w_h1: &a [*a]", "fusion.w_h1"),
        ("w_h1: 0.25", "w_h1: .nan", "fusion.w_h1"),
        ("w_h1: 0.25", "w_h1: 2024-13-45", "not valid YAML"),
        ("w_h1: 0.25", "\tw_h1: 0.25", "line LINE: "),
        ("w_h1: 0.25", "w_h1: " + "[" * 5000, "nested too deep|not valid YAML"),
        ("w_h1: 0.25", "w_h1: !!python/object/apply:os.system [exit]", "not valid YAML"),
    ],
)
def test_surprises_of_yaml_are_named_by_key_or_line(tmp_path, old, new, said):
    line = next(n for n, text in enumerate(replaced(old, old).splitlines(), 1) if old in text)
    said = said.replace("LINE", str(line)).replace("NEXT", str(line + 1))
    with pytest.raises(UserError, match=rf"params\.yaml.*{said}") as caught:
        load(write(tmp_path, replaced(old, new)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"name": "synthetic", "url": "http://a/b.zip"}, "data.url must be null"),
        ({"name": "synthetic", "variant": "new"}, "data.variant of synthetic: new must be null"),
        ({"name": "viper", "root": ""}, "data.root"),
        ({"name": "viper", "root": "a", "url": "http://a/b.zip"}, "data.root and data.url"),
        ({"name": "viper", "url": "ftp://a/b.zip"}, "data.url"),
        ({"name": "viper", "sha256": "abc"}, "data.sha256"),
        ({"name": "cuhk03", "variant": "new"}, "is none of detected_classic, labeled_classic"),
        ({"name": "manifest", "camera_pattern": "c(.)"}, "data.camera_pattern must be null"),
        ({"name": "folders", "camera_pattern": "c(."}, "is not a regular expression"),
        ({"name": "folders", "camera_pattern": "c."}, "has 0 groups: put brackets"),
        ({"name": "folders", "camera_pattern": "(c)(.)"}, "has 2 groups: put brackets"),
    ],
)
def test_a_source_or_variant_that_the_set_cannot_have_is_named(tmp_path, raw_params, data, said):
    raw_params["data"] |= data
    with pytest.raises(UserError) as caught:
        load(write(tmp_path, raw_params))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [
        {"name": "viper"},
        {"name": "viper", "root": "/a"},
        {"name": "manifest", "url": "https://a/b.zip?c=d", "sha256": "0A" * 32},
        {"name": "cuhk03", "root": "/a", "variant": "labeled_new"},
        {"name": "folders", "root": "/a", "camera_pattern": r"_c(\d+)"},
        {"name": "folders", "root": "/a", "camera_pattern": r"(a|b)_c(?P<camera>\d+)"},
    ],
)
def test_a_real_set_has_a_folder_or_an_address(tmp_path, raw_params, data):
    raw_params["data"] |= data
    assert load(write(tmp_path, raw_params)).data.name == data["name"]


@pytest.mark.parametrize("extractor", ["bicubic", "identity"])
def test_what_does_not_learn_has_no_weights_to_start_from(tmp_path, raw_params, extractor):
    raw_params["restoration"] |= {"extractor": extractor, "pretrained": "model.safetensors"}
    with pytest.raises(UserError, match=r"restoration\.pretrained must be none"):
        load(write(tmp_path, raw_params))


def test_a_reconstructor_named_as_published_reid_weights_needs_its_hash(tmp_path, raw_params):
    raw_params["restoration"] |= {"extractor": "han_light", "pretrained": "msmt17"}
    with pytest.raises(UserError, match="msmt17 is neither a file nor a folder"):
        load(write(tmp_path, raw_params))
    raw_params["restoration"]["pretrained"] = "none"
    raw_params["reid"]["pretrained"] = "msmt17"  # known by its name there
    assert load(write(tmp_path, raw_params)).reid.pretrained == "msmt17"


def test_each_branch_may_start_from_weights_of_its_own(tmp_path, raw_params):
    file = tmp_path / "own.pth"
    file.write_bytes(b"weights")
    hashed = hashlib.sha256(b"weights").hexdigest()
    starts = {"ori": str(file), "h1": "msmt17", "h2": "none", "h3": "imagenet"}
    raw_params["reid"]["pretrained"] = starts
    with pytest.raises(UserError, match=r"reid\.pretrained\.ori: say which file") as caught:
        load(write(tmp_path, raw_params))
    hashes = {"ori": hashed, "h1": None, "h2": None, "h3": None}
    pasted(tmp_path, str(caught.value))
    reid = load(tmp_path / "params.yaml").reid
    raw_params["reid"]["pretrained_sha256"] = hashes
    assert reid == load(write(tmp_path, raw_params)).reid
    assert reid.starts == starts | {"h2": None}
    for branch in starts:
        own = reid.of_branch(branch)
        assert (own.pretrained, own.pretrained_sha256) == (reid.starts[branch], hashes[branch])
        assert own.start(branch) == reid.start(branch)
    raw_params["reid"]["start_weight"] = 0.4
    said = r"reid\.start_weight \(0\.4\) must be 0 without reid\.pretrained\.h2, as"
    with pytest.raises(UserError, match=said):
        load(write(tmp_path, raw_params))
    starts["h2"] = "market1501"
    assert load(write(tmp_path, raw_params)).reid.starts["h2"] == "market1501"
    raw_params["data"]["name"] = "market1501"
    with pytest.raises(UserError, match="people of market1501 trained these weights"):
        load(write(tmp_path, raw_params))


def pasted(folder, message):
    """Give DVC what a message says after -S, as a shell would."""
    option = re.search(r"-S (.*)$", message)[1]
    words = subprocess.run(
        ["bash", "-c", f"printf '%s\n' {option}"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    apply_overrides(folder / "params.yaml", words)


def test_a_hash_that_is_given_is_not_computed_anew(tmp_path, raw_params):
    """What lies at one path now need not be what was pinned."""
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(name.encode())
    starts = {"ori": "a.pth", "h1": "b.pth", "h2": "msmt17", "h3": "missing.pth"}
    pinned = {"ori": "a" * 64, "h1": None, "h2": None, "h3": "b" * 64}
    paths = {branch: str(tmp_path / name) for branch, name in starts.items()} | {"h2": "msmt17"}
    raw_params["reid"] |= {"pretrained": paths, "pretrained_sha256": pinned}
    with pytest.raises(UserError, match=r"reid\.pretrained\.h1: say which file") as caught:
        load(write(tmp_path, raw_params))
    pasted(tmp_path, str(caught.value))
    found = load(tmp_path / "params.yaml").reid.pretrained_sha256
    assert found.model_dump() == pinned | {"h1": hashlib.sha256(b"b.pth").hexdigest()}


def test_hashes_are_given_as_the_starts_are(tmp_path, raw_params):
    raw_params["reid"] |= {"pretrained": "own.pth", "pretrained_sha256": dict.fromkeys(BRANCHES)}
    with pytest.raises(UserError, match="must be one hash, as reid"):
        load(write(tmp_path, raw_params))
    raw_params["reid"] |= {
        "pretrained": dict.fromkeys(BRANCHES, "own.pth"),
        "pretrained_sha256": "0" * 64,
    }
    with pytest.raises(UserError, match="must name a hash by branch"):
        load(write(tmp_path, raw_params))
    raw_params["reid"]["pretrained_sha256"] = None
    with pytest.raises(UserError, match=r"reid\.pretrained\.ori: own\.pth is neither a file nor"):
        load(write(tmp_path, raw_params))


def test_what_is_not_trained_is_named(tmp_path, raw_params):
    raw_params["reid"] |= {"epochs": 0, "pretrained": "none"}
    with pytest.raises(UserError, match=r"reid\.epochs: 0 trains nothing: name the networks"):
        load(write(tmp_path, raw_params))
    raw_params["reid"] |= {"pretrained": "data/models/reid", "pretrained_sha256": "0" * 64}
    assert load(write(tmp_path, raw_params)).reid.epochs == 0  # whatever warmup_epochs is
    raw_params["restoration"] |= {"iterations": 0, "pretrained": "none"}
    with pytest.raises(UserError, match=r"restoration\.iterations: 0 trains nothing: name the"):
        load(write(tmp_path, raw_params))
    raw_params["restoration"]["extractor"] = "bicubic"
    assert load(write(tmp_path, raw_params)).restoration.iterations == 0


def test_weights_that_are_all_zero_fuse_nothing(tmp_path, raw_params):
    raw_params["fusion"] = dict.fromkeys(raw_params["fusion"], 0.0)
    with pytest.raises(UserError, match="at least one of"):
        load(write(tmp_path, raw_params))


@pytest.mark.parametrize("text", ["a: [", "", "- 1", "\x00"])
def test_no_mapping_is_one_clear_error(tmp_path, text):
    with pytest.raises(UserError, match=r"params\.yaml"):
        load(write(tmp_path, text))


def test_a_missing_file_is_one_clear_error(tmp_path):
    with pytest.raises(UserError, match="is missing"):
        load(tmp_path / "params.yaml")


README = (ROOT / "README.md").read_text(encoding="utf-8").replace("\\\n", " ")


@pytest.mark.parametrize("command", re.findall(r"^dvc exp run .*$", README, re.MULTILINE))
def test_the_commands_of_the_readme_give_valid_params(tmp_path, raw_params, command):
    for name, start in re.findall(r"\$\(pyramid-reid preset (\w+) (\w+)\)", command):
        command += " " + " ".join(presets.read(name).options(start))
    overrides = re.findall(r"-S ([\w.]+)=(\S+)", command)
    assert overrides
    for key, value in overrides:
        *sections, name = key.split(".")
        section = raw_params[sections[0]] if sections else raw_params
        assert name in section
        section[name] = yaml.safe_load(value)
        if name == "pretrained":  # the command asks for it
            section["pretrained_sha256"] = "0" * 64
    load(write(tmp_path, raw_params))
