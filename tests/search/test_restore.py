"""`pyramid-reid restore`: names, what is refused before any work, and what is listed after it."""

import errno
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pyramid_reid import cli
from pyramid_reid.core.errors import UserError
from pyramid_reid.search import restoring


def save(path, size=(9, 5), seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, **options)
    return pixels


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["pyramid-reid", *map(str, arguments)])
    return cli.main()


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "in"
    save(folder / "a.png", (9, 5), 1)
    save(folder / "camera 2/ä 'b'.PNG", (30, 11), 2)
    save(folder / "camera 2/c.bmp", (1, 1), 3)
    return folder


def written(out):
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_names_and_folders_are_kept_and_pixels_are_the_model_s(model, images, tmp_path):
    report = restoring.restore(model, [images], tmp_path / "out")
    names = ["a.png", "camera 2/c.png", "camera 2/ä 'b'.png"]
    assert written(tmp_path / "out") == [f"x{s}/{name}" for s in (2, 3, 4) for name in names]
    assert report.restored == 3
    assert not report.problems
    expected = model.restore(images / "camera 2/ä 'b'.PNG")
    for scale, pixels in zip((2, 3, 4), expected, strict=True):
        with Image.open(tmp_path / f"out/x{scale}/camera 2/ä 'b'.png") as image:
            assert image.size == (11 * scale, 30 * scale)
            # restored beside crops of other sizes: rounding, of one level at most
            assert np.abs(np.asarray(image, int) - pixels.astype(int)).max() <= 1


def test_some_scales_and_single_files(model, images, tmp_path):
    report = restoring.restore(model, [images / "a.png"], tmp_path / "out", [4, 2])
    assert written(tmp_path / "out") == ["x2/a.png", "x4/a.png"]
    assert report.scales == [2, 4]


def test_unreadable_files_are_listed_at_the_end_and_the_rest_is_restored(
    model_folder, images, tmp_path, monkeypatch, capsys
):
    (images / "broken.jpg").write_bytes(b"\xff\xd8 no more")
    (images / "empty.png").touch()
    (images / "page.png").write_text("<!doctype html>")
    save(images / "moving.gif")
    save(images / "frame.png", (600, 600))
    (images / "notes.txt").write_text("no image")
    (images / ".hidden.png").write_bytes(b"no image")
    (tmp_path / "elsewhere").mkdir()
    (images / "linked").symlink_to(tmp_path / "elsewhere")
    out = tmp_path / "out"
    arguments = ["restore", images, "--out", out, "--model", model_folder, "--scales", "2"]
    assert command(monkeypatch, *arguments, "--json") == 3
    told = json.loads(capsys.readouterr().out)
    assert told["restored"] == 3
    assert told["scales"] == [2]
    said = {Path(path).name: why for path, why in told["unreadable"].items()}
    assert set(said) == {
        *("broken.jpg", "empty.png", "page.png", "moving.gif", "frame.png", "linked")
    }
    assert "too large" in said["frame.png"]
    assert "web page" in said["page.png"]
    assert command(monkeypatch, *arguments) == 3
    lines = capsys.readouterr().out
    assert "6 files could not be read:" in lines
    assert "broken.jpg" in lines


def test_a_run_without_problems_ends_with_0(model_folder, images, tmp_path, monkeypatch, capsys):
    arguments = ["restore", images, "--out", tmp_path / "out", "--model", model_folder]
    assert command(monkeypatch, *arguments) == 0
    assert "3 images restored" in capsys.readouterr().out


def refused(model, tmp_path, inputs, match, **options):
    out = options.pop("out", tmp_path / "out")
    with pytest.raises(UserError, match=match):
        restoring.restore(model, inputs, out, **options)
    assert not (tmp_path / "out").exists()


def test_two_images_of_one_name_are_refused_before_any_work(model, images, tmp_path):
    save(images / "a.jpg")
    refused(model, tmp_path, [images], r"a\.jpg and .*a\.png would both become a\.png")
    save(tmp_path / "other/a.bmp")
    (images / "a.jpg").unlink()
    refused(model, tmp_path, [images, tmp_path / "other"], r"would both become a\.png")


def test_bad_input_is_refused_before_any_work(model, images, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(model, tmp_path, [tmp_path / "empty"], "no image")
    refused(model, tmp_path, [tmp_path / "none"], "neither a file nor a folder")
    refused(model, tmp_path, [images], "restores at 2, 3, 4, not at 5", scales=[2, 5])
    refused(model, tmp_path, [images], "lies inside", out=images / "out")


def test_scales_that_are_no_numbers_end_with_2(model_folder, images, tmp_path, monkeypatch, capsys):
    arguments = ["restore", images, "--out", tmp_path / "out", "--model", model_folder]
    assert command(monkeypatch, *arguments, "--scales", "2;3") == 2
    assert "give whole numbers" in capsys.readouterr().err


def test_many_images_are_restored_some_at_a_time(model, images, tmp_path, monkeypatch):
    restoring.restore(model, [images], tmp_path / "at_once")
    monkeypatch.setattr(restoring, "TOGETHER", 1)
    restoring.restore(model, [images], tmp_path / "one_by_one")
    assert written(tmp_path / "at_once") == written(tmp_path / "one_by_one")


def test_a_full_disk_is_told_and_leaves_whole_files(model, images, tmp_path, monkeypatch):
    out, plain = tmp_path / "out", Image.Image.save
    monkeypatch.setattr(restoring, "TOGETHER", 1)

    def save_some(self, path, **options):
        if "c.png" in str(path):
            Path(path).write_bytes(b"\x89PNG")
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        plain(self, path, **options)

    monkeypatch.setattr(Image.Image, "save", save_some)
    with pytest.raises(UserError, match="No space left on device: make room"):
        restoring.restore(model, [images], out)
    for path in out.rglob("*.*"):
        with Image.open(path) as image:
            image.load()
    assert "x2/a.png" in written(out)
