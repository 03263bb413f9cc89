"""Trials of recipes: what is recorded is not tried again, and only committed params are tried."""

import subprocess
from functools import partial
from multiprocessing.pool import ThreadPool
from types import SimpleNamespace

import pandas as pd
import pytest
from benchmarks.results import recipes, workspace

from pyramid_reid.core.errors import UserError


def tried(folder, trial):
    """Rows of a trial that trains nothing, which leaves its name in a folder."""
    (folder / f"{trial.data} {trial.split} {trial.recipe}").touch(exist_ok=False)
    of = {"data": trial.data, "split": trial.split, "recipe": trial.recipe, "seed": 1}
    return [
        {**of, "share": share, "mirrored": "no", "rank1": 50.0, "mAP": 60.0 + share}
        for share in (0.0, 1.0)
    ]


def test_trials_are_added_to_those_that_are_there(tmp_path, monkeypatch):
    trials, out = tmp_path / "trials", tmp_path / "recipes.csv"
    trials.mkdir()
    monkeypatch.setattr(recipes, "prepare", print)
    # in threads: other tests have loaded what may not be forked
    monkeypatch.setattr(recipes, "get_context", lambda _: SimpleNamespace(Pool=ThreadPool))
    monkeypatch.setattr(recipes, "attempt", partial(tried, trials))
    sets = {"prid2011": tmp_path}
    recipes.run(sets, [0, 1], out, 1, "cpu", ["plain"])
    first = out.read_bytes()
    recipes.run(sets, [0, 1], out, 1, "cpu", ["plain"])  # a second trial would end in an error
    assert out.read_bytes() == first
    recipes.run(sets, [1, 2], out, 2, "cpu", ["chosen", "plain"])
    assert {path.name for path in trials.iterdir()} == {
        *("prid2011 0 plain", "prid2011 1 plain", "prid2011 2 plain"),
        *("prid2011 1 chosen", "prid2011 2 chosen"),
    }
    rows = pd.read_csv(out)
    assert list(zip(rows.recipe, rows.split, rows.share, strict=True)) == [
        *(("chosen", split, share) for split in (1, 2) for share in (0, 1)),
        *(("plain", split, share) for split in (0, 1, 2) for share in (0, 1)),
    ]
    assert set(rows.mAP) == {60.0, 61.0}


def test_the_pooled_start_is_tried_only_where_one_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(recipes, "check_committed", lambda: None)
    tried_with = []
    monkeypatch.setattr(recipes, "run", lambda *told: tried_with.append(told[-2:]))
    start = tmp_path / "start.safetensors"
    command = ["recipes", "run", str(tmp_path / "out.csv"), f"prid2011={tmp_path}"]

    def started(*arguments):
        monkeypatch.setattr("sys.argv", [*command, *arguments])
        recipes.main()

    with pytest.raises(SystemExit):
        started("--recipes", "pooled")
    assert "recipe pooled: --start is missing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        started("--start", str(start))
    assert f"{start} is no file" in capsys.readouterr().err
    start.touch()
    started("--start", str(start))
    started()
    (all_names, path), (without, none) = tried_with
    assert (path, none) == (start, None)
    assert [*without, "pooled"] == all_names


def test_params_that_an_experiment_left_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(workspace, "ROOT", tmp_path)
    params = tmp_path / "params.yaml"
    params.write_text("seed: 1\n")
    for arguments in (
        "init -q",
        "add -A",
        "-c user.name=A -c user.email=a@example.org commit -qm a",
    ):
        subprocess.run(["git", *arguments.split()], cwd=tmp_path, check=True)
    workspace.check_committed()
    params.write_text("seed: 2\n")
    with pytest.raises(UserError, match=r"not as committed.* run git checkout params\.yaml"):
        workspace.check_committed()


def test_recipes_of_other_splits_are_compared_on_those_they_share(tmp_path, capsys):
    reached = {("plain", 0): 40.0, ("plain", 1): 60.0, ("ema 0.98", 0): 50.0, ("ema 0.98", 1): 60.0}
    reached |= {("chosen", 0): 45.0}
    rows = [
        {"data": "prid2011", "recipe": recipe, "split": split, "share": 0.0, "mirrored": mirrored}
        | {"rank1": value, "mAP": value}
        for (recipe, split), value in reached.items()
        for mirrored in ("no", "yes")
    ]
    path = tmp_path / "recipes.csv"
    pd.DataFrame(rows).to_csv(path, index=False)

    def gains(*splits):
        recipes.table(path, *splits)
        lines = capsys.readouterr().out.partition("validation mAP")[0].splitlines()
        return {
            line[:8].strip(): float(line.split()[-1]) for line in lines if line[:1] in {"c", "e"}
        }

    assert gains() == {"chosen": 5, "ema 0.98": 5}
    assert gains([0]) == {"chosen": 5, "ema 0.98": 10}


@pytest.mark.parametrize(
    ("prefix", "called"),
    [
        ("reranked", "re-ranking"),
        ("centred", "centring"),
        ("whitened", "centring with whitening"),
    ],
)
def test_what_costs_no_training_is_told_of_the_trials_that_were_judged_with_it(
    tmp_path, capsys, prefix, called
):
    def row(recipe, split, rank1, again=None):
        of = {"data": "prid2011", "recipe": recipe, "split": split, "share": 0.0, "mirrored": "no"}
        both = {f"{prefix}_rank1": again, f"{prefix}_mAP": again}
        return of | {"rank1": rank1, "mAP": rank1} | (both if again is not None else {})

    path = tmp_path / "recipes.csv"

    def told(*rows):
        pd.DataFrame([{**each, "mirrored": m} for each in rows for m in ("no", "yes")]).to_csv(
            path, index=False
        )
        recipes.table(path)
        return capsys.readouterr().out

    before = [row("plain", split, 40.0) for split in (0, 1, 2)]
    assert called not in told(*before)
    after = [row("pooled", 1, 50.0, 56.0), row("pooled", 2, 60.0, 62.0)]
    added = told(*before, *after).partition(f"what {called} adds to validation rank1")[2]
    lines = dict(line.split(maxsplit=1) for line in added.splitlines() if line[:1] == "p")
    assert lines["pooled"].split() == ["2", "4.0"]  # splits, and the mean of 6 and 2
    assert "plain" not in lines
