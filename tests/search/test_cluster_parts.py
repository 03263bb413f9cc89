"""What the commands on a cluster are made of, without Ray: jobs, workers, and one row per crop."""

import numpy as np
import pytest

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.cluster import connection, pipeline
from pyramid_reid.search.cluster.indexing import Embedding, jobs_of, sorted_ids, take
from pyramid_reid.search.gallery import Patterns, listed
from pyramid_reid.search.indexing import here, index
from pyramid_reid.search.indexing.known import Known
from pyramid_reid.search.store import Store
from search.conftest import FakeModel, describe, paint

NONE = Patterns()


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store", describe())


@pytest.fixture
def crowd(tmp_path):
    """Seven crops, one of which is there twice, and a file that is none."""
    folder = tmp_path / "crowd"
    for person in range(7):
        paint(folder / f"{person}.png", person)
    (folder / "copy.png").write_bytes((folder / "3.png").read_bytes())
    (folder / "damaged.png").write_bytes(b"no picture")
    return folder


def by_jobs(model, crops, twice=False):
    """Does what a cluster does, job after job, the last one first, in this process."""

    def work(frames, known, intake):
        embed = Embedding(lambda: model, sorted_ids(known))
        for job in reversed(list(jobs_of(frames, known, crops))):
            made = [embed(job) for _ in range(2 if twice else 1)]  # all read before any is taken
            for each in made:
                take(each, intake)

    return work


def vectors(store):
    return {
        name: row
        for names, block in store.features()
        for name, row in zip(names, block, strict=True)
    }


def test_jobs_give_the_rows_of_the_embedded_command(store, crowd, tmp_path):
    report = index(store, by_jobs(FakeModel(), 2), [crowd], NONE)
    other = Store.create(tmp_path / "other", describe())
    expected = index(other, here(FakeModel), [crowd], NONE)
    assert report == expected
    assert (report.added, report.copies, list(report.problems)) == (7, 1, [f"{crowd}/damaged.png"])
    ours, theirs = vectors(store), vectors(other)
    assert ours.keys() == theirs.keys()
    for name, row in ours.items():
        np.testing.assert_array_equal(row, theirs[name])


def test_a_job_that_comes_twice_is_written_once(store, crowd):
    report = index(store, by_jobs(FakeModel(), 3, twice=True), [crowd], NONE)
    assert report.added == store.count() == 7
    assert len(vectors(store)) == 7


def test_what_is_there_is_not_computed_again(store, crowd):
    index(store, here(FakeModel), [crowd], NONE)
    (crowd / "0.png").rename(crowd / "moved.png")
    paint(crowd / "1.png", 1, shot=5)
    model = FakeModel()
    report = index(store, by_jobs(model, 3), [crowd], NONE)
    assert (report.added, model.seen) == (1, 1)  # the one that is another file now
    assert store.count() == 7
    paths = {row["path"].rpartition("/")[2] for row in store.rows(None, 0, 10)}
    assert {"moved.png", "1.png"} <= paths
    assert "0.png" not in paths


def test_jobs_hold_as_many_crops_as_are_asked_for(store, crowd):
    frames, _ = listed([crowd], NONE)
    jobs = list(jobs_of(frames, Known(store), 4))
    assert [len(job.frames) for job in jobs] == [4, 4, 1]
    assert [frame for job in jobs for frame in job.frames] == frames


def test_a_worker_of_other_code_says_so():
    worker = pipeline.Worker("another", lambda: pytest.fail("it works nevertheless"))
    (answer,) = worker({"job": pipeline.objects([1])})["answer"]
    assert "another version of pyramid-reid" in answer.problem


def test_what_a_worker_cannot_do_comes_back_as_one_sentence():
    def work(job):
        raise UserError(f"{job} is no model folder")

    worker = pipeline.Worker(connection.code(), lambda: work)
    (answer,) = worker({"job": pipeline.objects(["/shared/model"])})["answer"]
    assert answer.problem.endswith(": /shared/model is no model folder")


def test_without_the_extra_one_error_names_it(monkeypatch):
    monkeypatch.setattr(connection, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"uv pip install 'pyramid-reid\[cluster\]'"):
        connection.ray_module()


def test_a_remote_client_is_sent_to_ray_job_submit():
    with (
        pytest.raises(UserError, match="ray job submit"),
        connection.connected("ray://127.0.0.1:10001"),
    ):
        pass
