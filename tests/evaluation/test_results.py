"""Records of experiments and what is told from them, on rankings small enough to count by hand."""

import json

import numpy as np
import pytest
import yaml
from benchmarks.results import comparison, pictures, plan, records
from benchmarks.results.comparison import Row
from test_evaluation import BAD, GOOD, HALF, write

from pyramid_reid.core import params as params_module
from pyramid_reid.core import protocol_record
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.protocol import presets

OUTPUT = """Running stage 'train_reid@ori':
> python stages/train_reid.py ori
train_reid ori: 1 network(s) in data/models/reid/ori; accuracy 9.0 % (120 s)
Stage 'train_reid@h1' is cached - skipping run, checking out outputs
generate_pyramid: 1000 crops at ×2 in data/pyramid, 1 split(s) (60 s)
"""
ORI, EQUAL = Row("ori", "a", "ori"), Row("fused", "a", "equal")


def project(folder, split, distmats, validation="ori"):
    """A finished run of one split, as far as `collect` reads it."""
    for branch, distmat in zip(BRANCHES, distmats, strict=True):
        write(folder / "data/distances" / branch / f"split_{split}", distmat)
    chosen = {f"w_{branch}": float(branch == validation) for branch in BRANCHES}
    metrics = {
        "dataset": {"splits_sha256": f"of {split}"},
        "reconstructor": {"x2": {"psnr": 30.0, "psnr_bicubic": 28.5}},
        "weights": {"validation": chosen, "oracle_test": chosen, "nearest_equal": chosen},
    }
    (folder / "data/crops").mkdir()
    protocol_record.write(folder / "data/crops", presets.record(presets.PROTOCOLS["viper"]))
    (folder / "metrics").mkdir()
    for name, content in metrics.items():
        (folder / f"metrics/{name}.json").write_text(json.dumps(content))
    return folder


@pytest.fixture
def record(params, tmp_path):
    def made(split, distmats, output=OUTPUT):
        folder = project(tmp_path / f"run {split} {len(list(tmp_path.iterdir()))}", split, distmats)
        return records.collect(folder, params, split, {"revision": "abc"}, output)

    return made


def test_a_record_holds_what_each_branch_and_each_weights_reached(record):
    made = record(3, (HALF, GOOD, GOOD, GOOD))
    assert list(made.about["metrics"]) == [
        *BRANCHES,
        "equal",
        "2:1:1:1",
        "validation",
        "oracle_test",
    ]
    assert made.about["metrics"]["ori"]["rank1"] == 50
    assert made.about["metrics"]["ori"]["mAP"] == 75
    assert made.about["metrics"]["equal"]["rank1"] == 100
    assert made.about["metrics"]["validation"] == made.about["metrics"]["ori"]  # weighs ori alone
    assert made.queries["ori.rank1"].tolist() == [100, 0]
    assert made.queries["equal.mAP"].tolist() == [100, 100]
    assert made.about["revision"] == "abc"


def test_seconds_are_those_of_the_stages_that_ran():
    assert records.seconds(OUTPUT) == {"train_reid ori": 120, "generate_pyramid": 60}


def test_a_run_of_other_splits_is_not_recorded(params, tmp_path):
    folder = project(tmp_path / "run", 0, [GOOD] * 4)
    with pytest.raises(UserError, match="does not hold split 1 alone"):
        records.collect(folder, params, 1, {}, "")


def test_records_are_read_as_they_were_written(record, tmp_path):
    written = [record(split, [GOOD] * 4) for split in (10, 2)]
    for each in written:
        records.write(tmp_path / "set" / "a", each)
    read = records.read(tmp_path / "set" / "a")
    assert [each.split for each in read] == [2, 10]
    assert read[0].about == written[1].about
    np.testing.assert_array_equal(read[0].queries["h1.mAP"], written[1].queries["h1.mAP"])
    (tmp_path / "set" / "a" / "split_2.csv").unlink()
    with pytest.raises(UserError, match="damaged record"):
        records.read(tmp_path / "set" / "a")
    with pytest.raises(UserError, match="holds no record"):
        records.read(tmp_path / "set" / "b")


def test_only_splits_that_all_experiments_have_are_compared(record):
    of = {"a": [record(0, [GOOD] * 4), record(1, [GOOD] * 4)], "b": [record(1, [HALF] * 4)]}
    kept = comparison.aligned(of)
    assert [[each.split for each in each_of] for each_of in kept.values()] == [[1], [1]]
    with pytest.raises(UserError, match="no split in common"):
        comparison.aligned({"a": of["a"][:1], "b": of["b"]})
    of["b"][0].about["dataset"]["splits_sha256"] = "of other people"
    with pytest.raises(UserError, match="split 1 are of different crops"):
        comparison.aligned(of)


def test_a_row_is_the_mean_over_splits_with_its_deviation(record):
    of = {"a": [record(0, (GOOD, GOOD, GOOD, GOOD)), record(1, (HALF, GOOD, GOOD, GOOD))]}
    told = comparison.table(of, [ORI, EQUAL]).set_index("row")
    assert told["Rank-1"].tolist() == ["75.0 ± 35.4", "100.0 ± 0.0"]
    assert told["mAP"].tolist() == ["87.5 ± 17.7", "100.0 ± 0.0"]
    assert told["95 % of mAP"]["fused"] == "100.0 … 100.0"
    against = comparison.differences(of, [ORI, EQUAL], {"ori": ORI}).set_index("row")
    assert against["Rank-1 − ori"]["ori"] == ""
    # one of two people is better, in one of two splits: a coin's toss
    assert against["Rank-1 − ori"]["fused"] == "+25.0 [+0.0, +50.0] p 1.000"


def test_a_row_costs_the_stages_it_needs_wherever_they_ran(record):
    everything = dict.fromkeys(comparison.stages("equal"), 60.0)
    without_ori = {stage: 60.0 for stage in everything if not stage.endswith(" ori")}
    of = {"a": [record(0, [GOOD] * 4)], "b": [record(0, [GOOD] * 4)]}
    for name, seconds in (("a", everything), ("b", without_ori)):
        of[name][0].about["cpu_seconds"] = seconds
    assert comparison.minutes(of, Row("", "b", "ori")) == 2
    assert comparison.minutes(of, Row("", "b", "h1")) == 4  # and what restores it
    assert comparison.minutes(of, Row("", "b", "equal")) == 10
    assert np.isnan(comparison.minutes({"b": of["b"]}, Row("", "b", "equal")))
    of["a"].append(record(1, [GOOD] * 4))
    of["a"][1].about["cpu_seconds"] = everything | {"train_reid ori": 30.0}
    assert comparison.minutes({"a": of["a"]}, ORI) == 1.5  # the least of each stage


def test_psnr_and_rank1_gains_of_each_split(record):
    of = {"a": [record(0, (BAD, HALF, GOOD, GOOD))]}
    gains = comparison.gains(of, Row("", "a", "h1"), ORI)
    assert gains.to_numpy().tolist() == [[1.5, 50.0]]
    assert comparison.gains(of, Row("", "a", "h3"), ORI).psnr.tolist() == [0]


def test_agreement_is_the_correlation_of_what_queries_reach(record):
    upside_down = [HALF[1], HALF[0]]
    turned = [[upside_down[0][1], upside_down[0][0], 0.8], [0.8, 0.1, 0.9]]
    of = {"a": [record(0, (HALF, HALF, turned, HALF))]}
    assert of["a"][0].queries["h2.mAP"].tolist() == [50, 100]
    told = comparison.agreement(of, "a").set_index("pair").correlation
    assert told["ori, h1"] == pytest.approx(1)
    assert told["ori, h2"] == pytest.approx(-1)
    reasons = comparison.reasons(of, ["a"])
    # three pairs agree, three disagree
    assert reasons.to_numpy().tolist() == [["a", "+1.50", "+0.00", "+0.00", "0.000"]]


def test_the_pictures_are_drawn_from_records(record, tmp_path):
    of = {name: [record(0, (HALF, BAD, GOOD, GOOD))] for name in plan.EXPERIMENTS}
    sets = {"one": of, "two": {name: of[name] for name in ("seeds", "han")}}
    pictures.by_height(tmp_path / "height.png", sets, plan.ROWS)
    pictures.psnr_and_rank1(tmp_path / "psnr.png", sets, plan.ALONE, plan.ORI, plan.SEEDS)
    pictures.agreements(tmp_path / "agreement.png", sets, list(plan.PYRAMIDS))
    for name in ("height", "psnr", "agreement"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("data", plan.SETS)
@pytest.mark.parametrize("experiment", plan.EXPERIMENTS)
@pytest.mark.parametrize("size", ["cpu", "quick", "paper"])
def test_every_experiment_has_valid_params_and_sets_the_same_keys(
    raw_params, data, experiment, size
):
    given = plan.settings(data, experiment, size)
    assert set(given) == set(plan.settings(data, "seeds", size))
    for key, value in given.items():
        *section, name = key.split(".")
        of_section = raw_params[section[0]] if section else raw_params
        assert name in of_section
        # braces without blanks, as the command line has them
        text = value.replace(":", ": ") if isinstance(value, str) else value
        of_section[name] = yaml.safe_load(text) if isinstance(text, str) else text
    params_module.Params.model_validate(raw_params)


def test_rows_name_what_the_experiments_record():
    rankings = {*BRANCHES, *records.FIXED_WEIGHTS, *records.CHOSEN_WEIGHTS}
    rows = [*plan.ROWS, *(row for of_scheme in plan.WEIGHTED.values() for row in of_scheme)]
    assert {row.ranking for row in rows} <= rankings
    assert {row.experiment for row in rows} == set(plan.EXPERIMENTS)
