"""Records of experiments and what is told from them, on rankings small enough to count by hand."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from benchmarks.results import comparison, demo, heights, pictures, plan, records, rows, workspace
from benchmarks.results.comparison import Row
from conftest import ROOT
from PIL import Image
from test_evaluation import BAD, GOOD, HALF, MARKET, table, write

import show_results
from pyramid_reid.core import protocol_record, raw_set
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.evaluation import queries
from pyramid_reid.protocol import of_sets
from pyramid_reid.retrieval.distance import cosine_distances, normalize

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
        of_split = folder / "data/distances" / branch / f"split_{split}"
        write(of_split, distmat)
        # perfect whatever the distances: what is re-ranked is told from what is fused
        np.savez(of_split / "features.npz", query=np.eye(2, 3), gallery=np.eye(3))
    chosen = {f"w_{branch}": float(branch == validation) for branch in BRANCHES}
    metrics = {
        "dataset": {"splits_sha256": f"of {split}"},
        "reconstructor": {"x2": {"psnr": 30.0, "psnr_bicubic": 28.5}},
        "weights": {"validation": chosen, "oracle_test": chosen, "nearest_equal": chosen},
    }
    (folder / "data/crops").mkdir()
    protocol_record.write(folder / "data/crops", of_sets.record(of_sets.PROTOCOLS["viper"]))
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
        "reranked",
        "equal",
        "2:1:1:1",
        "validation",
        "oracle_test",
        "reranked_alone",
    ]
    assert made.about["metrics"]["ori"]["rank1"] == 50
    assert made.about["metrics"]["ori"]["mAP"] == 75
    assert made.about["metrics"]["equal"]["rank1"] == 100
    assert made.about["metrics"]["validation"] == made.about["metrics"]["ori"]  # weighs ori alone
    assert made.queries["ori.rank1"].tolist() == [100, 0]
    assert made.queries["equal.mAP"].tolist() == [100, 100]
    assert made.about["revision"] == "abc"


def test_what_re_ranking_gains_is_shown_of_the_records_that_have_it(record, tmp_path, capsys):
    folder = tmp_path / "msmt17"
    with pytest.raises(UserError, match="holds no record that was judged with re-ranking"):
        show_results.reranked("msmt17", "prid2011", folder)
    made = [replace(record(split, [HALF] * 4), split=split) for split in (0, 1)]
    given = plan.settings("msmt17", "prid2011", "seeds", "given")
    for each in made:
        each.about["params"] = given
        records.write(folder / "prid2011" / "seeds", each)
    show_results.reranked("msmt17", "prid2011", folder)
    told = [re.sub(" +", " ", line).strip() for line in capsys.readouterr().out.splitlines()]
    # one of two people is better, in both splits: a coin's toss
    gained = "+50.0 [+0.0, +100.0] p 1.000 +25.0 [+0.0, +50.0] p 1.000"
    assert told[-4:-1] == [
        "four seeds of ori 0 1 50.0 / 75.0",
        f"four seeds of ori, re-ranked 0 1 100.0 / 100.0 50.0 / 75.0 {gained}",
        f"four seeds of ori, re-ranked one by one 0 1 100.0 / 100.0 50.0 / 75.0 {gained}",
    ]
    older = replace(made[0], about={**made[0].about, "metrics": {"equal": {}}})
    records.write(folder / "prid2011" / "seeds", older)
    show_results.reranked("msmt17", "prid2011", folder)
    assert re.search(r"four seeds of ori +1 +50\.0", capsys.readouterr().out)


def test_queries_that_are_re_ranked_one_by_one_do_not_see_each_other(tmp_path):
    rng = np.random.default_rng(3)
    parts = {"query": rng.normal(size=(8, 6)), "gallery": rng.normal(size=(12, 6))}
    labels = {
        role: table(np.arange(len(of)) % 4, camid)
        for camid, (role, of) in enumerate(parts.items(), 1)
    }
    folders = {branch: tmp_path / branch for branch in BRANCHES}
    weights = dict.fromkeys(BRANCHES, 0.25)

    def judged(rows):
        """Average precision of these queries among each other, of all of them in one evaluation."""
        features = {
            "query": normalize(parts["query"][rows]),
            "gallery": normalize(parts["gallery"]),
        }
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)
            of = {**labels, "query": labels["query"].iloc[rows]}
            write(folder / "split_0", cosine_distances(*features.values()), of)
            np.savez(folder / "split_0" / "features.npz", **features)
        return records._judged(folders, {"equal": weights}, MARKET)

    figures, tables = judged(list(range(8)))
    whole = pd.concat(tables, axis=1)
    one_by_one = [pd.concat(judged([row])[1], axis=1)["reranked.mAP"].item() for row in range(8)]
    np.testing.assert_allclose(whole["reranked_alone.mAP"], one_by_one)
    assert not np.allclose(whole["reranked.mAP"], one_by_one)
    judge = MARKET.judge("split_0", labels["query"], labels["gallery"])
    sides = (np.hstack([normalize(of) / 2] * 4) for of in parts.values())  # of weights 0.25
    records.judge_reranked(judge, *sides, 1.0, at_once=8)
    np.testing.assert_allclose(100 * judge.results.average_precision[0], whole["reranked.mAP"])
    assert figures["reranked_alone"]["mAP"] == pytest.approx(np.mean(one_by_one), abs=0.01)


def test_a_record_of_moved_features_tells_all_rankings(tmp_path):
    rng = np.random.default_rng(4)
    labels = {"query": table(np.arange(8) % 4, 1), "gallery": table(np.arange(12) % 4, 2)}
    features = {role: normalize(rng.normal(size=(len(of), 6))) for role, of in labels.items()}
    means = rng.normal(size=(2, 6))
    write(tmp_path / "split_0", cosine_distances(*features.values()), labels)
    file = tmp_path / "split_0" / "features.npz"
    np.savez(file, **features, cameras=np.array([1, 2]), means=means, whitening=np.eye(6))
    told = {"ori": tmp_path}, {"equal": {"ori": 1.0}}, MARKET
    figures, tables = records._judged(*told, [records.CENTRED, records.WHITENED])
    judge = MARKET.judge("split_0", labels["query"], labels["gallery"])
    sides = (normalize(of - mean) for of, mean in zip(features.values(), means, strict=True))
    judge.judge(0, cosine_distances(*sides))
    found = pd.concat(tables, axis=1)["centred.mAP"]
    np.testing.assert_allclose(found, 100 * judge.results.average_precision[0])
    assert figures["centred"] == figures["whitened"] != figures["equal"]
    alone = records._judged(*told)[0]
    assert alone["equal"] == figures["equal"]
    assert not {"centred", "whitened"} & set(alone)
    branches = dict.fromkeys(BRANCHES, tmp_path), {"equal": dict.fromkeys(BRANCHES, 0.25)}, MARKET
    figures = records._judged(*branches, [records.CENTRED, records.WHITENED])[0]
    assert figures["whitened_reranked"] == figures["centred_reranked"] != figures["reranked"]
    others = figures["reranked_alone"], figures["whitened_reranked"]
    assert figures["whitened_reranked_alone"] not in others


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
    of["b"][0].about["cpu_seconds"][records.BY_HAND] = 120.0
    assert comparison.minutes(of, Row("", "b", "equal")) == 12
    del of["b"][0].about["cpu_seconds"][records.BY_HAND]
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


@pytest.mark.parametrize("block", ["scratch", "msmt17"])
def test_the_pictures_are_drawn_from_records(record, tmp_path, block):
    names = plan.BLOCKS[block].experiments
    of = {name: [record(0, (HALF, BAD, GOOD, GOOD))] for name in names}
    sets = {"one": of, "two": {name: of[name] for name in ("seeds", "han")}}
    alone = [row for row in plan.ROWS[block] if row.name.endswith("alone")]
    pictures.by_height(tmp_path / "height.png", sets, plan.ROWS[block])
    pictures.psnr_and_rank1(tmp_path / "psnr.png", sets, alone[1:], plan.ORI, plan.SEEDS)
    pictures.agreements(tmp_path / "agreement.png", sets, list(plan.PYRAMIDS[block]))
    for name in ("height", "psnr", "agreement"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_table_is_headed_by_the_splits_that_are_in_it(tmp_path, capsys):
    folder = tmp_path / "hypotheses"
    for name in ("seeds", "han"):
        kept = shutil.copytree(
            rows.RECORDS / "hypotheses" / "prid2011" / name, folder / "prid2011" / name
        )
        for path in kept.glob("split_2.*") if name == "seeds" else ():
            path.unlink()
    for show in (show_results.tables, show_results.small_only):
        show("hypotheses", "prid2011", folder)
        assert capsys.readouterr().out.startswith("prid2011: splits 0, 1")


def test_starts_are_compared_with_the_network_as_it_is_on_the_splits_of_each(tmp_path, capsys):
    folder = tmp_path / "starts"
    for name in ("zero_shot", "zero_shot_pooled", "seeds"):
        kept = shutil.copytree(
            rows.RECORDS / "starts" / "prid2011" / name, folder / "prid2011" / name
        )
        for path in kept.glob("split_*") if name == "seeds" else ():
            if path.stem != "split_0":
                path.unlink()
    show_results.tables("starts", "prid2011", folder)
    first, second = capsys.readouterr().out.split("prid2011: ")[1:]
    assert first.startswith("splits 0 to 9, 100 queries of 100 people in each")
    assert "mAP − zero-shot" in first
    assert "− ori" not in first  # which was trained on one of these splits alone
    assert second.startswith("split 0, 100 queries")
    assert re.search(r"^ori alone +52\.0", second, re.MULTILINE)
    assert re.search("mAP − ori.*mAP − zero-shot", second)
    shutil.rmtree(folder / "prid2011" / "zero_shot")
    with pytest.raises(UserError, match="zero_shot is missing: record it by"):
        show_results.tables("starts", "prid2011", folder)


def test_a_start_is_compared_with_msmt17_on_the_splits_that_both_have(tmp_path, capsys):
    for block in ("pooled", "msmt17"):
        shutil.copytree(
            rows.RECORDS / block / "caviar4reid" / "seeds",
            tmp_path / block / "caviar4reid" / "seeds",
        )
    (tmp_path / "msmt17" / "caviar4reid" / "seeds" / "split_9.json").unlink()
    show_results.start("pooled", "caviar4reid", tmp_path / "pooled")
    told = capsys.readouterr().out
    assert told.startswith("caviar4reid: splits 0 to 8; ")
    here, there = (
        np.mean(
            [
                json.loads(path.read_text())["metrics"][branch]["rank1"]
                for path in (tmp_path / block).rglob("split_[0-8].json")
                for branch in BRANCHES  # of the control, whose four networks differ by seed
            ]
        )
        for block in ("pooled", "msmt17")
    )
    line = next(line for line in told.splitlines() if line.startswith("one network"))
    before, after, gained = re.findall(r"([+-]?[\d.]+) (?:/|\[)", line)[:3]
    found = [float(number) for number in (before, after, gained)]
    assert found == pytest.approx([there, here, here - there], abs=0.06)
    with pytest.raises(UserError, match="msmt17 is what other blocks are compared with"):
        show_results.start("msmt17", "caviar4reid", tmp_path / "msmt17")


def test_named_rows_are_compared_on_the_splits_that_both_have(capsys):
    show_results.pairs("msmt17", "caviar4reid", rows.RECORDS / "msmt17")
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "HAN pyramid, " in line)
    kept = {
        name: {
            of.split: of.about["metrics"]["equal"]["rank1"]
            for of in records.read(rows.RECORDS / "msmt17" / "caviar4reid" / name)
        }
        for name in ("han", "plain")
    }
    both = sorted(set(kept["han"]) & set(kept["plain"]))
    gained = np.mean([kept["han"][split] - kept["plain"][split] for split in both])
    assert f"  {' '.join(map(str, both))} {gained:+.1f} [" in re.sub(" {2,}", "  ", line)
    with pytest.raises(UserError, match="rivals has no pairs"):
        show_results.pairs("rivals", "prid2011", rows.RECORDS / "rivals")


def test_blocks_without_pyramids_say_so():
    with pytest.raises(UserError, match="rivals has no pyramids to draw"):
        show_results.draw("rivals", rows.RECORDS / "rivals", Path("nowhere"))
    with pytest.raises(UserError, match="rivals has no pyramid that restores"):
        show_results.small_only("rivals", "prid2011", rows.RECORDS / "rivals")


@pytest.mark.parametrize("block", [name for name in plan.BLOCKS if plan.PYRAMIDS[name]])
def test_every_pyramid_can_be_drawn(block):
    assert {"seeds", *plan.PYRAMIDS[block]} <= set(pictures.STYLES)


def test_what_is_run_by_hand_is_run_as_dvc_runs_it():
    """The workspace takes names, programs, params, inputs and outputs from dvc.yaml."""
    stages = {stage.name: stage for stage in workspace.stages()}
    told = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    expanded = sum(len(of.get("foreach", [0])) for of in told.values())
    assert len(stages) == expanded
    ori = stages["train_reid h2"]
    assert ori.program == ("stages/train_reid.py", "h2")
    assert ori.inputs == ("data/pyramid/h2",)
    assert ori.outs == ("data/models/reid/h2",)
    assert [stage.name for stage in workspace.needed(["distances ori"])] == [
        "download",
        "simulate",
        "train_reid ori",
        "distances ori",
    ]
    everything = workspace.needed(["sweep_weights"])
    assert {"train_reconstructor", "generate_pyramid", "distances h3"} <= {
        s.name for s in everything
    }


def test_a_stage_is_run_again_only_for_other_params_or_inputs(tmp_path):
    place = workspace.Workspace(tmp_path)
    small = {"data.identities": 8, "data.images_per_camera": 1}
    place.run(small, "simulate")
    assert list(place.seconds) == ["download", "simulate"]
    assert "synthetic" in place.output
    crops = (tmp_path / "data/crops/split_0/pixels.npy").read_bytes()
    place.seconds.clear()
    place.run(small | {"reid.epochs": 7}, "simulate")  # which neither stage reads
    assert not place.seconds
    place.run(small | {"simulate.ratios": "[2]"}, "simulate")
    assert list(place.seconds) == ["simulate"]
    assert (tmp_path / "data/crops/split_0/pixels.npy").read_bytes() != crops
    with pytest.raises(UserError, match=r"has no reid\.epoch$"):
        place.run({"reid.epoch": 7}, "simulate")


@pytest.fixture
def project_copy(tmp_path, monkeypatch):
    """The project's programs and library, to be edited, as what workspaces run."""
    root = tmp_path / "project"
    for name in ("src", "stages"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, root)
    monkeypatch.setattr(workspace, "ROOT", root)
    workspace.stages.cache_clear()  # as another process would find it
    yield root
    workspace.stages.cache_clear()


def test_a_stage_is_run_again_for_other_code(project_copy, tmp_path):
    place = workspace.Workspace(tmp_path / "workspace")
    small = {"data.identities": 8, "data.images_per_camera": 1}

    def reruns(edited):
        with (project_copy / edited).open("a") as file:
            file.write("# edited\n")
        workspace.stages.cache_clear()
        place.seconds.clear()
        place.run(small, "simulate")
        return list(place.seconds)

    place.run(small, "simulate")
    assert reruns("src/pyramid_reid/protocol/roles.py") == ["simulate"]
    assert reruns("stages/download.py") == ["download", "simulate"]  # which reads what it leaves
    assert reruns("src/pyramid_reid/reid/features.py") == []  # neither imports it


def test_a_set_is_read_again_where_its_files_changed(tmp_path):
    root, place = tmp_path / "set", workspace.Workspace(tmp_path / "workspace")
    lines = ["path,pid,camid"]
    root.mkdir()
    for pid in range(4):
        for camid in (1, 2):
            pixels = np.full((32, 16, 3), 40 * pid + camid, np.uint8)
            Image.fromarray(pixels).save(root / f"{pid}_{camid}.png")
            lines.append(f"{pid}_{camid}.png,{pid},{camid}")
    (root / "manifest.csv").write_text("\n".join(lines))
    asked = {"data.name": "manifest", "data.root": str(root), "simulate.low_camera": 2}
    place.run(asked, "simulate")
    before = raw_set.read_images(tmp_path / "workspace/data/raw").set_index("path").sha256
    place.seconds.clear()
    place.run(asked, "simulate")
    assert not place.seconds
    Image.fromarray(np.full((32, 16, 3), 255, np.uint8)).save(root / "3_1.png")
    place.run(asked, "simulate")
    assert list(place.seconds) == ["download", "simulate"]
    after = raw_set.read_images(tmp_path / "workspace/data/raw").set_index("path").sha256
    assert list(after.index[after != before]) == ["3_1.png"]


def test_a_listing_holds_names_sizes_and_times(tmp_path):
    (tmp_path / "a").mkdir()
    for name, content in (("a/1.png", b"12"), ("table.csv", b"123")):
        (tmp_path / name).write_bytes(content)
        os.utime(tmp_path / name, ns=(0, 5))
    (tmp_path / "nowhere.png").symlink_to("away.png")
    told = [("a/1.png", 2, 5), ("table.csv", 3, 5)]
    assert workspace.listing(tmp_path) == told
    assert workspace.listing(tmp_path / "table.csv") == told  # images lie beside their table
    assert workspace.listing(tmp_path / "missing") == []


def test_what_a_stage_refuses_ends_the_run_and_is_told(tmp_path):
    place = workspace.Workspace(tmp_path)
    asked = {"data.name": "viper", "data.root": str(tmp_path / "nowhere")}
    with pytest.raises(UserError, match="nowhere"):
        place.run(asked, "simulate")


def test_queries_are_grouped_by_ratio_or_by_height():
    table = pd.DataFrame({"ratio": [2, 3, 4, 4], "height": [64, 43, 32, 32]})
    (groups,) = comparison.groups_of_queries(table).values()
    assert {name: chosen.sum() for name, chosen in groups.items()} == {
        "÷2": 1,
        "÷3": 1,
        "÷4": 2,
        "÷3 and ÷4": 3,
    }
    table = pd.DataFrame({"ratio": [1] * 6, "height": [40, 41, 50, 51, 60, 61]})
    (groups,) = comparison.groups_of_queries(table).values()
    assert [chosen.sum() for chosen in groups.values()] == [2, 2, 2]


def of_queries(split, reached):
    """A record of a query per person, which reached so much in a fusion with equal weights."""
    told = {key: list(reached) for key in queries.KEYS[1:]}
    told |= {f"equal.{figure}": list(reached.values()) for figure in queries.FIGURES}
    return records.Record(split, {}, pd.DataFrame(told))


def test_a_group_s_figures_and_their_difference_are_means_over_splits():
    of = {
        "a": [of_queries(0, {1: 40.0}), of_queries(1, {2: 10.0, 3: 10.0, 4: 10.0})],
        "b": [of_queries(0, {1: 80.0}), of_queries(1, {2: 20.0, 3: 20.0, 4: 20.0})],
    }
    control, better = Row("control", "a", "equal"), Row("better", "b", "equal")
    every = {"all": comparison.per_query(of, control).pid > 0}
    told = comparison.by_group(of, [control, better], control, every)
    # (40 + 10) / 2 and (80 + 20) / 2; over queries it would be 70 / 4 and 140 / 4
    assert told["all"].tolist() == ["25.0", "50.0"]
    assert told["all − control"][1].startswith("+25.0 ")


def test_seeds_are_averaged_query_by_query_and_are_no_further_people():
    of = {
        "control": [of_queries(0, {1: 40.0, 2: 20.0})],
        "control_2": [of_queries(0, {1: 20.0, 2: 60.0})],
        "better": [of_queries(0, {1: 50.0, 2: 30.0})],
        "better_2": [of_queries(0, {1: 30.0, 2: 50.0})],
    }
    pairs = [
        (Row("control", f"control{end}", "equal"), Row("better", f"better{end}", "equal"))
        for end in ("", "_2")
    ]
    told = comparison.by_seed(of, pairs).set_index("row")
    assert told.index.tolist() == ["seed 1", "seed 2", "mean of seeds"]
    assert told.control.tolist() == ["30.0 / 30.0", "40.0 / 40.0", "35.0 / 35.0"]
    assert told.better.tolist() == ["40.0 / 40.0", "40.0 / 40.0", "40.0 / 40.0"]
    # person 1 gains 10 by both seeds, person 2 gains 10 and loses 10
    assert told["mAP gained"]["seed 1"].startswith("+10.0 [+10.0, +10.0]")
    assert told["mAP gained"]["mean of seeds"].startswith("+5.0 [+0.0, +10.0]")


def judged(split, pids, heights_px, precision):
    """As `comparison.per_query` makes it."""
    return pd.DataFrame(
        {"split": split, "pid": pids, "height": heights_px, "row.rank1": precision}
        | {"row.mAP": precision, "row.mINP": precision}
    )


def test_the_best_height_is_where_the_gains_end():
    small = judged(0, [1, 2, 3, 4], [30, 40, 50, 60], [90, 80, 50, 10])
    large = judged(0, [1, 2, 3, 4], [30, 40, 50, 60], [50, 70, 50, 90])
    assert heights.best_height(small, large) == 50  # of equals the greatest
    assert heights.best_height(large, small) == 60  # -40 -10 +0 +80
    assert heights.best_height(large[:2], small[:2]) == 0
    reached = heights.judged_by(small, large, 40)
    assert reached["row.mAP"].tolist() == [90, 80, 50, 90]


def test_a_splits_height_is_chosen_without_its_test_people():
    small = pd.concat(
        [judged(0, [1, 2], [30, 60], [100, 0]), judged(1, [3, 4], [30, 60], [0, 100])],
        ignore_index=True,
    )
    large = small.assign(**dict.fromkeys(heights.COLUMNS, 50))
    # split 0 goes by people 3 and 4, to whom it did good to restore everything or nothing
    assert heights.chosen_heights(small, large) == {0: 60, 1: 30}


def test_the_demo_is_recorded_by_seed_and_told_beside_its_control(tmp_path, capsys, monkeypatch):
    quick = demo.QUICK | {"threads": 1}
    control = {"seeds": demo.EXPERIMENTS["seeds"]}
    monkeypatch.setattr(demo, "EXPERIMENTS", control)
    folder = tmp_path / "records"
    demo.run([3], folder, tmp_path / "scratch", quick)
    assert capsys.readouterr().out.splitlines() == ["seed 3: seeds"]
    demo.run([3], folder, tmp_path / "scratch", quick)
    assert capsys.readouterr().out == ""  # all is recorded
    (three,) = records.read(folder / "seeds")
    of = [three, replace(three, split=4)]
    found = {"seeds": of, "pyramid": of}
    told = demo.table(found)
    one = found["pyramid"][1].about["metrics"]["h2"]
    row = told[told.iloc[:, 0].str.startswith("h2 alone")].iloc[0]
    assert row["seed 4"] == f"{one['rank1']:.1f} / {one['mAP']:.1f}"
    assert row["mean ± deviation"] == f"{one['rank1']:.1f} ± 0.0 / {one['mAP']:.1f} ± 0.0"
    assert "four seeds of ori: Rank-1 +0.0 [+0.0, +0.0] p 1.000" in demo.against_control(found)


def test_each_seed_of_the_demo_has_people_of_its_own():
    found = {
        "seeds": [of_queries(seed, {6: 50.0}) for seed in (1, 2)],
        "pyramid": [of_queries(1, {6: 90.0}), of_queries(2, {6: 70.0})],
    }
    # persons 6 of two seeds are two people, who gain 40 and 20. Of the four patterns of signs those
    # of equal signs reach 60 in sum. A resample that holds one of them alone has that one's gain.
    assert "Rank-1 +30.0 [+20.0, +40.0] p .500" in demo.against_control(found)


def test_seed_1_of_the_demos_table_is_the_committed_demo():
    """Where it is not: remove docs/results/demo and run `python -m benchmarks.results.demo run`."""
    (one,) = [of for of in records.read(demo.RECORDS / "pyramid") if of.split == 1]
    committed = json.loads((ROOT / "metrics/fusion.json").read_text(encoding="utf-8"))
    for ranking, told in (("equal", "fused"), *((branch, branch) for branch in BRANCHES)):
        assert one.about["metrics"][ranking] == committed[told]
