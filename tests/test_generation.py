import filecmp

import numpy as np
import pytest
import torch
from conftest import labels
from test_restoration import trained_looking

from pyramid_reid.crops import Crop, CropStore, CropWriter
from pyramid_reid.restoration import generation
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


def generate(store, folder, model=None):
    folders = [folder / branch for branch in BRANCHES]
    generation.generate(model or trained_looking(), store, folders, 1000, "crops")
    return folder


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


def test_a_killed_generation_goes_on_to_the_same_bytes(many, tmp_path, monkeypatch):
    whole = generate(many, tmp_path / "whole")
    original, calls = generation.restore_batch, []

    def killed(*arguments):
        calls.append(1)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(generation, "restore_batch", killed)
    monkeypatch.setattr(generation, "NOTE_EVERY_S", 0)
    with pytest.raises(KeyboardInterrupt):
        generate(many, tmp_path / "killed")
    assert not (tmp_path / "killed/h1/index.csv").exists()  # it does not look complete
    # the note that was being written when it was killed is cut short: 1 of 12, say
    (note,) = (tmp_path / "killed").glob(generation.NOTES)
    note.write_text(note.read_text() + "1")
    generate(many, tmp_path / "killed")
    sizes = list(zip(many.index.height, many.index.width, strict=True))
    assert len(calls) == len(plan(sizes, 1000)) + 1  # no batch twice but the one that was killed
    same(whole, tmp_path / "killed")


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
    original, calls = generation.restore_batch, []

    def counted(*arguments):
        calls.append(1)
        return original(*arguments)

    monkeypatch.setattr(generation, "restore_batch", counted)
    generate(many, again)
    same(whole, again)
    sizes = list(zip(many.index.height, many.index.width, strict=True))
    assert len(calls) == (1 if damage == "flip" else len(plan(sizes, 1000)))
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
    original = generation.restore_batch

    def watched(model, crops):
        largest.append(sum(crop.shape[0] * crop.shape[1] for crop in crops))
        return original(model, crops)

    monkeypatch.setattr(generation, "restore_batch", watched)
    generate(many, tmp_path / "generated")
    assert max(largest) <= 1000
    assert sum(largest) == int((many.index.height * many.index.width).sum())


def test_the_device_of_a_network_without_weights_is_known():
    assert trained_looking("bicubic").mean.device == torch.device("cpu")
