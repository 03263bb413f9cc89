import filecmp
import itertools
import re
import threading
import time
from contextlib import closing

import numpy as np
import pytest
import torch
from conftest import HANGS_S, labels, room
from test_restoration import trained_looking

from pyramid_reid.core.crops import Crop, CropStore, CropWriter
from pyramid_reid.restoration import generation, inference
from pyramid_reid.restoration.inference import plan, restore

BRANCHES = ("h1", "h2", "h3")
SCALES = (2, 3, 4)


@pytest.fixture
def many(tmp_path):
    """Crops of many sizes."""
    rng = np.random.default_rng(1)
    with CropWriter(tmp_path / "crops") as writer:
        for number in range(24):
            height, width = (int(side) for side in rng.integers(1, 30, 2))
            crop = Crop(number, 1 + number % 2, "query", 1, f"{number}.png")
            writer.add(crop, rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return CropStore(tmp_path / "crops")


def generate(store, folder, model=None, threads=1):
    folders = [folder / branch for branch in BRANCHES]
    generation.generate(model or trained_looking(), store, folders, 1000, threads, "crops")
    return folder


def planned(store):
    """Batches of the plan that `generate` follows."""
    return plan(list(zip(store.index.height, store.index.width, strict=True)), 1000, 8)


def at_each_call(monkeypatch, act):
    """Call `act` with the number of the call, from 1, before each batch is restored."""
    original, numbers = inference.restore_batch, itertools.count(1)

    def watched(model, crops):
        act(next(numbers))
        return original(model, crops)

    monkeypatch.setattr(inference, "restore_batch", watched)


def files(folder):
    stores = (path for path in folder.rglob("*.*") if not path.match(generation.NOTES))
    return sorted(path.relative_to(folder).as_posix() for path in stores)


def same(first, second):
    assert files(first) == files(second)
    equal, *others = filecmp.cmpfiles(first, second, files(first), shallow=False)
    assert len(equal) == len(files(first)), others


@pytest.mark.parametrize("name", ["swinir", "han", "bicubic"])
def test_stores_hold_each_crop_in_order_as_a_writer_would_write_it(many, tmp_path, name):
    model = trained_looking(name)
    generate(many, tmp_path / "generated", model)
    restored = restore(model, [many[row] for row in range(len(many))], 1000)
    for place, branch in enumerate(BRANCHES):
        with CropWriter(tmp_path / "written" / branch) as writer:
            for row, images in enumerate(restored):
                writer.add(labels(many, row), images[place])
    same(tmp_path / "generated", tmp_path / "written")


@pytest.mark.parametrize("name", ["swinir", "han"])
def test_the_bytes_do_not_depend_on_the_number_of_threads(many, tmp_path, name):
    model = trained_looking(name)
    same(
        generate(many, tmp_path / "one", model, threads=1),
        generate(many, tmp_path / "three", model, threads=3),
    )


def test_as_many_batches_are_restored_at_once_as_there_are_threads(many, tmp_path, monkeypatch):
    # the first three wait for each other before the network sees them
    together, inside = threading.Barrier(3), []

    def meet(number):
        inside.append((threading.current_thread().name, torch.get_num_threads()))
        if number <= 3:
            together.wait(HANGS_S)

    at_each_call(monkeypatch, meet)
    generate(many, tmp_path / "generated", threads=3)
    assert len({name for name, _ in inside}) == 3
    assert {threads for _, threads in inside} == {1}
    assert len(inside) == len(planned(many))


def test_threads_do_not_run_ahead_of_the_one_that_writes(many, monkeypatch):
    begun, batches = [], dict(enumerate(planned(many)))
    at_each_call(monkeypatch, begun.append)
    with closing(
        inference.restore_batches(trained_looking(), batches, many.__getitem__, 2)
    ) as restored:
        next(restored)
        time.sleep(0.5)  # enough for all
        assert len(begun) <= 4 < len(batches)
    assert len(begun) <= 4


def test_threads_of_torch_are_as_before_afterwards(many, tmp_path, two_threads):
    before = torch.get_num_threads()
    generate(many, tmp_path / "generated", threads=3)
    in_a_new_thread = []
    thread = threading.Thread(target=lambda: in_a_new_thread.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert torch.get_num_threads() == before > 1
    assert in_a_new_thread == [before]


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_in_a_thread_ends_the_run_and_notes_only_what_is_written(
    many, tmp_path, monkeypatch, threads
):
    whole = generate(many, tmp_path / "whole")

    def fail(number):
        if number == 5:
            raise MemoryError("not enough")

    written = []
    original = generation._Output.write

    def write(self, row, pixels):
        original(self, row, pixels)
        written.append(row)

    monkeypatch.setattr(generation, "NOTE_EVERY_S", 0)
    monkeypatch.setattr(generation._Output, "write", write)
    with monkeypatch.context() as patch:
        at_each_call(patch, fail)
        with pytest.raises(MemoryError, match="not enough"):
            generate(many, tmp_path / "failed", threads=threads)
    assert not [each for each in threading.enumerate() if "ThreadPool" in each.name]
    (note,) = (tmp_path / "failed").glob(generation.NOTES)
    noted = [int(number) for number in re.findall(r"^(\d+) ", note.read_text(), re.MULTILINE)]
    assert sorted(written) == sorted(
        row for number in noted for row in planned(many)[number] for _ in BRANCHES
    )
    written.clear()
    same(whole, generate(many, tmp_path / "failed", threads=threads))
    assert len(written) == len(BRANCHES) * sum(
        len(rows) for number, rows in enumerate(planned(many)) if number not in noted
    )


def test_a_killed_generation_goes_on_to_the_same_bytes(many, tmp_path, monkeypatch):
    whole = generate(many, tmp_path / "whole")
    calls = []

    def kill(number):
        calls.append(number)
        if number == 5:
            raise KeyboardInterrupt

    at_each_call(monkeypatch, kill)
    monkeypatch.setattr(generation, "NOTE_EVERY_S", 0)
    with pytest.raises(KeyboardInterrupt):
        generate(many, tmp_path / "killed")
    assert not (tmp_path / "killed/h1/index.csv").exists()  # it does not look complete
    # the note that was being written when it was killed is cut short: 1 of 12, say
    (note,) = (tmp_path / "killed").glob(generation.NOTES)
    note.write_text(note.read_text() + "1")
    generate(many, tmp_path / "killed")
    assert len(calls) == len(planned(many)) + 1  # no batch twice but the one that was killed
    same(whole, tmp_path / "killed")


def stop_at(monkeypatch, folder, store, call):
    """Generate, and kill before a batch is restored; all before it are noted."""

    def kill(number):
        if number == call:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        at_each_call(patch, kill)
        patch.setattr(generation, "NOTE_EVERY_S", 0)
        with pytest.raises(KeyboardInterrupt):
            generate(store, folder)


def test_a_note_that_was_cut_short_is_no_part_of_the_next_one(many, tmp_path, monkeypatch):
    whole, folder = generate(many, tmp_path / "whole"), tmp_path / "killed"
    stop_at(monkeypatch, folder, many, 3)
    (note,) = folder.glob(generation.NOTES)
    note.write_bytes(note.read_bytes() + b"9")  # of a batch above 9: `9` and `2 …` are no batch 92
    stop_at(monkeypatch, folder, many, 2)
    assert len(planned(many)) < 90
    noted = [int(line.split()[0]) for line in note.read_text().splitlines()]
    assert noted == [0, 1, 2]
    same(whole, generate(many, folder))


def test_a_note_is_cut_short_by_a_full_disk_and_made_anew(many, tmp_path, monkeypatch):
    whole, folder = generate(many, tmp_path / "whole"), tmp_path / "full"
    stop_at(monkeypatch, folder, many, 3)
    (note,) = folder.glob(generation.NOTES)
    size = max(path.stat().st_size for path in folder.rglob("*.npy"))
    before = b"1 no note\n" * (size // 10)  # the pixels just fit, the next note does not
    note.write_bytes(note.read_bytes() + before)
    monkeypatch.setattr(generation, "NOTE_EVERY_S", 0)
    with room(note.stat().st_size + 20), pytest.raises(OSError, match="too large"):
        generate(many, folder)
    assert not note.read_bytes().endswith(b"\n")
    calls = []
    at_each_call(monkeypatch, calls.append)
    same(whole, generate(many, folder))
    assert len(calls) == len(planned(many)) - 2
    assert note.read_bytes().endswith(b"\n")


@pytest.mark.parametrize(
    "notes",
    [
        b"99999 " + b"0" * 64 + b"\n",  # no such batch
        b"9" * 5000 + b" " + b"0" * 64 + b"\n",  # more digits than Python reads
        "\u0663 ".encode() + b"0" * 64 + b"\n",  # a digit, but none of ours
        b"\xff\xfe\0\0\n\n",  # no UTF-8: what a lost write may leave
    ],
)
def test_notes_of_no_batch_count_for_nothing(many, tmp_path, notes, capsys):
    whole, folder = generate(many, tmp_path / "whole"), tmp_path / "noted"
    folder.mkdir()
    (folder / "finished-0.txt").write_bytes(notes)
    same(whole, generate(many, folder))
    assert "damaged" not in capsys.readouterr().err


def test_notes_of_two_processes_are_not_run_together(many, tmp_path, monkeypatch):
    whole, folder = generate(many, tmp_path / "whole"), tmp_path / "two"
    stop_at(monkeypatch, folder, many, 4)
    lines = (folder / "finished-0.txt").read_bytes().splitlines(keepends=True)
    (folder / "finished-0.txt").write_bytes(lines[0] + b"1")
    (folder / "finished-1.txt").write_bytes(b"".join(lines[1:]))
    calls = []
    at_each_call(monkeypatch, calls.append)
    same(whole, generate(many, folder))
    assert len(calls) == len(planned(many)) - 3


def test_a_damaged_header_of_an_unfinished_store_is_made_again(many, tmp_path, monkeypatch):
    whole, folder = generate(many, tmp_path / "whole"), tmp_path / "killed"
    stop_at(monkeypatch, folder, many, 3)
    path = folder / "h1/pixels.npy"
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    calls = []
    at_each_call(monkeypatch, calls.append)
    same(whole, generate(many, folder))
    assert len(calls) == len(planned(many)) - 2  # what was finished is not lost


@pytest.mark.parametrize("damage", ["flip", "shorten", "remove"])
def test_what_is_damaged_after_it_was_written_is_restored_again(
    many, tmp_path, monkeypatch, capsys, damage
):
    whole = generate(many, tmp_path / "whole")
    again = generate(many, tmp_path / "again")
    path = again / "h2" / "pixels.npy"
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    else:
        content[-1] ^= 1
        path.write_bytes(content if damage == "flip" else content[:-1])
    calls = []
    at_each_call(monkeypatch, calls.append)
    generate(many, again)
    same(whole, again)
    assert len(calls) == (1 if damage == "flip" else len(planned(many)))
    assert "damaged and are restored again" in capsys.readouterr().err


def test_several_processes_write_the_same_bytes(many, tmp_path, monkeypatch):
    whole = generate(many, tmp_path / "whole")
    folder = tmp_path / "shared"
    # what each of two processes does, one after the other; meeting is left out
    monkeypatch.setattr(generation, "world_size", lambda: 2)
    monkeypatch.setattr(generation, "wait", lambda: None)
    pending = []

    def from_main(value):
        pending.append(value)
        return pending[0]

    monkeypatch.setattr(generation, "from_main", from_main)
    for process in (0, 1):
        monkeypatch.setattr(generation, "rank", lambda process=process: process)
        monkeypatch.setattr(generation, "is_main", lambda process=process: process == 0)
        if process == 0:  # it ends last: its index and its removal of the notes come after all
            monkeypatch.setattr(generation._Output, "finish", lambda self: None)
        generate(many, folder)
    monkeypatch.undo()
    assert (whole / "h3/pixels.npy").read_bytes() == (folder / "h3/pixels.npy").read_bytes()


def test_memory_is_bounded_by_the_batch(many, tmp_path, monkeypatch):
    largest = []
    original = inference.restore_batch

    def watched(model, crops):
        largest.append(sum(crop.shape[0] * crop.shape[1] for crop in crops))
        return original(model, crops)

    monkeypatch.setattr(inference, "restore_batch", watched)
    generate(many, tmp_path / "generated")
    assert max(largest) <= 1000
    assert sum(largest) == int((many.index.height * many.index.width).sum())


def test_the_device_of_a_network_without_weights_is_known():
    assert trained_looking("bicubic").mean.device == torch.device("cpu")
