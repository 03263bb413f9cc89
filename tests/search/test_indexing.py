"""Crops go into a store once, whatever happens on the way."""

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from tests.conftest import HANGS_S

from pyramid_reid.core.decode import decode
from pyramid_reid.core.errors import UserError
from pyramid_reid.search.gallery import Patterns
from pyramid_reid.search.indexing import embedding, here, index, reading, run, writing
from pyramid_reid.search.store import Store
from pyramid_reid.search.store.lock import BusyError
from search.conftest import FakeModel, describe, paint

NONE = Patterns()


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store", describe())


def rows(store):
    table = store.table.search().to_arrow().to_pylist()
    return {Path(row["path"]).name: row for row in table}


def test_what_is_there_is_not_computed_again(store, gallery, fake_model):
    report = index(store, here(lambda: fake_model), [gallery], NONE)
    assert (report.added, report.known, fake_model.seen) == (12, 0, 12)
    again = index(store, here(pytest.fail), [gallery], NONE)  # the model is not even loaded
    assert (again.added, again.known, again.changed) == (0, 12, 0)
    assert store.count() == 12
    name = "c1_0002_0.png"
    expected = fake_model.embed([decode((gallery / name).read_bytes())])[0]
    np.testing.assert_allclose(store.vector(rows(store)[name]["id"]), expected, atol=1e-3)


def test_touched_moved_changed_and_copied_files(store, tmp_path, fake_model):
    folder = tmp_path / "g"
    for person in range(4):
        paint(folder / f"{person}.png", person)
    index(store, here(lambda: fake_model), [folder], NONE)
    before = rows(store)
    os.utime(folder / "0.png", ns=(1, 1))
    (folder / "1.png").rename(folder / "moved.png")
    paint(folder / "2.png", 22)
    (folder / "copy.png").write_bytes((folder / "3.png").read_bytes())
    report = index(store, here(lambda: fake_model), [folder], NONE)
    assert (report.added, report.known, report.changed, report.copies) == (1, 3, 2, 1)
    after = rows(store)
    assert set(after) == {"0.png", "moved.png", "2.png", "3.png"}
    assert after["moved.png"]["id"] == before["1.png"]["id"]
    assert after["2.png"]["id"] != before["2.png"]["id"]
    assert fake_model.seen == 5
    last = index(store, here(lambda: fake_model), [folder], NONE)
    assert (last.added, last.known, last.changed, last.copies) == (0, 4, 0, 1)


def test_columns_that_a_table_corrects_are_corrected_without_computing(store, gallery, fake_model):
    index(store, here(lambda: fake_model), [gallery], NONE)
    assert store.cameras() == []
    report = index(
        store, here(pytest.fail), [gallery], Patterns.of(r"(c\d)_", None, "_(?P<pid>[0-9]+)_")
    )
    assert (report.added, report.changed) == (0, 12)
    assert store.cameras() == ["c1", "c2"]
    assert store.count("pid = '0003' and camera = 'c1'") == 2
    assert len(store.search(store.vector(rows(store)["c1_0000_0.png"]["id"]), k=100)) == 12


def test_boxes_are_cut_while_frames_are_read(store, tmp_path, fake_model):
    frame = tmp_path / "frame.png"
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(frame)
    table = pd.DataFrame(
        {
            "path": ["frame.png"] * 4,
            "left": [0, 20, 70, 100],
            "top": [0, 10, 10, 0],
            "width": [10, 12, 30, 5],
            "height": [20, 24, 10, 5],
            "track": ["1", "2", "3", "4"],
        }
    )
    table.to_csv(tmp_path / "t.csv", index=False)
    report = index(store, here(lambda: fake_model), [tmp_path / "t.csv"], NONE)
    assert report.added == 3
    assert [problem for problem in report.problems.values() if "covers nothing" in problem]
    found = {row["track"]: row for row in store.table.search().to_arrow().to_pylist()}
    for track, cut in (
        ("1", pixels[:20, :10]),
        ("2", pixels[10:34, 20:32]),
        ("3", pixels[10:20, 70:]),
    ):
        expected = fake_model.embed([np.ascontiguousarray(cut)])[0]
        np.testing.assert_allclose(store.vector(found[track]["id"]), expected, atol=1e-3)
        assert np.array_equal(decode(store.crop(found[track]["id"])), cut)
    assert store.count("box.left > 15") == 2
    frame.write_bytes(b"something else")
    with pytest.raises(UserError, match="is another file than was indexed"):
        store.crop(found["1"]["id"])


def hostile(folder):
    """Files that are no crops, and crops at the limits, by name; True: it is a crop."""
    folder.mkdir()
    paint(folder / "good.png", 1)
    paint(folder / "one pixel.png", 2, size=(1, 1))
    paint(folder / "long.png", 3, size=(2, 900))
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("no image")
    whole = paint(folder / "whole.jpg", 4).read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    frames = [Image.new("RGB", (8, 16), (n * 40, 0, 0)) for n in range(3)]
    frames[0].save(folder / "moving.gif", save_all=True, append_images=frames[1:])
    (folder / "moving.gif").rename(folder / "moving.png")
    Image.new("RGB", (5000, 4000)).save(folder / "20 megapixels.png")
    Image.new("RGB", (2000, 1500)).save(folder / "3 megapixels.png")
    Image.new("RGBA", (8, 8), (1, 2, 3, 100)).save(folder / "clear.png")
    (folder / "folder.jpg").mkdir()
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    return {"good.png", "one pixel.png", "long.png", "whole.jpg"}


def test_bad_files_are_listed_and_the_others_indexed(store, tmp_path, fake_model):
    crops = hostile(tmp_path / "g")
    report = index(store, here(lambda: fake_model), [tmp_path / "g"], NONE)
    assert set(rows(store)) == crops
    said = {Path(path).name: problem for path, problem in report.problems.items()}
    for name, part in {
        "empty.jpg": "is empty",
        "text.jpg": "is not a JPEG",
        "cut.jpg": "cannot be decoded",
        "moving.png": "is a GIF image",
        "20 megapixels.png": "too large",
        "3 megapixels.png": "too large for a crop of a person: give its boxes",
        "clear.png": "transparent",
        "gone.jpg": "No such file",
    }.items():
        assert part in said.pop(name)
    assert not said


def test_crops_of_any_size_go_through_the_real_networks(tmp_path, model, store):
    crops = hostile(tmp_path / "g")
    report = index(store, here(lambda: model), [tmp_path / "g"], NONE)
    assert report.added == len(crops)
    for name in crops:
        expected = model.embed([tmp_path / "g" / name])[0]
        np.testing.assert_allclose(store.vector(rows(store)[name]["id"]), expected, atol=2e-3)


def test_no_image_is_an_error(store, tmp_path):
    (tmp_path / "nothing").mkdir()
    with pytest.raises(UserError, match="there is no image in it"):
        index(store, here(pytest.fail), [tmp_path / "nothing"], NONE)


def test_what_was_embedded_is_kept_when_the_run_ends_early(store, tmp_path, monkeypatch):
    for person in range(20):
        paint(tmp_path / "g" / f"{person:02d}.png", person)
    monkeypatch.setattr(embedding, "CHUNK", 4)
    monkeypatch.setattr(writing, "ROWS", 8)

    class Stops(FakeModel):
        def embed(self, images):
            if self.seen >= 12:
                raise KeyboardInterrupt
            return super().embed(images)

    stops = Stops()
    with pytest.raises(KeyboardInterrupt):
        index(store, here(lambda: stops), [tmp_path / "g"], NONE)
    assert store.count() == 12
    rest = FakeModel()
    assert index(store, here(lambda: rest), [tmp_path / "g"], NONE).added == rest.seen == 8


SLOW = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from conftest import FakeModel, describe
from pyramid_reid.search.indexing import embedding, run, writing
from pyramid_reid.search.gallery import Patterns
from pyramid_reid.search.store import Store
embedding.CHUNK, writing.ROWS = 2, 4

class Slow(FakeModel):
    def embed(self, images):
        time.sleep(0.2)
        return super().embed(images)

model = Slow()
store = Store.create({folder!r}, describe())
run.index(store, embedding.here(lambda: model), [Path({gallery!r})], Patterns())
"""


@pytest.mark.parametrize("rows_before", [4, 12])
def test_after_a_kill_what_was_written_is_searched_and_the_rest_continues(tmp_path, rows_before):
    for person in range(40):
        paint(tmp_path / "g" / f"{person:02d}.png", person)
    folder = tmp_path / "store"
    code = SLOW.format(
        tests=str(Path(__file__).parent), folder=str(folder), gallery=str(tmp_path / "g")
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    started = time.monotonic()
    while time.monotonic() - started < HANGS_S:
        # while the store is made, it is none yet
        with contextlib.suppress(UserError):
            if Store.open(folder).count() >= rows_before:
                break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    store = Store.open(folder)
    written = store.count()
    assert rows_before <= written < 40
    rest = FakeModel()
    assert len(store.search(rest.embed([np.full((4, 4, 3), 9, np.uint8)])[0], k=100)) == written
    rest.seen = 0
    report = index(store, here(lambda: rest), [tmp_path / "g"], NONE)
    assert report.added == rest.seen == 40 - written
    assert store.count() == 40
    assert len(rows(store)) == 40


def test_two_at_once_are_refused(store, gallery, fake_model):
    other = Store.open(store.folder)
    with other.writing(), pytest.raises(UserError, match="is being written by process"):
        index(store, here(lambda: fake_model), [gallery], NONE)
    assert fake_model.seen == 0


def test_watching_takes_what_comes_once_it_is_complete(store, tmp_path, monkeypatch, fake_model):
    folder = tmp_path / "g"
    paint(folder / "0.png", 0)
    whole = paint(tmp_path / "x.png", 1).read_bytes()
    looks = iter(range(8))

    def recorder(_):
        look = next(looks, None)
        if look is None:
            raise KeyboardInterrupt
        if look < 3:  # a file that grows from look to look
            (folder / "1.png").write_bytes(whole[: (look + 1) * len(whole) // 3])
        if look == 5:
            (folder / "2.png").write_bytes(b"no image")

    monkeypatch.setattr(run.time, "sleep", recorder)
    report = index(store, here(lambda: fake_model), [folder], NONE, watch=True)
    assert set(rows(store)) == {"0.png", "1.png"}
    assert (report.added, fake_model.seen) == (2, 2)
    assert [Path(path).name for path in report.problems] == ["2.png"]
    assert rows(store)["1.png"]["id"] == hashlib.sha256(whole).hexdigest()


def test_a_model_that_gives_no_numbers_is_one_sentence(store, gallery):
    class Broken(FakeModel):
        def embed(self, images):
            raise ValueError("3 features have no direction, the first in row 0")

    with pytest.raises(UserError, match="cannot be embedded: 3 features have no direction"):
        index(store, here(Broken), [gallery], NONE)
    assert store.count() == 0


def test_a_few_crops_have_the_features_that_they_have_among_many(model, tmp_path):
    paths = [paint(tmp_path / f"{person}.png", person) for person in range(12)]
    among_many = model.embed(paths)
    np.testing.assert_allclose(model.embed(paths[:2]), among_many[:2], atol=1e-4)
    assert model.embed([]).shape == (0, 4, model.dim)


def test_what_is_forgotten_while_watching_does_not_come_back(
    store, tmp_path, monkeypatch, fake_model
):
    folder = tmp_path / "g"
    for person in range(3):
        paint(folder / f"{person}.png", person)
    looks = iter(range(9))
    other = Store.open(store.folder)

    def recorder(_):
        look = next(looks, None)
        if look is None:
            raise KeyboardInterrupt
        if look == 2:
            with other.writing():
                assert other.forget("path like '%/1.png'") == 1
        if look == 4:
            paint(folder / "3.png", 3)

    monkeypatch.setattr(run.time, "sleep", recorder)
    index(store, here(lambda: fake_model), [folder], NONE, watch=True)
    assert set(rows(store)) == {"0.png", "2.png", "3.png"}
    assert fake_model.seen == 4


@pytest.fixture(params=["far ahead", "not ahead"])
def reads(request, monkeypatch):
    """Files are read long before what became of earlier ones is decided, or just after."""
    if request.param == "not ahead":
        monkeypatch.setattr(reading, "TOGETHER", 1)
        monkeypatch.setattr(reading, "AHEAD", 1)


def letter(path, name):
    """A crop of its own for each letter, with a time of its own, as `mv` leaves it."""
    paint(path, ord(name))
    os.utime(path, ns=(ord(name), ord(name)))


def letters(store):
    """Which letter each row says is in its file; each has one row, and its file holds it."""
    table = store.table.search().to_arrow().to_pylist()
    assert len({row["id"] for row in table}) == len(table)
    assert len({row["path"] for row in table}) == len(table)
    found = {}
    for row in table:
        path = Path(row["path"])
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row["id"], path.name
        found[path.stem] = chr(path.stat().st_mtime_ns)
    return found


@pytest.mark.usefixtures("reads")
@pytest.mark.parametrize(
    ("files", "kept", "added"),
    [
        ({"a": "X", "b": "B", "c": "C", "z": "A"}, {"a": "X", "b": "B", "c": "C", "z": "A"}, 1),
        ({"0": "A", "a": "X", "b": "B", "c": "C"}, {"0": "A", "a": "X", "b": "B", "c": "C"}, 1),
        ({"a": "B", "b": "C"}, {"a": "B", "b": "C"}, 0),  # numbered anew without the first
        ({"a": "B", "b": "A", "c": "C"}, {"a": "B", "b": "A", "c": "C"}, 0),
        ({"a": "C", "b": "A", "c": "B"}, {"a": "C", "b": "A", "c": "B"}, 0),
        ({"a": "X", "b": "A", "c": "B", "d": "C"}, {"a": "X", "b": "A", "c": "B", "d": "C"}, 1),
        ({"a": "B", "b": "B", "c": "C"}, {"b": "B", "c": "C"}, 0),  # a copy of another one
        ({"a": "X", "b": "B", "c": "C"}, {"a": "X", "b": "B", "c": "C"}, 1),
    ],
)
def test_files_that_were_renamed_and_their_names_given_to_others(
    store, tmp_path, fake_model, files, kept, added
):
    folder = tmp_path / "g"
    for name in "ABC":
        letter(folder / f"{name.lower()}.png", name)
    index(store, here(lambda: fake_model), [folder], NONE)
    for path in folder.iterdir():
        path.unlink()
    for name, held in files.items():
        letter(folder / f"{name}.png", held)
    report = index(store, here(lambda: fake_model), [folder], NONE)
    assert letters(store) == kept
    assert (report.added, report.problems) == (added, {})
    assert fake_model.seen == 3 + added
    again = index(store, here(pytest.fail), [folder], NONE)
    assert (again.added, again.changed) == (0, 0)
    assert letters(store) == kept


def test_the_row_of_a_file_that_is_gone_stays(store, tmp_path, fake_model):
    for name in "ABC":
        letter(tmp_path / "g" / f"{name.lower()}.png", name)
    index(store, here(lambda: fake_model), [tmp_path / "g"], NONE)
    (tmp_path / "g" / "c.png").unlink()
    index(store, here(pytest.fail), [tmp_path / "g"], NONE)
    assert set(rows(store)) == {"a.png", "b.png", "c.png"}


@pytest.mark.usefixtures("reads")
@pytest.mark.parametrize(
    "files",
    [{"a": "X", "b": "B"}, {"a": "A", "b": "B"}, {"a": "X", "b": "B", "z": "A"}, {"a": "B"}],
)
def test_after_a_kill_between_adding_and_removing_the_next_run_sees_which_is_right(
    store, tmp_path, monkeypatch, fake_model, files
):
    folder = tmp_path / "g"
    for name in "AB":
        letter(folder / f"{name.lower()}.png", name)
    index(store, here(lambda: fake_model), [folder], NONE)
    letter(folder / "a.png", "X")

    def killed(*_):
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "remove", killed)
        with pytest.raises(RuntimeError, match="killed"):
            index(store, here(lambda: fake_model), [folder], NONE)
    assert store.count("path like '%/a.png'") == 2
    for path in folder.iterdir():
        path.unlink()
    for name, held in files.items():
        letter(folder / f"{name}.png", held)
    report = index(store, here(pytest.fail), [folder], NONE)
    assert letters(store) == files
    assert (report.added, report.problems) == (0, {})


def watched(monkeypatch, looks, do):
    """Let `do` happen at looks of `index --watch`, by their number; it ends after the last one."""
    numbers = iter(range(looks))

    def sleep(_):
        number = next(numbers, None)
        if number is None:
            raise KeyboardInterrupt
        do.get(number, lambda: None)()

    monkeypatch.setattr(run.time, "sleep", sleep)


@pytest.mark.parametrize("name", ["0", "z"])
def test_a_renamed_file_is_found_while_watching(store, tmp_path, monkeypatch, fake_model, name):
    folder = tmp_path / "g"
    letter(folder / "a.png", "A")

    def rename():
        (folder / "a.png").rename(folder / f"{name}.png")
        letter(folder / "a.png", "X")

    watched(monkeypatch, 6, {1: rename})
    index(store, here(lambda: fake_model), [folder], NONE, watch=True)
    assert letters(store) == {"a": "X", name: "A"}
    assert fake_model.seen == 2


def test_the_copy_of_a_file_that_is_another_one_now_is_taken_while_watching(
    store, tmp_path, monkeypatch, fake_model
):
    folder = tmp_path / "g"
    letter(folder / "a.png", "A")
    letter(folder / "b.png", "B")

    def copy():
        letter(folder / "c.png", "A")
        letter(folder / "d.png", "B")

    watched(monkeypatch, 10, {1: copy, 4: lambda: letter(folder / "a.png", "X")})
    report = index(store, here(lambda: fake_model), [folder], NONE, watch=True)
    assert letters(store) == {"a": "X", "b": "B", "c": "A"}
    assert report.copies == 2  # each was counted once


def test_what_another_process_adds_while_watching_is_not_added_again(
    store, tmp_path, monkeypatch, fake_model
):
    folder, other = tmp_path / "g", Store.open(store.folder)
    for name in "AB":
        letter(folder / f"{name.lower()}.png", name)

    def beside():
        letter(folder / "c.png", "C")
        (folder / "b.png").rename(folder / "d.png")
        index(other, here(FakeModel), [folder], NONE)

    watched(monkeypatch, 8, {1: beside, 4: lambda: letter(folder / "e.png", "E")})
    report = index(store, here(lambda: fake_model), [folder], NONE, watch=True)
    assert letters(store) == {"a": "A", "c": "C", "d": "B", "e": "E"}
    assert (report.added, fake_model.seen) == (3, 3)


def test_watching_goes_on_in_a_table_that_is_made_anew(store, tmp_path, monkeypatch, fake_model):
    folder, other = tmp_path / "g", Store.open(store.folder)
    for name in "AB":
        letter(folder / f"{name.lower()}.png", name)

    def forget():
        with other.writing():
            assert other.forget("true") == 2

    def move():
        (folder / "a.png").rename(folder / "moved.png")  # forgotten, and stays so
        os.utime(folder / "b.png")

    watched(
        monkeypatch,
        12,
        {1: forget, 3: move, 7: lambda: letter(folder / "c.png", "C")},
    )
    report = index(store, here(lambda: fake_model), [folder], NONE, watch=True)
    assert letters(store) == {"c": "C"}
    assert (report.added, fake_model.seen) == (3, 3)


def test_watching_waits_for_its_turn(store, tmp_path, monkeypatch, fake_model):
    folder, others = tmp_path / "g", contextlib.ExitStack()
    letter(folder / "a.png", "A")

    def begin():
        others.enter_context(Store.open(store.folder).writing())
        letter(folder / "b.png", "B")

    watched(monkeypatch, 10, {1: begin, 6: others.close})
    index(store, here(lambda: fake_model), [folder], NONE, watch=True)
    assert letters(store) == {"a": "A", "b": "B"}


def test_watching_ends_with_an_error_when_another_process_took_over(
    store, tmp_path, monkeypatch, fake_model
):
    letter(tmp_path / "g" / "a.png", "A")
    writing_as_one, entered = store.writing, []

    @contextlib.contextmanager
    def taken_over():
        entered.append(1)
        with writing_as_one():
            yield
        if len(entered) == 2:
            raise BusyError("it was taken over by another process")

    monkeypatch.setattr(store, "writing", taken_over)
    watched(monkeypatch, 6, {1: lambda: letter(tmp_path / "g" / "b.png", "B")})
    with pytest.raises(BusyError, match="was taken over"):
        index(store, here(lambda: fake_model), [tmp_path / "g"], NONE, watch=True)


def test_a_file_that_was_incomplete_at_first_is_no_problem_once_it_is_there(
    store, tmp_path, monkeypatch, fake_model
):
    folder = tmp_path / "g"
    letter(folder / "a.png", "A")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:50])
    (folder / "c.png").write_bytes(b"no image")
    watched(monkeypatch, 5, {1: lambda: letter(folder / "b.png", "B")})
    report = index(store, here(lambda: fake_model), [folder], NONE, watch=True)
    assert letters(store) == {"a": "A", "b": "B"}
    assert list(report.problems) == [str(folder / "c.png")]


def test_new_columns_are_written_while_the_rest_is_read(store, gallery, fake_model, monkeypatch):
    index(store, here(lambda: fake_model), [gallery], NONE)
    monkeypatch.setattr(writing, "SECONDS", 0)
    read = here(pytest.fail)

    def work(frames, known, intake):
        read(frames[:6], known, intake)
        started = time.monotonic()
        while store.count("camera = 'c1'") == 0:
            assert time.monotonic() - started < HANGS_S, "nothing was written"
            time.sleep(0.02)
        read(frames[6:], known, intake)

    report = index(store, work, [gallery], Patterns.of(r"(c\d)_", None, None))
    assert report.changed == 12
    assert store.count("camera is not null") == store.count() == 12


def test_columns_of_a_crop_that_has_no_row_yet_are_written_after_it(
    store, tmp_path, monkeypatch, fake_model
):
    for name in "AB":
        letter(tmp_path / "g" / f"{name}.png", name)
    pd.DataFrame({"path": ["g/A.png", "g/B.png"], "camera": ["c1", "c2"]}).to_csv(
        tmp_path / "t.csv", index=False
    )
    monkeypatch.setattr(writing, "SECONDS", 0)
    index(store, here(lambda: fake_model), [tmp_path / "g", tmp_path / "t.csv"], NONE)
    assert {row["camera"] for row in rows(store).values()} == {"c1", "c2"}


def indexed_by_table(store, folder, speeds, model):
    folder.mkdir(exist_ok=True)
    for number, _ in enumerate(speeds):
        if not (folder / f"{number}.png").exists():
            paint(folder / f"{number}.png", number)
    names = [f"{number}.png" for number, _ in enumerate(speeds)]
    pd.DataFrame({"path": names, "speed": speeds}).to_csv(folder / "t.csv", index=False)
    return index(store, here(lambda: model), [folder / "t.csv"], NONE)


def test_a_column_that_is_empty_at_first_holds_numbers_later(
    store, tmp_path, monkeypatch, fake_model
):
    monkeypatch.setattr(embedding, "CHUNK", 2)
    monkeypatch.setattr(writing, "ROWS", 2)  # the first commit has no speed
    indexed_by_table(store, tmp_path / "g", [None, None, 9.5, 10.5, None], fake_model)
    assert store.count("speed > 9") == 2
    assert store.count("speed > 10") == 1
    assert store.count("speed is null") == 3
    indexed_by_table(store, tmp_path / "g", [11.5, None, None, None, None], fake_model)
    assert {name: row["speed"] for name, row in rows(store).items() if row["speed"]} == {
        "0.png": 11.5
    }
    indexed_by_table(store, tmp_path / "g", [None] * 5, fake_model)
    assert store.count("speed is null") == store.count() == fake_model.seen == 5
