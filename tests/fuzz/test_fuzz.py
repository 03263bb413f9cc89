"""Some hundred bad inputs of each kind; benchmarks/fuzz/fuzz.py tries many more."""

import random
from itertools import islice

import pytest
from benchmarks.fuzz.attempt import Attempt
from benchmarks.fuzz.fuzz import fuzz, outcome
from benchmarks.fuzz.mutations import Touch, hostile
from benchmarks.fuzz.targets import TARGETS

from pyramid_reid.core.errors import UserError
from pyramid_reid.training import weights_file

TRIES = {"model files": 10, "distances": 30}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_bad_input_is_accepted_whole_or_refused_by_name(tmp_path, name):
    counts = fuzz(name, TRIES.get(name, 100), 7, tmp_path / "inputs")
    assert counts["wrong"] == 0
    assert counts["accepted"] + counts["clear"] == TRIES.get(name, 100)


def refuse(said):
    raise UserError(said)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda: 1, "accepted"),
        (lambda: refuse("a.csv is wrong: mend it"), "clear"),
        (lambda: refuse("something is wrong"), "wrong"),
        (lambda: refuse("a.csv is wrong:\nmend it"), "wrong"),
        (lambda: 1 / 0, "wrong"),
        (lambda: 0, "wrong"),
    ],
)
def test_what_counts_as_a_clear_error(call, kind):
    assert outcome(Attempt(call, ("a.csv",), bool))[0] == kind


def test_the_hostile_pickles_would_run(tmp_path):
    import pickle

    pickle.loads(pickle.dumps(Touch(tmp_path / "canary")))  # noqa: S301
    assert (tmp_path / "canary").is_dir()


def test_no_pickle_runs(tmp_path):
    for number in range(40):
        path = tmp_path / "w.pth"
        path.write_bytes(hostile(tmp_path / "canary", random.Random(number)))
        with pytest.raises(
            UserError, match=r"w\.pth (is not a checkpoint|holds more than tensors)"
        ):
            weights_file.read(path)
    assert not (tmp_path / "canary").exists()


def test_code_that_runs_is_wrong_however_it_ends(tmp_path):
    assert outcome(Attempt(lambda: 1, (), canary=tmp_path / "none"))[0] == "accepted"
    assert outcome(Attempt(lambda: 1, (), canary=tmp_path))[0] == "wrong"
    assert outcome(Attempt(lambda: refuse("no"), (), canary=tmp_path))[0] == "wrong"


@pytest.mark.parametrize("name", ["params.yaml", "images"])
def test_inputs_are_the_same_for_the_same_seed(tmp_path, name):
    def inputs(folder):
        folder.mkdir()
        make, _ = TARGETS[name]
        (file,) = {"params.yaml": ["params.yaml"], "images": ["1.png"]}[name]
        return [(folder / file).read_bytes() for _ in islice(make(folder, random.Random(3)), 20)]

    assert inputs(tmp_path / "a") == inputs(tmp_path / "b")
