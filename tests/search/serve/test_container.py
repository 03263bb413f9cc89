"""The Dockerfile, as far as it can be tried without a container engine."""

import json
import re
import shutil
import subprocess
import sys
import threading
import time
import tomllib

import pytest
import uvicorn
from tests.conftest import ROOT

from pyramid_reid import cli
from pyramid_reid.search.serve.app import create
from pyramid_reid.search.serve.security import access

LINES = (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
ANY = "0.0.0.0"  # noqa: S104 - in a container, whose port is published or not
FILTER = ROOT / ".ci" / "without_cuda.awk"


def last(instruction):
    """The arguments of the last of these instructions, which is the one that holds."""
    return [line for line in LINES if line.startswith(f"{instruction} ")][-1].split(maxsplit=1)[1]


def packages(text):
    return set(re.findall(r"^([a-z0-9.-]+)==", text, re.MULTILINE))


def chosen(*options):
    awk = shutil.which("awk")
    command = [awk, *options, "-f", FILTER, ROOT / "requirements.txt"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_it_is_not_run_by_root():
    assert last("USER") == "reid"
    made = next(number for number, line in enumerate(LINES) if "useradd" in line)
    assert made < LINES.index("USER reid") < LINES.index(f"ENTRYPOINT {last('ENTRYPOINT')}")


def test_its_command_is_one_of_the_program():
    entry, arguments = json.loads(last("ENTRYPOINT")), json.loads(last("CMD"))
    assert entry == ["pyramid-reid"]
    given = cli._parser().parse_args(arguments)
    assert (given.command, given.host, given.port) == ("serve", ANY, int(last("EXPOSE")))


def test_its_python_is_one_that_the_package_takes():
    version = re.search(r"^ARG PYTHON=3\.(\d+)$", "\n".join(LINES), re.MULTILINE)[1]
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    low, high = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", wanted).groups()
    assert int(low) <= int(version) < int(high)


def test_what_is_copied_is_there_and_not_ignored():
    allowed = (ROOT / ".dockerignore").read_text().splitlines()
    copied = [name for line in LINES if line.startswith("COPY ") for name in line.split()[1:-1]]
    assert copied
    for name in copied:
        assert (ROOT / name).exists()
        assert f"!{name}" in allowed


def test_for_a_cpu_torch_and_cuda_are_left_out_and_nothing_else():
    everything = (ROOT / "requirements.txt").read_text()
    left_out = packages(everything) - packages(chosen())
    assert {"torch", "torchvision", "triton", "nvidia-cudnn-cu13", "cuda-toolkit"} <= left_out
    assert all(
        re.fullmatch(r"torch|torchvision|triton|(cuda|nvidia)-.*", name) for name in left_out
    )
    assert {"torchreid", "nvidia-ml-py", "timm", "numpy"} <= packages(chosen())
    # each hash stays with its package
    assert chosen().count("--hash") < everything.count("--hash")
    for block in re.split(r"\n(?=[a-z0-9])", chosen().partition("\nabsl")[2])[1:]:
        assert "--hash=sha256:" in block
        assert block in everything
    pins = dict(line.split("==") for line in chosen("-v", "only=1").split())
    assert set(pins) == {"torch", "torchvision"}
    assert all(f"\n{name}=={version} " in everything for name, version in pins.items())


@pytest.fixture
def health(stored, model, log):
    """The server as the container starts it, with a token; and what runs the health check."""
    app = create(stored, model, access(ANY, ["a-secret-of-some-length"])[0], log)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    program = json.loads(re.search(r"CMD\s+(\[.*\])", last("HEALTHCHECK"))[1])
    assert program[:2] == ["python", "-c"]
    assert program[2].count(":8000/") == 1

    def check():
        code = program[2].replace(":8000/", f":{port}/")
        return subprocess.run(
            [sys.executable, "-c", code], capture_output=True, check=False
        ).returncode

    def stop():
        server.should_exit = True
        thread.join()

    yield check, stop
    stop()


def test_the_health_check_tells_a_server_from_none(health):
    check, stop = health
    assert check() == 0
    stop()
    assert check() != 0
