"""The commands as a user types them: what they print, write and end with."""

import csv
import hashlib
import json
import math
import shutil
import subprocess
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from pyramid_reid import cli
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import BRANCHES
from pyramid_reid.retrieval import metrics
from pyramid_reid.retrieval.rerank import Rerank, join, rerank
from pyramid_reid.search import answers, judge
from pyramid_reid.search.distances import distances
from pyramid_reid.search.store import Store, filters
from search.conftest import describe, features_of, paint, table_of


@pytest.fixture(scope="session")
def indexed(tmp_path_factory, gallery, model_folder):
    folder = tmp_path_factory.mktemp("indexed") / "store"
    pattern = r"(?P<camera>c\d)_(?P<pid>\d+)_"
    arguments = ["index", gallery, "--store", folder, "--model", model_folder]
    arguments += ["--columns-from", pattern]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pyramid-reid", *map(str, arguments)])
        assert cli.main() == 0
    return folder


def test_index_says_what_it_did_and_ends_with_3_where_files_are_bad(run, tmp_path, model_folder):
    paint(tmp_path / "g" / "a ü'\".png", 1)
    (tmp_path / "g" / "bad.jpg").write_text("x")
    command = ("index", tmp_path / "g", "--store", tmp_path / "s", "--model", model_folder)
    code, out, _ = run(*command)
    assert code == 3
    assert out.splitlines()[0] == (
        "1 crops added, 0 were there, 0 copies left out; the store holds 1"
    )
    assert f"  {tmp_path}/g/bad.jpg: is not a JPEG, PNG or BMP image" in out
    code, out, _ = run(*command, "--json")
    assert code == 3
    told = json.loads(out)
    assert (told["added"], told["known"], told["crops"]) == (0, 1, 1)
    assert list(told["unreadable"]) == [f"{tmp_path}/g/bad.jpg"]


def test_search_by_picture_and_by_id_agree(run, indexed, gallery, model_folder):
    query = gallery / "c1_0001_0.png"
    identifier = hashlib.sha256(query.read_bytes()).hexdigest()
    common = ("--store", indexed, "--json", "--top", 5)
    by_file = json.loads(run("search", query, *common)[1])["hits"]
    by_id = json.loads(run("search", identifier[:10], *common)[1])["hits"]
    assert by_file == by_id
    assert [hit["rank"] for hit in by_file] == [1, 2, 3, 4, 5]
    assert identifier not in {hit["id"] for hit in by_file}
    assert {hit["pid"] for hit in by_file[:2]} == {"0001"}
    for hit in by_file:
        assert hit["distance"] == pytest.approx(sum(hit[name] for name in BRANCHES) / 4, abs=1e-5)
        expected = 1 / (1 + np.exp(10 * hit["distance"] - 3))
        assert hit["probability"] == pytest.approx(expected, abs=1e-5)


def test_a_new_picture_is_embedded(run, indexed, tmp_path, model, model_folder):
    query = paint(tmp_path / "new.png", 2, shot=9)
    code, out, _ = run("search", query, "--store", indexed, "--model", model_folder, "--json")
    hits = json.loads(out)["hits"]
    assert code == 0
    assert len(hits) == 12
    truth = distances(
        model.embed([query]), model.embed([hit["path"] for hit in hits]), model.weights
    )[0]
    np.testing.assert_allclose([hit["distance"] for hit in hits], truth, atol=2e-3)


def test_several_pictures_are_one_query_of_their_mean_distance(run, indexed, gallery):
    names = [gallery / f"c1_000{person}_0.png" for person in (0, 1)]
    store = Store.open(indexed)
    vectors = [store.vector(hashlib.sha256(name.read_bytes()).hexdigest()) for name in names]
    out = run("search", *names, "--store", indexed, "--json", "--weights", "ori=1,h3=1")[1]
    answer = json.loads(out)
    assert len(answer["hits"]) == 10
    for hit in answer["hits"]:
        own = store.vector(hit["id"])[None]
        mean = distances(np.stack(vectors), own, {"ori": 1, "h3": 1}).mean()
        assert hit["distance"] == pytest.approx(mean, abs=1e-4)
    assert "probability" not in answer["hits"][0]
    assert answer["why_no_probability"].startswith("the model is calibrated for its own weights")


def test_a_table_for_people(run, indexed, gallery):
    query = gallery / "c1_0001_0.png"
    code, out, _ = run("search", query, "--store", indexed, "--top", 2, "--where", "camera = 'c2'")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].split() == ["rank", "distance", "probability", "camera", "path"]
    assert lines[1].endswith(f"c2  {gallery}/c2_0001_1.png")
    assert len(lines) == 3


def test_groups_show_their_nearest(run, indexed, gallery):
    query = gallery / "c1_0001_0.png"
    out = run("search", query, "--store", indexed, "--group", "pid", "--json", "--top", 3)[1]
    hits = json.loads(out)["hits"]
    assert hits[0]["pid"] == "0001"
    assert len({hit["pid"] for hit in hits}) == 3
    assert hits[0]["crops"] == 2
    code, _, err = run("search", query, "--store", indexed, "--group", "nothing")
    assert code == 2
    assert "--group nothing: there is no such column" in err


def asked_for(monkeypatch):
    """How many crops each question to a store asks for."""
    numbers, plain = [], Store.search

    def search(self, vector, weights=None, k=20, *others, **named):
        numbers.append(k)
        return plain(self, vector, weights, k, *others, **named)

    monkeypatch.setattr(Store, "search", search)
    return numbers


def nearest_of_each(store, query, column, among=lambda row: True):
    """Id and number of crops of each value's nearest, by comparing with every crop."""
    rows = [row for row in store.rows(None, 0, 10_000) if among(row)]
    stored = np.stack([store.vector(row["id"]) for row in rows])
    found = distances(query[None], stored)[0]
    first, counts = {}, Counter()
    for distance, row in sorted(zip(found, rows, strict=True), key=lambda at: (at[0], at[1]["id"])):
        key = row["id"] if row[column] is None else row[column]
        first.setdefault(key, (row["id"], distance))
        counts[key] += 1
    return [(first[key][0], counts[key]) for key in sorted(first, key=lambda key: first[key][1])]


def crowd(tmp_path, groups, shots=50, **columns):
    """A store in which each group's crops are near each other; a query near the first group."""
    features = features_of(groups, shots, noise=0.2)
    time = columns.pop("time", None)
    rows = table_of(features, **columns)
    if time is not None:
        rows = rows.set_column(rows.schema.get_field_index("time"), "time", [time])
    store = Store.create(tmp_path / "store", describe())
    with store.writing():
        store.add(rows)
    return store, features[0]


def test_few_groups_all_come_and_few_crops_are_read_at_once(tmp_path, monkeypatch):
    store, query = crowd(tmp_path, 10, 100, site=[f"site {n // 100}" for n in range(1000)])
    truth = nearest_of_each(store, query, "site")
    numbers = asked_for(monkeypatch)
    monkeypatch.setattr(answers, "TOGETHER", 100, raising=False)
    hits = answers.answer(store, answers.Query([], [], [], query), group="site").hits
    assert list(zip(hits["id"], hits["crops"], strict=True)) == truth
    assert hits["crops"].tolist() == [100] * 10
    assert max(numbers) <= 100
    assert len(numbers) <= 12  # each question finds a further group at least


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("order", ["o'hara", 'a"b', "c`d", "(", "-- ", "Ü\n", None]),  # a word of SQL
        ("Size", [1.5, 1e-07, -2.0, None, 1e300, float("inf"), 0.1]),
        ("frame", [1, 2, -3, None, 2**53 + 1, 2**53, 0]),
        ("seen", [True, False, None, True, True, False, True]),
        (
            "time",
            [
                "2024-05-12T10:00:00",
                "2024-05-12T10:00:00.500000",
                None,
                *["2024-01-01T00:00:00"] * 4,
            ],
        ),
    ],
)
@pytest.mark.parametrize("where", [None, "camera = 'c0' or camera = 'c1'"])
def test_groups_of_any_kind_are_those_of_all_crops(tmp_path, column, values, where):
    # a crop without a value is a group of its own: three of them
    given = [values[n // 30] for n in range(210)]
    given = [values[0] if value is None and n % 30 >= 3 else value for n, value in enumerate(given)]
    store, query = crowd(tmp_path, 7, 30, **{column: given})
    truth = nearest_of_each(
        store, query, column, lambda row: where is None or row["camera"] in ("c0", "c1")
    )
    for top in (1, 3, 20):
        answer = answers.answer(
            store, answers.Query([], [], [], query), group=column, top=top, where=where
        )
        found = list(zip(answer.hits["id"], answer.hits["crops"], strict=True))
        assert found == truth[:top]
    assert len(truth) < 20


def test_query_crops_are_no_crops_of_a_group(tmp_path):
    store, query = crowd(tmp_path, 3, 20, site=[f"site {n // 20}" for n in range(60)])
    ids = table_of(np.zeros((60, 4, 16), np.float32))["id"].to_pylist()
    asked = answers.Query([], [], ids[:3], query)
    hits = answers.answer(store, asked, group="site").hits
    assert not set(hits["id"]) & set(ids[:3])
    assert hits["crops"].tolist() == [17, 20, 20]


def test_groups_whose_names_no_condition_takes_are_found_among_more_crops(tmp_path, monkeypatch):
    names = [f"{n // 5:04d}" * 10 for n in range(300)]
    store, query = crowd(tmp_path, 60, 5, site=names)
    truth = nearest_of_each(store, query, "site")
    monkeypatch.setattr(filters, "LONGEST", answers.REST + 300)  # seven of the sixty
    asked = answers.Query([], [], [], query)
    hits = answers.answer(store, asked, group="site", top=50).hits
    assert list(zip(hits["id"], hits["crops"], strict=True)) == truth[:50]
    monkeypatch.setattr(answers, "TOGETHER", 60)
    with pytest.raises(UserError, match=r"--group site: .* give a smaller --top"):
        answers.answer(store, asked, group="site", top=30)


def test_reranking_orders_the_nearest_once_and_other_groups_follow(tmp_path, monkeypatch):
    features = features_of(8, 100, noise=0.3)
    store = Store.create(tmp_path / "store", describe())
    rows = table_of(features, site=[f"site {n // 100}" for n in range(800)])
    with store.writing():
        store.add(rows)
    query = answers.Query([], [], [], features[0])
    plain = answers.answer(store, query, top=answers.RERANKED).hits
    numbers, ordered, run = asked_for(monkeypatch), [], answers._reranked

    def reranked(store, query, hits, shares):
        ordered.append(run(store, query, hits, shares))
        return ordered[-1]

    monkeypatch.setattr(answers, "_reranked", reranked)
    hits = answers.answer(store, query, group="site", rerank=True).hits
    assert [sorted(each["id"]) for each in ordered] == [sorted(plain["id"])]  # the 200 nearest
    inside = ordered[0].drop_duplicates("site")
    assert 1 < len(inside) < 8
    assert hits["id"][: len(inside)].tolist() == inside["id"].tolist()
    assert hits["reranked"].notna().tolist() == [n < len(inside) for n in range(8)]
    others = [
        identifier
        for identifier, _ in nearest_of_each(store, features[0], "site")
        if store.row(identifier)["site"] not in set(inside["site"])
    ]
    assert hits["id"][len(inside) :].tolist() == others
    assert max(numbers) <= 4 * answers.RERANKED
    lines = answers.lines(answers.Answer(query, hits, None))
    assert lines[-1].split()[3] == "-"


def test_a_column_of_boxes_makes_no_groups(filled):
    store, features, _ = filled
    with pytest.raises(UserError, match="--group box: it holds neither text nor numbers"):
        answers.answer(store, answers.Query([], [], [], features[0]), group="box")


def test_groups_are_looked_for_until_there_are_enough(tmp_path):
    store = Store.create(tmp_path / "store", describe())
    features = features_of(30, 40, noise=0.1)
    with store.writing():
        store.add(table_of(features, person=[str(n // 40) for n in range(1200)]))
    query = answers.Query(["x"], [None], [], features[0])
    hits = answers.answer(store, query, top=10, group="person").hits
    assert len(hits) == hits["person"].nunique() == 10
    assert hits["crops"].iloc[0] == 40


def test_reranking_is_the_pipelines(filled):
    store, features, ids = filled
    query = answers.Query(["x"], [None], [], features[5])
    hits = answers.answer(store, query, rerank=True, top=60).hits
    weights = dict.fromkeys(BRANCHES, 0.25)
    stored = np.stack([store.vector(name) for name in ids])
    joined = [
        join({name: each[:, n] for n, name in enumerate(BRANCHES)}, weights)
        for each in (features[5:6], stored)
    ]
    truth = np.concatenate([rows for _, rows in rerank(*joined, 1.0, Rerank())])[0]
    found = hits.set_index("id")["reranked"][ids].to_numpy()
    np.testing.assert_allclose(found, truth, atol=1e-5)
    assert hits["reranked"].is_monotonic_increasing


def test_results_as_files(run, indexed, gallery, tmp_path):
    query = gallery / "c1_0001_0.png"
    assert run("search", query, "--store", indexed, "--out", tmp_path / "r.csv")[0] == 0
    table = pd.read_csv(tmp_path / "r.csv", dtype={"pid": str})
    assert list(table.columns[:3]) == ["rank", "distance", "probability"]
    assert len(table) == 11
    assert run("search", query, "--store", indexed, "--out", tmp_path / "r.html")[0] == 0
    page = (tmp_path / "r.html").read_text()
    assert page.count("<img alt='' src='data:image/jpeg;base64,") == 12
    assert "http" not in page.replace("http-equiv", "")
    code, _, err = run("search", query, "--store", indexed, "--out", tmp_path / "r.pdf")
    assert code == 2
    assert "neither .csv nor .html" in err


def test_a_table_of_hits_has_each_box_as_columns_and_no_formula(tmp_path):
    store = Store.create(tmp_path / "store", describe())
    features = features_of(4, 1)
    cameras = ["=1+1", "@a", 'x, "y"\nz', None]
    rows = table_of(features, tag=["-1", "+a", "plain", None], speed=[-1.5, 2.0, None, 0.0])
    boxes = [{"left": -3.5, "top": 2, "width": 5, "height": 8}, None, None, None]
    for name, values in (("camera", cameras), ("box", boxes)):
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, pa.array(values, rows.schema.field(name).type))
    with store.writing():
        store.add(rows)
    query = answers.Query([], [], [], features[0])
    answers.write(answers.answer(store, query), store, tmp_path / "r.csv")
    with (tmp_path / "r.csv").open(newline="", encoding="utf-8") as file:
        found = {row["id"]: row for row in csv.DictReader(file)}
    ids = rows["id"].to_pylist()
    assert [found[name]["camera"] for name in ids] == ["'=1+1", "'@a", 'x, "y"\nz', ""]
    assert [found[name]["tag"] for name in ids] == ["'-1", "'+a", "plain", ""]
    assert [found[name]["speed"] for name in ids] == ["-1.5", "2.0", "", "0.0"]  # numbers are none
    edges = [[found[name][edge] for edge in ("left", "top", "width", "height")] for name in ids]
    assert edges == [["-3.5", "2.0", "5.0", "8.0"], *[[""] * 4] * 3]
    assert "box" not in found[ids[0]]
    for row in found.values():
        assert float(row["distance"]) == pytest.approx(sum(float(row[b]) for b in BRANCHES) / 4)
    answers.write(answers.answer(store, query, where="camera = 'none'"), store, tmp_path / "e.csv")
    assert (tmp_path / "e.csv").read_text().splitlines() == [",".join(found[ids[0]])]


def test_names_in_a_page_are_no_markup(tmp_path, model, fake_model):
    from pyramid_reid.search.gallery import Patterns
    from pyramid_reid.search.indexing import here, index

    paint(tmp_path / "g" / "<script>alert(1)<" / "script>&'.png", 1)
    store = Store.create(tmp_path / "store", describe())
    index(store, here(lambda: fake_model), [tmp_path / "g"], Patterns())
    query = answers.Query(["<b>"], [None], [], features_of(1, 1)[0])
    page = answers.page(answers.answer(store, query), store)
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in page


def test_a_name_cannot_move_the_cursor(filled):
    store, *_ = filled
    with store.writing():
        new = table_of(features_of(1, 1, seed=3), salt="z")
        path = new.schema.get_field_index("path")
        store.add(new.set_column(path, "path", [["/x/\x1b[2J\r.png"]]))
    query = answers.Query(["x"], [None], [], store.vector(new["id"][0].as_py()))
    lines = answers.lines(answers.answer(store, query, top=1))
    assert r"/x/\x1b[2J\r.png" in lines[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.jpg"], "'nowhere.jpg' is neither a file nor an id"),
        (["abcdef0123"], "is neither a file nor an id"),
        (["{text}"], "is not a JPEG, PNG or BMP image"),
        (["{good}", "--weights", "ori"], "is not written as ori=0.4"),
        (["{good}", "--weights", "ori=0"], "all weights are 0"),
        (["{good}", "--weights", "h9=1"], "no branch h9"),
        (["{good}", "--where", "camera = "], "--where 'camera = ' is no condition"),
        (["{good}", "--store", "nothing"], "nothing is no gallery store"),
    ],
)
def test_a_search_that_cannot_be_done_is_one_sentence(
    run, indexed, gallery, model_folder, tmp_path, arguments, said
):
    (tmp_path / "text.jpg").write_text("no image")
    known = {"good": gallery / "c1_0001_0.png", "text": tmp_path / "text.jpg"}
    arguments = [each.format(**known) for each in arguments]
    store = [] if "--store" in arguments else ["--store", indexed]
    code, out, err = run("search", *arguments, "--model", model_folder, *store)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("command", ["index", "search", "restore"])
def test_a_gpu_that_is_not_there_is_one_sentence(run, indexed, model_folder, tmp_path, command):
    picture = paint(tmp_path / "new" / "1.png", 2, shot=7)
    further = {
        "index": ["--store", tmp_path / "store"],
        "search": ["--store", indexed],
        "restore": ["--out", tmp_path / "out"],
    }
    fixed = ["--model", model_folder, "--device", "cuda:99"]
    code, out, err = run(command, picture, *further[command], *fixed)
    assert (code, out) == (2, "")
    assert "device cuda:99: torch finds " in err.splitlines()[-1]
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["index", "restore"])
def test_one_gpu_of_several_is_no_device_of_a_cluster(
    run, model_folder, tmp_path, monkeypatch, command
):
    from pyramid_reid.search.cluster import connection

    monkeypatch.setattr(connection, "connected", lambda _: pytest.fail("it joins a cluster"))
    picture = paint(tmp_path / "new" / "1.png", 2, shot=7)
    further = {"index": ["--store", tmp_path / "store"], "restore": ["--out", tmp_path / "out"]}
    fixed = ["--model", model_folder, "--ray", "nowhere:1", "--device", "cuda:1"]
    code, out, err = run(command, picture, *further[command], *fixed)
    assert (code, out) == (2, "")
    assert "--device cuda:1: with --ray each process gets the GPU that Ray picks" in err
    assert err.count("\n") == 1


@pytest.fixture
def refitted(model_folder, tmp_path):
    """The model with other weights and another calibration, which are no part of its features."""
    folder = shutil.copytree(model_folder, tmp_path / "data" / "model")
    told = json.loads((folder / "model.json").read_text())
    told["weights"] = {"ori": 0.7, "h1": 0.1, "h2": 0.1, "h3": 0.1}
    told["calibration"] |= {"slope": 4, "intercept": -1}
    (folder / "model.json").write_text(json.dumps(told))
    return folder


OF_STORE = (dict.fromkeys(BRANCHES, 0.25), 10, -3)
REFITTED = ({"ori": 0.7, "h1": 0.1, "h2": 0.1, "h3": 0.1}, 4, -1)


@pytest.mark.parametrize(
    ("picture", "named", "expected"),
    [
        ("stored", False, OF_STORE),
        ("stored", True, REFITTED),
        ("new", True, REFITTED),
        ("new", False, REFITTED),  # by data/model, which embeds it
    ],
)
def test_weights_and_calibration_are_of_the_model_that_is_read(
    run, indexed, gallery, refitted, monkeypatch, tmp_path, picture, named, expected
):
    monkeypatch.chdir(tmp_path)  # where data/model is
    query = gallery / "c1_0001_0.png" if picture == "stored" else paint(tmp_path / "n.png", 1, 9)
    further = ["--model", refitted] if named else []
    code, out, err = run("search", query, "--store", indexed, "--json", *further)
    assert code == 0, err
    weights, slope, intercept = expected
    for hit in json.loads(out)["hits"]:
        fused = sum(weights[branch] * hit[branch] for branch in BRANCHES)
        assert hit["distance"] == pytest.approx(fused, abs=1e-5)
        chance = 1 / (1 + np.exp(slope * hit["distance"] + intercept))
        assert hit["probability"] == pytest.approx(chance, abs=1e-5)


def test_a_picture_for_a_store_of_another_model_is_refused(
    run, indexed, other_model_folder, tmp_path, gallery
):
    query = paint(tmp_path / "new.png", 2, shot=8)
    code, _, err = run("search", query, "--store", indexed, "--model", other_model_folder)
    assert code == 2
    assert "features of two models cannot be compared" in err
    code, _, err = run("index", gallery, "--store", indexed, "--model", other_model_folder)
    assert code == 2
    assert "features of two models cannot be compared" in err


def test_a_search_by_id_loads_no_torch(indexed, gallery):
    identifier = hashlib.sha256((gallery / "c1_0001_0.png").read_bytes()).hexdigest()
    code = (
        "import sys; from pyramid_reid import cli;"
        f"sys.argv = ['x', 'search', '{identifier}', '--store', {str(indexed)!r}, '--json'];"
        "code = cli.main(); assert not {'torch', 'torchreid', 'matplotlib'} & set(sys.modules);"
        "sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["hits"]) == 11


def test_forget_says_how_many_and_asks(run, filled, monkeypatch):
    store, *_ = filled
    command = ("forget", "--store", store.folder, "--where", "pid = '7'")
    code, _, err = run(*command)
    assert code == 2
    assert "3 of 60 crops would be removed for good: give --yes" in err
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "n")
    assert run(*command)[:2] == (0, "nothing was removed\n")
    assert store.count() == 60
    code, out, _ = run(*command, "--yes", "--json")
    assert json.loads(out) == {"forgotten": 3, "crops": 57}
    assert run(*command)[:2] == (0, "0 crops removed for good; the store holds 57\n")


def cross_camera(features, pids, cameras):
    """Figures of the pipeline's evaluator, on float32 features."""
    results = metrics.evaluate(distances(features, features), pids, cameras, pids, cameras)
    return metrics.summary(results)


def test_evaluate_gives_the_pipelines_figures(tmp_path, run):
    features = features_of(30, 6, noise=2.0)
    pids = [f"{n // 6:04d}" for n in range(180)]
    cameras = [f"c{n % 3}" for n in range(180)]
    store = Store.create(tmp_path / "store", describe())
    rows = table_of(features, pid=pids)
    with store.writing():
        store.add(rows)
    stored = np.stack([store.vector(name) for name in rows["id"].to_pylist()])
    truth = cross_camera(stored, pids, cameras)
    code, out, _ = run("evaluate", "--store", store.folder, "--json")
    verdict = json.loads(out)
    assert code == 0
    assert 5 < truth["mAP"] < 95
    assert verdict["figures"]["fused"] == pytest.approx(truth, abs=0.006)
    assert (verdict["queries"], verdict["people"]) == (180, 30)
    alone = cross_camera(stored, pids, [str(n) for n in range(180)])
    found = judge.evaluate(store, any_camera=True)
    assert found.figures["fused"] == pytest.approx(alone, abs=0.006)
    assert "crops of the query's own camera count" in found.notes
    code, out, _ = run("evaluate", "--store", store.folder, "--queries", 50)
    assert "50 queries were drawn at random" in out
    assert set(BRANCHES) <= set(out.split())


def test_evaluate_keeps_to_roles_and_takes_strangers_for_distractors(tmp_path):
    features = features_of(10, 6, noise=1.5)
    roles = ["query" if n % 6 == 0 else "gallery" for n in range(60)]
    pids = [str(n // 6) if n < 48 else None for n in range(60)]
    store = Store.create(tmp_path / "store", describe())
    rows = table_of(features, pid=pids, role=roles)
    with store.writing():
        store.add(rows)
    stored = np.stack([store.vector(name) for name in rows["id"].to_pylist()])
    asked = list(range(0, 48, 6))
    answering = [n for n in range(60) if n % 6]
    names = np.array([pid or f"unknown {n}" for n, pid in enumerate(pids)])
    cameras = np.array([f"c{n % 3}" for n in range(60)])
    results = metrics.evaluate(
        distances(stored[asked], stored[answering]),
        names[asked],
        cameras[asked],
        names[answering],
        cameras[answering],
    )
    verdict = judge.evaluate(store)
    assert verdict.figures["fused"] == pytest.approx(metrics.summary(results), abs=0.006)
    assert (verdict.queries, verdict.gallery) == (8, 50)
    assert "12 crops without pid are distractors" in verdict.notes
    some = judge.evaluate(store, queries=3)
    assert some.queries == 3  # of those that have an identity
    assert "3 queries were drawn at random" in some.notes


def test_json_holds_no_number_that_json_does_not_know(run, tmp_path):
    store = Store.create(tmp_path / "store", describe())
    rows = table_of(features_of(1, 3), height=[1.5, math.inf, math.nan])
    with store.writing():
        store.add(rows)
    out = run("search", rows["id"][0].as_py(), "--store", store.folder, "--json")[1]

    def refuse(constant):
        pytest.fail(f"{constant} is no JSON")

    hits = json.loads(out, parse_constant=refuse)["hits"]
    heights = {hit["id"]: hit["height"] for hit in hits}
    assert heights == dict.fromkeys(rows["id"].to_pylist()[1:])


def test_evaluate_needs_identities(filled, tmp_path):
    store = Store.create(tmp_path / "other", describe())
    with store.writing():
        store.add(table_of(features_of(3, 2)))
    with pytest.raises(UserError, match="has no column pid or identity"):
        judge.evaluate(store)
    store, *_ = filled
    with pytest.raises(UserError, match="no image of any of these people"):
        judge.evaluate(store, where="time < '2024-05-12T10:00:01'", any_camera=True)


def test_optimize_builds_an_index_by_hand(run, filled, monkeypatch):
    from pyramid_reid.search.store import ann

    store, *_ = filled
    code, out, _ = run("optimize", "--store", store.folder)
    assert (code, out) == (0, "60 crops: searched without an index, or it was up to date\n")
    monkeypatch.setattr(ann, "FROM_ROWS", 50)
    monkeypatch.setattr(ann, "PARTITION", 20)
    code, out, _ = run("optimize", "--store", store.folder)
    assert out.startswith("index over 60 crops in 3 partitions")
    assert "for equal weights" in out
    assert "for w_ori = 1" in out
