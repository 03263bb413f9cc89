"""What is read back after a kill or on a full disk."""

import json
import random
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest
import torch
from benchmarks.results import records
from conftest import ROOT, room

from pyramid_reid.core import provenance, tables, whole_files
from pyramid_reid.training.checkpoints import Checkpoints


def write_figures(path, value):
    tables.write_json(path, {"figure": value, "text": "x" * 3000 * value})


def write_table(path, value):
    tables.write_csv(path, pd.DataFrame({"figure": [value] * 3000 * value}))


def write_record(path, value):
    provenance.write(path, {"figure": value, "text": "x" * 3000 * value})


@pytest.mark.parametrize("write", [write_figures, write_table, write_record])
def test_on_a_full_disk_a_file_stays_as_it_was_and_takes_no_room(tmp_path, write):
    path = tmp_path / "file"
    write(path, 0)
    before = path.read_bytes()
    with room(1000), pytest.raises(OSError, match="too large"):
        write(path, 1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write(path, 1)
    assert len(path.read_bytes()) > 1000


def test_on_a_full_disk_a_checkpoint_leaves_the_last_one_and_no_part(tmp_path):
    checkpoints = Checkpoints(tmp_path, "key")
    checkpoints.save({"epoch": 1})
    with room(10_000), pytest.raises(OSError, match="too large"):
        checkpoints.save({"epoch": 2, "weights": torch.zeros(10_000)})
    assert checkpoints.load() == {"epoch": 1}
    assert list(checkpoints.path.parent.iterdir()) == [checkpoints.path]


def test_a_record_of_an_experiment_that_did_not_fit_does_not_count_as_recorded(tmp_path):
    record = records.Record(0, {"text": "x" * 5000}, pd.DataFrame({"pid": [1]}))
    with room(1000), pytest.raises(OSError, match="too large"):
        records.write(tmp_path, record)
    assert not (
        tmp_path / "split_0.json"
    ).exists()  # benchmarks/results/rows.py takes it for finished
    records.write(tmp_path, record)
    assert records.read(tmp_path)[0].about == record.about


KILLED = """
import sys
from pathlib import Path
from pyramid_reid.core.whole_files import write_whole
print("begun", flush=True)
number = 0
while True:
    number += 1
    write_whole(Path(sys.argv[1]), f"{number} ".encode() * 20_000)
"""


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "file"
    for seed in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(path)],
            stdout=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": str(ROOT / "src")},
        )
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.05 + random.Random(seed).random() / 20)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        numbers = path.read_text().split()
        assert len(numbers) == 20_000
        assert len(set(numbers)) == 1


def test_a_line_that_was_cut_short_is_never_continued(tmp_path):
    path = tmp_path / "lines"
    with whole_files.appended(path) as file:
        file.write(b"one\ntwo\nthr")
    assert whole_files.whole_lines(path) == [b"one", b"two"]
    with whole_files.appended(path) as file:
        file.write(b"three\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    path.write_bytes(b"\0\0\0")  # what a machine that lost its power may leave
    with whole_files.appended(path) as file:
        file.write(b"one\n")
    assert path.read_bytes() == b"one\n"


def test_json_and_csv_are_as_before(tmp_path):
    tables.write_json(tmp_path / "new/a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "new/a.json").read_text() == '{\n  "a": "\\u00e9",\n  "b": 1\n}\n'
    tables.write_csv(tmp_path / "b.csv", pd.DataFrame({"x": [1.23456789], "y": ["é,"]}))
    assert (tmp_path / "b.csv").read_bytes() == 'x,y\n1.23457,"é,"\n'.encode()
    assert json.loads((tmp_path / "new/a.json").read_text())["a"] == "é"
