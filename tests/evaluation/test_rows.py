"""The experiments behind docs/results.md: their params, and what is run of them."""

import argparse
import hashlib
import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest
from benchmarks.results import demo, plan, records, rows, workspace
from benchmarks.results.workspace import read_option

import show_results
from pyramid_reid.core import params as params_module
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES

EVERY = [(block, name) for block, of in plan.BLOCKS.items() for name in of.experiments]


@pytest.mark.parametrize("data", plan.FOLDERS)
@pytest.mark.parametrize(("block", "experiment"), EVERY)
@pytest.mark.parametrize("size", ["given", "quick", "paper"])
def test_every_experiment_has_valid_params(tmp_path, data, block, experiment, size):
    given = plan.settings(block, data, experiment, size)
    if given.get("restoration.iterations") == 0:
        restorer = tmp_path / "restorer.safetensors"
        given |= dict(zip(rows.RESTORER, (str(restorer), "a" * 64), strict=True))
    params_module.Params.model_validate(workspace.with_params(given))


@pytest.mark.parametrize("data", plan.FOLDERS)
@pytest.mark.parametrize("block", plan.BLOCKS)
def test_experiments_differ_at_the_papers_size_too(block, data):
    told = set()
    for name, of in plan.BLOCKS[block].experiments.items():
        given = plan.settings(block, data, name, "paper")
        shown = json.dumps(given, sort_keys=True, default=str)
        told.add((shown, of.alone, of.trained, of.aligned, of.restorer, of.seed))
    assert len(told) == len(plan.BLOCKS[block].experiments)


def test_the_papers_size_leaves_experiments_what_they_are():
    of = {
        name: plan.settings(block, "caviar4reid", name, "paper")
        for block in ("hypotheses", "msmt17")
        for name in plan.BLOCKS[block].experiments
    }
    # the paper's: 250 epochs of batches of 64, 5000 iterations; 10 epochs of the classifier alone
    assert {name: each["reid.epochs"] for name, each in of.items()} == dict.fromkeys(of, 250) | {
        "zero_shot": 0
    }
    assert {each["reid.fixed_epochs"] for each in of.values()} == {10}
    assert {each["reid.batch_size"] for each in of.values()} == {64}
    assert {name for name, each in of.items() if each["restoration.iterations"] == 0} == {
        *("han", "zero_shot", "plain", "joint", "own_sizes", "features", "han_2", "han_3")
    }  # so they take the weights of --restorer
    assert of["han_own"]["restoration.iterations"] == 5000
    assert of["own_sizes"]["reid.height"] == "{ori:128,h1:192,h2:256,h3:320}"
    assert (of["seeds"]["reid.height"], of["seeds"]["reid.width"]) == (256, 128)
    assert (of["plain"]["reid.ema"], of["han"]["reid.ema"]) == (0.0, 0.98)
    assert of["swinir_own"]["restoration.extractor"] == "swinir"
    assert of["bicubic"]["restoration.extractor"] == "bicubic"
    scratch = plan.settings("scratch", "prid2011", "swinir", "paper")
    assert (scratch["reid.epochs"], scratch["reid.validation_identities"]) == (250, 20)
    assert "reid.fixed_epochs" not in scratch  # of a start alone


def test_the_papers_size_runs_on_a_gpu_unless_told_otherwise(tmp_path):
    for device, used in ((None, "cuda"), ("cpu", "cpu")):
        told = argparse.Namespace(device=device, records=tmp_path, size="paper")
        told.restorer = told.feature_restorer = told.start = None
        task, *_ = rows.tasks("msmt17", {"prid2011": tmp_path}, [0], ["seeds"], tmp_path, told)
        given = plan.settings(task.block, task.data, "seeds", task.size) | dict(task.given)
        assert given["device"] == used


def test_a_start_is_recorded_by_its_hash_and_not_by_its_place(tmp_path, monkeypatch):
    used = []

    class Folder:
        folder, output = tmp_path, ""

        def __init__(self, _):
            self.seconds = {}

        def run(self, params, *_):
            used.append(params)

    monkeypatch.setattr(rows, "Workspace", Folder)
    monkeypatch.setattr(rows, "load", lambda _: None)
    monkeypatch.setattr(rows.records, "collect", lambda *told: told[3])
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"weights")
    told = argparse.Namespace(device="cpu", records=tmp_path, size="given")
    told.restorer = told.feature_restorer = None
    told.start = start
    task, *_ = rows.tasks("starts", {"prid2011": tmp_path}, [0], ["pooled"], tmp_path, told)
    about = task._run("pooled")
    hashed = hashlib.sha256(b"weights").hexdigest()
    assert (used[0]["reid.pretrained"], used[0]["reid.pretrained_sha256"]) == (str(start), hashed)
    kept = about["params"]
    assert (kept["reid.pretrained"], kept["reid.pretrained_sha256"]) == ("pooled", hashed)
    assert str(tmp_path) not in json.dumps(about)
    plan.check("starts", "prid2011", "pooled", about)
    with pytest.raises(UserError, match="--start is missing"):
        replace(task, start=None)._run("pooled")


def test_a_named_start_takes_the_branches_that_the_plan_has_it_for(tmp_path, capsys):
    start = tmp_path / "start.safetensors"
    start.write_bytes(b"weights")
    found = rows.taken_over("pooled", "caviar4reid", "two_starts", "given", {}, start)
    hashed = hashlib.sha256(b"weights").hexdigest()
    assert found == {
        "reid.pretrained": f"{{ori:{start},h1:{start},h2:msmt17,h3:msmt17}}",
        "reid.pretrained_sha256": f"{{ori:{hashed},h1:{hashed},h2:null,h3:null}}",
    }
    with pytest.raises(UserError, match="--start is missing"):
        rows.taken_over("pooled", "caviar4reid", "two_starts", "given", {}, None)
    first, second = (
        read_option(str(plan.settings("pooled", "caviar4reid", name, "given")["reid.pretrained"]))
        for name in ("two_starts", "two_starts_2")
    )
    assert all({first[branch], second[branch]} == {"msmt17", "pooled"} for branch in BRANCHES)
    rows.commands("pooled", "caviar4reid", 1, "given")
    printed = capsys.readouterr().out.partition("# two_starts:")[2]
    command = printed.splitlines()[1]
    told = subprocess.run(
        ["bash", "-c", f"for word in {command}; do echo $word; done"],
        env={"START": "s", "START_SHA256": "0"}, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    assert "reid.pretrained={ori:s,h1:s,h2:msmt17,h3:msmt17}" in told
    assert "reid.pretrained_sha256={ori:0,h1:0,h2:null,h3:null}" in told


@pytest.mark.parametrize("option", ["restorer", "feature_restorer", "start"])
def test_a_file_that_is_missing_is_named_before_anything_runs(tmp_path, option):
    named = dict.fromkeys(("restorer", "feature_restorer", "start"))
    path = tmp_path / "missing.safetensors"
    told = argparse.Namespace(
        device="cpu", records=tmp_path, size="given", **{**named, option: path}
    )
    said = rf"--{option.replace('_', '-')}: {re.escape(str(path))} does not exist"
    with pytest.raises(UserError, match=said):
        rows.tasks("starts", {"prid2011": tmp_path}, [0], ["seeds"], tmp_path, told)


@pytest.mark.parametrize(
    ("block", "name", "said"),
    [
        ("starts", "pooled", "--start is missing"),
        ("hypotheses", "han", "--restorer is missing"),
        ("hypotheses", "features", "--feature-restorer is missing"),
    ],
)
def test_what_is_not_named_is_missed_before_anything_runs_and_not_where_all_is_recorded(
    tmp_path, block, name, said
):
    told = argparse.Namespace(device="cpu", records=tmp_path, size="given")
    told.restorer = told.feature_restorer = told.start = None
    sets = {"prid2011": tmp_path}
    with pytest.raises(UserError, match=said):
        rows.tasks(block, sets, [0], ["seeds", name], tmp_path, told)
    (tmp_path / block / "prid2011" / name).mkdir(parents=True)
    (tmp_path / block / "prid2011" / name / "split_0.json").touch()
    assert len(rows.tasks(block, sets, [0], ["seeds", name], tmp_path, told)) == 2


def test_what_was_recorded_with_other_params_is_neither_skipped_nor_shown(tmp_path, capsys):
    folder = tmp_path / "hypotheses" / "prid2011"
    for name in ("seeds", "han"):
        shutil.copytree(rows.RECORDS / "hypotheses" / "prid2011" / name, folder / name)
    told = argparse.Namespace(device="cpu", records=tmp_path, size="given")
    told.restorer = told.feature_restorer = told.start = None
    sets = {"prid2011": tmp_path}
    task, *_ = rows.tasks("hypotheses", sets, [1], ["han"], tmp_path, told)
    assert task.run() == "prid2011, split 1: nothing left to do"
    show_results.tables("hypotheses", "prid2011", tmp_path / "hypotheses")
    assert "prid2011: splits 0 to 2, " in capsys.readouterr().out
    record = records.read_one(folder / "han", 1)
    quick = record.about["params"] | {"reid.epochs": 2}
    records.write(folder / "han", replace(record, about=record.about | {"params": quick}))
    said = "han of prid2011 was recorded with reid.epochs 2, and has 30 now: remove its records"
    for refuse in (
        task.run,
        lambda: show_results.tables("hypotheses", "prid2011", tmp_path / "hypotheses"),
    ):
        with pytest.raises(UserError, match=said):
            refuse()


def test_figures_that_mean_nothing_are_no_committed_records(monkeypatch, capsys):
    for program, command in (
        (rows, ["--quick", "run", "hypotheses", "prid2011=."]),
        (demo, ["run", "--quick"]),
    ):
        monkeypatch.setattr("sys.argv", ["program", *command])
        monkeypatch.setattr(program, "check_committed", lambda: None)
        with pytest.raises(SystemExit):
            program.main()
        assert "--quick: give --records a folder of its own" in capsys.readouterr().err


def test_commands_and_params_tell_what_no_stage_does(capsys):
    rows.commands("rivals", "prid2011", 1, "given")
    assert re.findall(r"^# (\w+):", capsys.readouterr().out, re.MULTILINE) == ["seeds", "mixed"]
    rows.budgets("rivals")
    told = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines() if line)
    assert told["aligned"].endswith("moved by rivals.residual")
    assert told["invariant"].endswith("trained by rivals.invariant")
    assert "moved" not in told["seeds"]


def test_rows_name_what_the_experiments_record():
    moved = {records.CENTRED, records.WHITENED}
    rankings = {*BRANCHES, *records.FIXED_WEIGHTS, *records.CHOSEN_WEIGHTS, *moved}
    for block, told in plan.ROWS.items():
        assert all(
            plan.settings(block, data, row.experiment, "given")[f"distances.{row.ranking}"]
            == "true"
            for row in told
            if row.ranking in moved
            for data in plan.BLOCKS[block].experiments[row.experiment].sets
        )
        assert {row.ranking for row in told} <= rankings
        pairs = plan.REPEATED[block].pairs if block in plan.REPEATED else ()
        named = {row.experiment for row in told}
        named |= {row.experiment for pair in pairs for row in pair}
        others = set(plan.BLOCKS[block].experiments) - named
        assert named <= set(plan.BLOCKS[block].experiments)
        assert others <= {plan.CEILING.experiment, "aligned"}
    assert plan.CEILING.experiment in plan.MSMT17.experiments
