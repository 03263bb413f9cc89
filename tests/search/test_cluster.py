"""On a cluster each crop gets one row, whatever dies: two machines on loopback, in processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from benchmarks.search.machines import Machines
from tests.conftest import HANGS_S, ROOT

from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search.store import Store, ann
from search.conftest import describe, features_of, paint, table_of
from search.test_store import partitions_of

pytest.importorskip("ray", reason="the extra `cluster` is not installed")
pytest.importorskip("lance_ray", reason="the extra `cluster` is not installed")

TOLERANCE = 2e-3
"""Between features (float16, of length 1 per branch) that were computed in other batches."""
JOB, HELD = 2, 4
"""Crops of a job, and jobs that a process may hold."""


@pytest.fixture(scope="module")
def machines():
    with Machines() as cluster:
        yield cluster


def command(*arguments):
    """A command of `pyramid-reid`, with what it answers in JSON."""
    return subprocess.run(
        [sys.executable, "-m", "pyramid_reid", *map(str, arguments), "--json"],
        env={**os.environ, "PYTHONPATH": f"{ROOT}/src"},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        check=False,
    )


DRIVER = """
import json, os, signal, sys, time
from pathlib import Path

address, gallery, folder, log, dies = sys.argv[1:]
sys.path.insert(0, {tests!r})

class Slow:
    def embed(self, images):
        import numpy as np

        time.sleep(0.15 * len(images))
        with open(log, "a") as file:
            file.write("x" * len(images))
        if dies and os.path.getsize(log) > 12:
            try:
                os.unlink(dies)
            except FileNotFoundError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        made = [np.random.default_rng(image.ravel()).normal(size=(4, 16)) for image in images]
        return np.array([each / np.linalg.norm(each, axis=1, keepdims=True) for each in made])

from pyramid_reid.search.cluster import connection, indexing

with connection.connected(address) as ray:
    from conftest import describe
    from pyramid_reid.search.gallery import Patterns
    from pyramid_reid.search.indexing import index, writing
    from pyramid_reid.search.store import Store

    writing.SECONDS = 0.5
    store = Store.create(folder, describe())
    work = indexing.on(ray, Slow, "cpu", {job})
    report = index(store, work, [Path(gallery)], Patterns())
print(json.dumps([report.added, report.known, report.copies]))
"""


def driver(machines, gallery, store, log, dies=""):
    script = DRIVER.format(tests=str(Path(__file__).parent), job=JOB)
    return subprocess.Popen(
        [sys.executable, "-c", script, machines.address, *map(str, (gallery, store, log, dies))],
        env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        stdout=subprocess.PIPE,
        text=True,
    )


def ended(process):
    out, _ = process.communicate(timeout=HANGS_S)
    assert process.returncode == 0
    return json.loads(out)


def ids(store):
    """How often each id is there."""
    rows = (batch["id"].to_pylist() for batch in Store.open(store).batches(["id"]))
    return Counter(name for some in rows for name in some)


@pytest.fixture(scope="module")
def crowd(tmp_path_factory):
    """Sixty crops, one of which is there twice."""
    folder = tmp_path_factory.mktemp("crowd")
    for person in range(60):
        paint(folder / f"{person:02d}.png", person)
    (folder / "copy.png").write_bytes((folder / "07.png").read_bytes())
    return folder


def until(holds, process):
    """Wait until `holds()`, for no longer than the process that should bring it about runs."""
    deadline = time.monotonic() + HANGS_S
    while not holds():
        assert process.poll() is None, "it ended before"
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_cluster_gives_the_rows_of_the_embedded_command(
    machines, model_folder, gallery, tmp_path
):
    crops = tmp_path / "crops"
    crops.mkdir()
    for path in gallery.iterdir():
        (crops / path.name).write_bytes(path.read_bytes())
    (crops / "damaged.png").write_bytes(b"no picture")
    fixed = ["--model", model_folder, "--camera-from", r"(c\d)_"]
    answers = []
    for name, further in (("here", []), ("there", ["--ray", machines.address])):
        ran = command("index", crops, "--store", tmp_path / name, *fixed, *further)
        assert ran.returncode == 3, ran.stderr
        answers.append(json.loads(ran.stdout))
    assert answers[0] == answers[1]
    assert answers[0]["added"] == 12
    assert list(answers[0]["unreadable"]) == [str(crops / "damaged.png")]
    here, there = Store.open(tmp_path / "here"), Store.open(tmp_path / "there")
    assert here.table.schema == there.table.schema
    columns = ["id", "path", "box", "camera", "time", "track", "stamp"]
    rows = [
        sorted((row for part in store.batches(columns) for row in part.to_pylist()), key=str)
        for store in (here, there)
    ]
    assert rows[0] == rows[1]
    ours, theirs = (
        {
            name: row
            for names, block in store.features()
            for name, row in zip(names, block, strict=True)
        }
        for store in (here, there)
    )
    np.testing.assert_allclose(
        np.stack([theirs[name] for name in ours]), np.stack(list(ours.values())), atol=TOLERANCE
    )


def test_a_killed_worker_costs_what_it_held(machines, crowd, tmp_path):
    log, dies = tmp_path / "log", tmp_path / "dies"
    dies.touch()
    added, known, copies = ended(driver(machines, crowd, tmp_path / "store", log, dies))
    assert not dies.exists()  # one was killed
    assert (added, known, copies) == (60, 0, 1)
    assert set(ids(tmp_path / "store").values()) == {1}
    assert 60 <= log.stat().st_size <= 61 + HELD * JOB


def test_a_killed_driver_goes_on_with_the_rest(machines, crowd, tmp_path):
    store, log = tmp_path / "store", tmp_path / "log"
    process = driver(machines, crowd, store, log)
    until(lambda: (store / "model.json").exists() and sum(ids(store).values()) >= 10, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=HANGS_S)
    there = ids(store)
    assert set(there.values()) == {1}
    assert 10 <= len(there) < 60
    added, known, copies = ended(driver(machines, crowd, store, log))
    # the copy counts as the crop itself where it was read first
    assert (added, known + copies) == (60 - len(there), len(there) + 1)
    assert set(ids(store).values()) == {1}
    assert len(ids(store)) == 60


def test_a_machine_leaves_and_another_joins(machines, crowd, tmp_path):
    store, log = tmp_path / "store", tmp_path / "log"
    process = driver(machines, crowd, store, log)
    until(lambda: log.exists() and log.stat().st_size >= 10, process)
    machines.leave()
    machines.join()
    added, known, copies = ended(process)
    assert (added, known, copies) == (60, 0, 1)
    assert set(ids(store).values()) == {1}
    assert log.stat().st_size <= 61 + HELD * JOB


def test_workers_are_busy_enough_for_further_ones_to_start_on_machines_that_join():
    code = (
        "from ray.data.context import DEFAULT_ACTOR_POOL_UTIL_UPSCALING_THRESHOLD as enough\n"
        "from pyramid_reid.search.cluster.pipeline import AT_ONCE, SENT\n"
        "assert SENT / AT_ONCE >= enough"
    )
    subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": f"{ROOT}/src"}, check=True
    )


def test_restored_files_are_those_of_the_embedded_command(
    machines, model_folder, gallery, tmp_path
):
    answers = []
    for name, further in (("here", []), ("there", ["--ray", machines.address])):
        out = tmp_path / name
        ran = command("restore", gallery, "--out", out, "--model", model_folder, *further)
        assert ran.returncode == 0, ran.stderr
        answers.append(json.loads(ran.stdout) | {"out": None})
    assert answers[0] == answers[1]
    here, there = (
        {
            path.relative_to(tmp_path / name): path.read_bytes()
            for path in (tmp_path / name).rglob("*.*")
        }
        for name in ("here", "there")
    )
    assert len(here) == 36
    assert here == there


def recall_of(store, features, names, weights, queries=200, k=10):
    """Share of the nearest that a search finds."""
    shares = np.array([weights.get(branch, 0) for branch in BRANCHES]) if weights else np.ones(4)
    asked = features[:: len(features) // queries]
    scores = (asked * shares[:, None]).reshape(len(asked), -1) @ features.reshape(len(names), -1).T
    nearest = np.argsort(-scores, axis=1)[:, :k]
    found = [set(store.search(row, weights, k=k)["id"].to_pylist()) for row in asked]
    hits = [len(near & {names[n] for n in row}) for near, row in zip(found, nearest, strict=True)]
    return sum(hits) / (k * len(asked))


def test_an_index_built_there_finds_as_much_as_one_built_here(machines, tmp_path):
    features = features_of(10_500, 2, dim=64)
    found = {}
    for name, further in (("here", []), ("there", ["--ray", machines.address])):
        store = Store.create(tmp_path / name, describe())
        with store.writing():
            for start in range(0, len(features), 7000):  # files that are joined
                store.add(table_of(features[start : start + 7000], salt=str(start)))
        ran = command("optimize", "--store", tmp_path / name, *further)
        assert ran.returncode == 0, ran.stderr
        built = json.loads(ran.stdout)["index"]
        assert store.table.index_stats("vector_idx").num_indexed_rows == built["rows"] == 21_000
        assert store.table.stats()["fragment_stats"]["num_fragments"] == 1
        found[name] = built
        # upkeep leaves the partitions as they are
        with store.writing():
            store.forget(f"id = '{table_of(features[:1], salt='0')['id'][0]}'")
        ranked, _ = partitions_of(store, features[5])
        assert ranked == built["partitions"] * store.table.index_stats(ann.INDEX).num_indices
    assert found["there"]["partitions"] == found["here"]["partitions"]
    # the command measures recall by 20 crops, which is too few to compare two
    names = [
        name
        for start in range(0, len(features), 7000)
        for name in table_of(features[start : start + 7000], salt=str(start))["id"].to_pylist()
    ]
    stores = [Store.open(tmp_path / name) for name in found]
    for weights in (None, {"ori": 1.0}):
        here, there = (recall_of(store, features, names, weights) for store in stores)
        assert there >= here - 0.05
