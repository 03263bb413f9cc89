"""Whatever standard output and standard error are, printing ends no stage and loses no result."""

import ast
import fcntl
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from conftest import HANGS_S, ROOT

STAGE = """
    from pathlib import Path

    import _stage
    from pyramid_reid.core.progress import progress

    def main(params):
        for _ in progress(range(3), "×4 → \\udcff", "crops"):
            print("restored at ×4 → \\udcff", flush=True)
        Path("result").write_text("whole")
        return "×2 of each"

    _stage.run(main)
"""
COMMAND = """
    from pathlib import Path

    from pyramid_reid.core import printing

    printing.end_when_lost()
    try:
        for line in range({lines}):
            print("rank", line, "→ ×4 \\udcff")
        Path("result").write_text("whole")
    finally:
        Path("left in order").touch()
"""


@pytest.fixture
def start(tmp_path):
    """Start a program in a folder of its own, with channels and an environment to be chosen."""
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())

    def started(code, stdout, stderr, **environment):
        path = f"{ROOT / 'stages'}{os.pathsep}{ROOT / 'src'}"
        (tmp_path / "program.py").write_text(textwrap.dedent(code), encoding="utf-8")
        return subprocess.Popen(
            [sys.executable, "program.py"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": path, **environment},
            stdout=stdout,
            stderr=stderr,
        )

    return started


def read(process):
    """Exit status and what a program wrote to its channels."""
    out, err = process.communicate(timeout=HANGS_S)
    return process.returncode, out, err


def full():
    """A file on a disk without room."""
    return os.open("/dev/full", os.O_WRONLY)


def unread():
    """The writing end of a pipe whose reader has gone."""
    reader, writer = os.pipe()
    os.close(reader)
    return writer


ENVIRONMENTS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "windows": {"PYTHONIOENCODING": "cp1252"},
    "posix": {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "utf": {"PYTHONIOENCODING": "utf-8", "PYTHONUNBUFFERED": "1"},
}


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_no_stage_fails_for_what_an_encoding_does_not_know(start, tmp_path, name):
    environment = dict(ENVIRONMENTS[name])
    if "LC_ALL" in environment:
        environment["PYTHONIOENCODING"] = ""
    process = start(STAGE, subprocess.PIPE, subprocess.PIPE, **environment)
    code, out, err = read(process)
    assert code == 0, err
    assert b"Traceback" not in err
    assert (tmp_path / "result").read_text() == "whole"
    times = {"windows": b"\xd7", "utf": "×".encode()}.get(name, rb"\xd7")
    arrow = {"utf": "→".encode()}.get(name, rb"\u2192")
    assert out.splitlines()[0] == b"restored at " + times + b"4 " + arrow + rb" \udcff"
    assert b"100%" in err


def test_what_the_user_chose_for_unknown_letters_stays(start):
    choice = {"PYTHONIOENCODING": "ascii:replace"}
    code, out, _ = read(start(STAGE, subprocess.PIPE, subprocess.PIPE, **choice))
    assert (code, out.splitlines()[0]) == (0, b"restored at ?4 ? ?")


def test_a_reader_that_has_gone_costs_a_stage_nothing(start, tmp_path):
    writer = unread()
    code, _, err = read(start(STAGE, writer, subprocess.PIPE))
    os.close(writer)
    assert code == 0
    assert b"cannot be written" not in err  # nobody wants it
    assert b"Exception ignored" not in err
    assert (tmp_path / "result").read_text() == "whole"


def test_both_channels_in_one_pipe_without_a_reader_cost_a_stage_nothing(start, tmp_path):
    writer = unread()
    assert start(STAGE, writer, writer).wait(HANGS_S) == 0
    os.close(writer)
    assert (tmp_path / "result").read_text() == "whole"


@pytest.mark.parametrize("both", [True, False])
def test_a_full_disk_behind_the_output_costs_a_stage_nothing_and_is_said(start, tmp_path, both):
    disk = full()
    code, _, err = read(start(STAGE, disk, disk if both else subprocess.PIPE))
    os.close(disk)
    assert code == 0
    assert (tmp_path / "result").read_text() == "whole"
    if not both:
        told = (
            "program: standard output cannot be written (No space left on device): it is left out,"
            " the results are not\n"
        )
        assert err.decode().count(told) == 1


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_channels_cost_nothing_and_no_file_takes_their_place(tmp_path, closed):
    below = "import os\n    for number in (1, 2): os.write(number, b'from a library in C')"
    code = STAGE.replace("def main(params):", f"file = open('data.bin', 'wb')\n    {below}\n\n"
                         "    def main(params):")  # fmt: skip
    (tmp_path / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    (tmp_path / "program.py").write_text(textwrap.dedent(code), encoding="utf-8")
    path = f"{ROOT / 'stages'}{os.pathsep}{ROOT / 'src'}"
    done = subprocess.run(
        ["sh", "-c", f'"$0" program.py {closed}', sys.executable],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert (tmp_path / "result").read_text() == "whole"
    assert (tmp_path / "data.bin").read_bytes() == b""


def test_a_pipe_that_does_not_wait_loses_nothing(start):
    """Another program that shares it may have made it non-blocking; print would raise."""
    code = STAGE.replace('return "', 'print("x" * 300_000)\n        return "')
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETFL, fcntl.fcntl(writer, fcntl.F_GETFL) | os.O_NONBLOCK)
    process, received = start(code, writer, subprocess.DEVNULL), []
    os.close(writer)

    def slowly():
        while block := os.read(reader, 10_000):
            received.append(block)

    thread = threading.Thread(target=slowly)
    thread.start()
    assert process.wait(HANGS_S) == 0
    thread.join()
    os.close(reader)
    lines = b"".join(received).splitlines()
    assert lines[-2] == b"x" * 300_000
    assert lines[-1].startswith("program: ×2 of each (".encode())


def test_a_command_ends_without_a_word_when_its_reader_has_gone(start, tmp_path):
    process = start(COMMAND.format(lines=100_000), subprocess.PIPE, subprocess.PIPE)
    assert process.stdout.readline() == "rank 0 → ×4 \\udcff\n".encode()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(HANGS_S) == 141  # as of a shell for SIGPIPE
    assert not (tmp_path / "result").exists()
    assert (tmp_path / "left in order").exists()


def test_a_command_whose_output_is_lost_says_so_and_fails(start, tmp_path):
    disk = full()
    code, _, err = read(start(COMMAND.format(lines=3), disk, subprocess.PIPE))
    os.close(disk)
    assert code == 2
    assert err.decode() == (
        "program: standard output cannot be written (No space left on device): make room or name"
        " another place, and run it again\n"
    )
    assert (tmp_path / "left in order").exists()


def test_a_command_in_ascii_prints_all_of_its_result(start, tmp_path):
    code, out, err = read(
        start(COMMAND.format(lines=2), subprocess.PIPE, subprocess.PIPE, PYTHONIOENCODING="ascii")
    )
    assert (code, err) == (0, b"")
    assert out.splitlines()[1] == rb"rank 1 \u2192 \xd74 \udcff"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_names_that_are_no_text_are_told(tmp_path, encoding):
    """Of folders whose names hold bytes that are no UTF-8."""
    runs = {b"caf\xe9": "a: {cmd: x, outs: [{path: o, md5: 1}]}", b"other": ""}
    for name, stages in runs.items():
        folder = os.fsencode(tmp_path) + b"/" + name
        os.mkdir(folder)  # noqa: PTH102 - bytes
        lock = Path(os.fsdecode(folder)) / "dvc.lock"
        lock.write_text(f"schema: '2.0'\nstages: {{{stages}}}\n", encoding="utf-8")
    compare = [sys.executable, "-m", "pyramid_reid", "compare"]
    path = {"PYTHONPATH": str(ROOT / "src"), "PYTHONIOENCODING": encoding}
    for arguments, code in ((runs, 1), ([b"none\xff", b"other"], 2)):
        done = subprocess.run(
            [*compare, *arguments],
            cwd=tmp_path,
            env=os.environ | path,
            capture_output=True,
            check=False,
        )
        assert done.returncode == code
        assert b"Traceback" not in done.stderr
        said = done.stdout + done.stderr
        assert (rb"only caf\udce9 has it" if code == 1 else rb"none\udcff is not a") in said


def programs():
    """Programs of the project that print what is their result, with their syntax trees."""
    for folder in ("src", "docs", "benchmarks", ".ci"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text)
            top = [ast.unparse(node) for node in tree.body]
            if '__name__ == "__main__"' in text or any(line.startswith("print(") for line in top):
                yield path.relative_to(ROOT).as_posix(), tree


def test_every_program_says_what_happens_to_output_that_is_lost():
    found = dict(programs())
    assert {"docs/show_protocols.py", ".ci/verify.py"} <= set(found)
    silent = []
    for path, tree in found.items():
        calls = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}
        if not {"printing.end_when_lost()", "printing.survive()"} & calls:
            silent.append(path)
    assert silent == []


@pytest.mark.parametrize("lost", ["letters", "disk", "reader"])
def test_a_table_of_the_docs_is_printed_or_its_loss_is_told(lost):
    channel = {"letters": lambda: subprocess.PIPE, "disk": full, "reader": unread}[lost]()
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "show_protocols.py"],
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        stdout=channel,
        stderr=subprocess.PIPE,
        check=False,
    )
    assert done.returncode == {"letters": 0, "disk": 2, "reader": 141}[lost]
    assert done.stderr.count(b"\n") == (lost == "disk")
    if lost == "letters":
        assert b"data.name" in done.stdout.splitlines()[0]
    else:
        os.close(channel)
