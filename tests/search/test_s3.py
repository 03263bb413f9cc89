"""A store in object storage, of an S3 server on loopback: what it holds, finds and forgets."""

import time
from itertools import count
from threading import Event, Thread

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer
from tests.conftest import HANGS_S

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.gallery import Patterns
from pyramid_reid.search.indexing import here, index
from pyramid_reid.search.store import Store, lock
from pyramid_reid.search.store.lock import BusyError
from pyramid_reid.search.store.place import names, place
from search.conftest import FakeModel, describe, features_of, table_of

pytest.importorskip("s3fs", reason="the extra `cluster` is not installed")

REGION = "us-east-1"
BUCKET = "crops"
ADDRESS = f"s3://{BUCKET}/gallery"


@pytest.fixture(scope="module")
def server():
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
        }.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket=BUCKET)
        yield client
    running.stop()


@pytest.fixture(scope="module")
def store(server, gallery):
    """The gallery's twelve crops."""
    filled = Store.create(ADDRESS, describe())
    report = index(filled, here(FakeModel), [gallery], Patterns())
    assert (report.added, report.known) == (12, 0)
    return filled


def objects(client):
    """Content of each object of the bucket."""
    listed = client.list_objects_v2(Bucket=BUCKET)["Contents"]
    return {
        each["Key"]: client.get_object(Bucket=BUCKET, Key=each["Key"])["Body"].read()
        for each in listed
    }


def test_what_is_there_is_not_computed_again(store, gallery):
    again = index(Store.open(ADDRESS), here(pytest.fail), [gallery], Patterns())
    assert (again.added, again.known) == (0, 12)
    assert Store.open(ADDRESS).count() == 12


def test_it_ranks_as_a_store_in_a_folder(store, gallery, tmp_path):
    local = Store.create(tmp_path / "store", describe())
    index(local, here(FakeModel), [gallery], Patterns())
    for row in local.rows(None, 0, 3):
        there, here_ = (each.search(each.vector(row["id"])) for each in (store, local))
        assert there["id"].to_pylist() == here_["id"].to_pylist()
        np.testing.assert_array_equal(there["distance"], here_["distance"])


def test_one_writes_at_a_time(store, server, monkeypatch):
    monkeypatch.setattr(lock, "RENEW_S", 0.05)
    monkeypatch.setattr(lock, "STALE_S", 0.5)
    with (
        store.writing(),
        pytest.raises(BusyError, match="is being written by process"),
        Store.open(ADDRESS).writing(),
    ):
        pytest.fail("two write")
    assert not any(key.endswith("/lock") for key in objects(server))


def test_who_owns_a_store_is_read_while_it_is_written(server):
    owned, ended = place(f"s3://{BUCKET}/busy/lock"), Event()
    assert lock._owner(owned) is None

    def renew():
        for number in count():
            server.put_object(Bucket=BUCKET, Key="busy/lock", Body=f"{number}".encode())
            if ended.is_set():
                return

    keeper = Thread(target=renew)
    keeper.start()
    found, deadline = [], time.monotonic() + HANGS_S
    try:
        while len(set(found)) < 20 and time.monotonic() < deadline:
            found.append(int(lock._owner(owned) or -1))
    finally:
        ended.set()
        keeper.join()
    assert len(set(found)) == 20
    assert found == sorted(found)
    server.delete_object(Bucket=BUCKET, Key="busy/lock")
    assert lock._owner(owned) is None


def test_nothing_is_left_of_what_is_forgotten(store, server):
    row = next(iter(store.rows("path like '%c1_0002_0.png'", 0, 1)))
    traces = [row["id"].encode(), row["path"].encode()]
    traces.append(np.asarray(store.vector(row["id"]), np.float16).tobytes())
    for trace in traces:
        assert any(trace in content for content in objects(server).values())
    with store.writing():
        assert store.forget(f"id = '{row['id']}'") == 1
    assert Store.open(ADDRESS).count() == 11
    for trace in traces:
        assert not any(trace in content for content in objects(server).values())


def test_an_address_that_holds_no_store_is_one_error(server):
    assert not place(f"s3://{BUCKET}/nothing").exists()
    with pytest.raises(UserError, match=f"s3://{BUCKET}/nothing is no gallery store"):
        Store.open(f"s3://{BUCKET}/nothing")


def test_what_others_write_and_remove_is_seen_at_once(server):
    folder = place(f"s3://{BUCKET}/others")
    assert names(folder) == set()
    for number, name in enumerate("abc", 1):
        server.put_object(Bucket=BUCKET, Key=f"others/{name}", Body=b"x")
        assert names(folder) == set("abc"[:number])
    for name in "abc":
        server.delete_object(Bucket=BUCKET, Key=f"others/{name}")
    assert names(folder) == set()


def test_all_may_be_forgotten_under_a_reader(server):
    address = f"s3://{BUCKET}/emptied"
    store = Store.create(address, describe())
    with store.writing():
        store.add(table_of(features_of(2, 2)))
    reader = Store.open(address)
    assert reader.count() == 4
    with store.writing():
        store.forget("true")
    assert reader.count() == reader.snapshot().count() == 0
    with store.writing():
        store.add(table_of(features_of(3, 2)))
    assert reader.count() == 6
