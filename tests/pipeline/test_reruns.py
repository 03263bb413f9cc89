"""What DVC reruns after a change, in the table that the documentation shows."""

import pytest

from show_reruns import CHANGES, Change, finished_copy, rerun

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")  # of DVC

AFTER_CROPS = {"train_reconstructor", "generate_pyramid", "train_reid", "distances"}
JUDGED = {"sweep_weights", "fuse"}
PACKED = {"pack_model"}
EVERYTHING = {"download", "simulate"} | AFTER_CROPS | JUDGED | PACKED
WITHOUT_SEED = {"generate_pyramid", "distances"} | PACKED

EXPECTED = {
    "fusion.w_ori": ({"fuse"} | PACKED, set()),
    "evaluation.resamples": ({"fuse"}, PACKED),
    # the data card tells how many gallery crops count by that rule
    "evaluation.rule": ({"simulate"} | JUDGED, AFTER_CROPS | PACKED),
    "sweep.step": ({"sweep_weights"}, set()),
    "reid.lr": ({"train_reid"}, {"distances"} | JUDGED | PACKED),
    "generation.batch_pixels": (
        {"generate_pyramid"},
        {"train_reid", "distances"} | JUDGED | PACKED,
    ),
    "restoration.lr": (
        {"train_reconstructor"},
        {"generate_pyramid", "train_reid", "distances"} | JUDGED | PACKED,
    ),
    "simulate.ratios": ({"simulate"}, AFTER_CROPS | JUDGED | PACKED),
    "simulate.degradation": ({"simulate"}, AFTER_CROPS | JUDGED | PACKED),
    "data.identities": ({"download"}, EVERYTHING - {"download"}),
    "seed": (EVERYTHING - WITHOUT_SEED, WITHOUT_SEED),
    "threads": (AFTER_CROPS, JUDGED | PACKED),
    "# in params.yaml": (set(), set()),
    "# in src/pyramid_reid/compare/differences.py": (set(), set()),
    "# in src/pyramid_reid/evaluation/rankings.py": (JUDGED, PACKED),
    "# in src/pyramid_reid/core/params.py": (EVERYTHING, set()),
    "pin of torch": (AFTER_CROPS | PACKED, JUDGED),
    "pin of numpy": (EVERYTHING, set()),
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return finished_copy(tmp_path_factory.mktemp("reruns") / "project")


@pytest.mark.parametrize("what", EXPECTED)
def test_a_change_reruns_what_reads_it_and_what_follows(project, what):
    (change,) = [each for each in CHANGES if each.what == what]
    at_once, then = (
        {name.partition("@")[0] for name in stages} for stages in rerun(project, change)
    )
    assert (at_once, then) == EXPECTED[what]


def test_a_stage_of_one_branch_is_followed_along_its_branch_alone(project):
    change = Change("another h2", "data/pyramid/h2", lambda text: f"{text}!")
    at_once, then = rerun(project, change)
    # the changed out itself counts as changed, and what reads it
    assert at_once == {"generate_pyramid", "train_reid@h2", "distances@h2"}
    assert then >= JUDGED
