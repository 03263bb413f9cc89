"""A store in object storage: where it lies, and who may write there."""

import errno
import time

import pytest
from tests.conftest import HANGS_S

from pyramid_reid.core.errors import UserError
from pyramid_reid.search.store import lock
from pyramid_reid.search.store import place as places
from pyramid_reid.search.store.lock import BusyError, leased
from pyramid_reid.search.store.place import names, place, write_whole


@pytest.fixture
def folder():
    pytest.importorskip("upath", reason="the extra `cluster` is not installed")
    found = place("memory://store/gallery")
    yield found
    found.fs.store.clear()


def test_an_address_is_no_folder(folder, tmp_path):
    assert places.is_remote(folder)
    assert not places.is_remote(place(tmp_path))
    assert place(str(tmp_path)) == tmp_path
    assert names(folder) == set()
    for where in (folder, tmp_path):
        write_whole(where / "model.json", "é")
        assert names(where) == {"model.json"}
        assert (where / "model.json").read_text(encoding="utf-8") == "é"


def test_an_address_that_nothing_serves_is_one_error():
    pytest.importorskip("upath", reason="the extra `cluster` is not installed")
    with pytest.raises(UserError, match="nowhere://x cannot be reached"):
        place("nowhere://x")


class LostError(Exception):
    """As botocore raises where a connection ends: none of Python's errors."""


LostError.__module__ = "botocore.exceptions"


def test_storage_that_refuses_the_keys_is_one_error(folder, monkeypatch):
    def refuse(*_, **__):
        raise LostError("Unable to locate credentials")

    monkeypatch.setattr(type(folder), "exists", refuse)
    with pytest.raises(UserError, match="gallery cannot be reached: Unable to locate credentials"):
        place("memory://store/gallery")


def test_without_the_extra_one_error_names_it(monkeypatch):
    monkeypatch.setattr(places, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"uv pip install 'pyramid-reid\[cluster\]'"):
        place("s3://bucket/gallery")


def test_a_process_that_lives_keeps_others_out(folder, monkeypatch):
    monkeypatch.setattr(lock, "RENEW_S", 0.05)
    monkeypatch.setattr(lock, "STALE_S", 0.5)
    owned = folder / "lock"
    with leased(owned):
        with pytest.raises(BusyError, match="is being written by process"), leased(owned):
            pytest.fail("two own it")
        assert owned.exists()
    assert not owned.exists()


def test_what_a_killed_process_left_is_taken_over(folder, monkeypatch):
    monkeypatch.setattr(lock, "STALE_S", 0.1)
    monkeypatch.setattr(lock, "SETTLE_S", 0.1)
    owned = folder / "lock"
    write_whole(owned, "process 1 on another, 7")
    with leased(owned):
        assert "on another" not in owned.read_text(encoding="utf-8")
    assert not owned.exists()


def test_of_two_that_take_over_the_same_one_gives_up(folder, monkeypatch):
    owned = folder / "lock"
    write_whole(owned, "process 1 on another, 7")
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        if len(slept) == 2:  # a third one, which had seen the same, was a moment later
            write_whole(owned, "process 1 on a third, 8")

    monkeypatch.setattr(lock.time, "sleep", sleep)
    with pytest.raises(BusyError, match="a process that began just now: wait"), leased(owned):
        pytest.fail("two own it")
    assert slept == [lock.STALE_S, lock.SETTLE_S]
    assert owned.read_text(encoding="utf-8") == "process 1 on a third, 8"


def test_a_file_system_without_locks_is_one_sentence(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with (
        pytest.raises(UserError, match=r"cannot be locked \(No locks available\): put the store"),
        lock.locked(tmp_path),
    ):
        pytest.fail("nobody else is kept out")


@pytest.mark.parametrize("error", [OSError, LostError])
def test_a_sign_of_life_that_cannot_be_given_is_given_the_next_time(folder, monkeypatch, error):
    monkeypatch.setattr(lock, "RENEW_S", 0.02)
    signs, given = [], lock._signature

    def signature():
        signs.append(1)
        if len(signs) == 2:  # the first one is that of the owner's beginning
            raise error("the storage does not answer")
        return given()

    monkeypatch.setattr(lock, "_signature", signature)
    with leased(folder / "lock"):
        deadline = time.monotonic() + HANGS_S
        while len(signs) < 4:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert not (folder / "lock").exists()


def test_who_is_taken_for_dead_learns_that_another_took_over(folder, monkeypatch):
    monkeypatch.setattr(lock, "RENEW_S", 0.02)
    owned = folder / "lock"

    def stand_still():
        with leased(owned):
            write_whole(owned, "process 1 on another, 7")
            time.sleep(0.2)

    with pytest.raises(BusyError, match="was taken over by another process"):
        stand_still()
    assert owned.read_text(encoding="utf-8") == "process 1 on another, 7"  # and leaves it to it


def test_storage_that_is_gone_at_the_end_is_told_unless_something_else_went_wrong_before(
    folder, monkeypatch
):
    def lost(_):
        raise LostError("the connection was closed")

    def end(error=None):
        with monkeypatch.context() as patch, leased(folder / "lock"):
            patch.setattr(lock, "_owner", lost)
            if error:
                raise error

    with pytest.raises(UserError, match=r"cannot be unlocked \(the connection was closed\)"):
        end()
    (folder / "lock").unlink()
    with pytest.raises(ValueError, match="first"):
        end(ValueError("first"))
