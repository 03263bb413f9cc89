"""Several processes: what they share, who writes, and how they end."""

import json
import os
import socket
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import HANGS_S, ROOT

from pyramid_reid.training import distributed
from pyramid_reid.training.live import LiveCurves

BIN = Path(sys.executable).parent
TORCHRUN = ("torchrun", "--standalone", "--nproc_per_node", "2")


def launch(folder, code, launcher=TORCHRUN, ok=True, **environment):
    """Run `code` as a stage in two processes, far from any network; returns all they print."""
    write_stage(folder, code)
    return start(folder, launcher, ok, **environment)


def write_stage(folder, code):
    """Write `code` as a stage of a project."""
    text = "import _stage\nfrom pathlib import Path\n" + textwrap.dedent(code)
    (folder / "stage.py").write_text(text)
    (folder / "params.yaml").write_text((ROOT / "params.yaml").read_text())


def start(folder, launcher, ok=True, **environment):
    """What the stage prints."""
    env = {name: value for name, value in os.environ.items() if "PROXY" not in name.upper()}
    env |= {"PATH": f"{BIN}{os.pathsep}{env['PATH']}", "HOME": str(folder)}
    env |= {"PYTHONPATH": f"{ROOT / 'stages'}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run(
        [*launcher, "stage.py"],
        cwd=folder,
        env=env | environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=HANGS_S,
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


SHARE = """
    import torch
    from pyramid_reid.training import distributed
    from pyramid_reid.core.runtime import is_main, rank

    def share():
        with distributed.main_first():
            if is_main():
                Path("written").write_text("by the main process")
            assert Path("written").read_text() == "by the main process"
        batch = torch.arange(5.0)[:, None]
        weight = torch.nn.Parameter(torch.ones(1, 1))
        own = batch[distributed.own_part(batch)]
        (own @ weight).square().sum().div(len(batch)).backward()
        distributed.sum_gradients([weight, torch.nn.Parameter(torch.ones(2))])
        assert distributed.from_main(f"of {rank()}") == "of 0"
        total = distributed.add_up(torch.tensor([float(len(own))]))
        print(f"<{rank()}: {len(own)} of {total.item()}, gradient {weight.grad.item()}>")
"""
SLOW_TO_OPEN = """
    import time
    import numpy as np
    from unittest.mock import patch
    from pyramid_reid.core.crops import Crop, CropStore, CropWriter
    from pyramid_reid.training.distributed import main_first
    from pyramid_reid.reid.training import batches

    def map_pixels():
        with main_first():
            if is_main():
                with CropWriter(Path("store")) as writer:
                    writer.add(Crop(1, 1, "train", 1, "a"), np.full((4, 2, 3), 7, np.uint8))
        load = np.load
        late = lambda *a, **k: (time.sleep(0 if is_main() else 2), load(*a, **k))[1]
        # nothing in between makes the processes meet: as where a finished training is read
        with (
            patch.object(np, "load", late),
            batches.training_images(CropStore(Path("store")), [0], 4, 2, 0.0, Path("p.npy")) as p,
        ):
            print(f"<{rank()}: {p.sum()}>")
"""
TRAINING = """
    import hashlib
    import json
    import torch
    import numpy as np
    from pyramid_reid.training.checkpoints import Checkpoints
    from pyramid_reid.core.params import load
    from pyramid_reid.reid.network import osnet
    from pyramid_reid.reid.training import loop as training

    # in double precision, as AMSGrad soon makes much of the last bits of a small gradient
    augment, build = training.augment, osnet.build
    training.augment = lambda *arguments: augment(*arguments).double()
    osnet.build = lambda *arguments: build(*arguments).double()

    class Killed(Exception):
        pass

    def stop(epoch, _):
        if epoch == 2:
            raise Killed

    def learn(params):
        rng = np.random.default_rng(0)
        pids = np.repeat(np.arange(3), 6)
        images = rng.integers(0, 100, (18, 32, 16, 3), np.uint8) + (40 * pids[:, None, None, None])
        small = {"epochs": 3, "warmup_epochs": 1, "batch_size": 9, "checkpoint_every": 1}
        reid = params.reid.model_copy(update=small | {"lr": 1e-4})
        device = torch.device("cpu")

        def run(folder, log=lambda *_: None):
            pixels = images.astype(np.uint8)
            checkpoints = Checkpoints(Path(folder), "key")
            return training.train(pixels, pids, reid, 0, device, checkpoints, log=log)

        model, curve = run("whole")
        try:
            run("killed", stop)
        except Killed:
            again, _ = run("killed")
        names = list(model.state_dict())
        same = all(torch.equal(model.state_dict()[n], again.state_dict()[n]) for n in names)
        running = model.state_dict()["conv5.bn.running_var"].double().sum().item()
        print(json.dumps([same, curve.loss.tolist(), running]))
"""
TOGETHER = """
    def main(params):
        device = distributed.join(torch.device("cpu"))
        share()
        map_pixels()
        learn(params)
        return f"{device}, {torch.get_num_threads()} threads"

    _stage.run(main)
"""
ALONE = """
    def main(params):
        learn(params)
        return "done"

    _stage.run(main)
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What two processes print that share a batch, map pixels and train; and their folder.

    To load torch takes each of them, and their launcher, longer than all of that.
    """
    folder = tmp_path_factory.mktemp("two")
    return launch(folder, SHARE + SLOW_TO_OPEN + TRAINING + TOGETHER), folder


def test_processes_share_a_batch_and_sum_its_gradient(two):
    output, _ = two
    # d/dw of mean (w x)^2 is 2 mean x^2 = 2 * 30 / 5, with 2 + 3 rows as with 5
    assert "<0: 2 of 5.0, gradient 12.0>" in output
    assert "<1: 3 of 5.0, gradient 12.0>" in output
    assert output.count("cpu, 1 threads") == 1  # pinned in each, said by the main one
    assert "Traceback" not in output


def test_mapped_pixels_are_there_until_every_process_has_opened_them(two):
    output, folder = two
    assert "<0: 168>" in output
    assert "<1: 168>" in output
    assert not (folder / "p.npy").exists()


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What one process learns."""
    (learnt,) = trainings(
        launch(tmp_path_factory.mktemp("one"), TRAINING + ALONE, (sys.executable,))
    )
    return learnt


def trainings(output):
    """What the processes print of their trainings."""
    return [
        json.loads(line) for line in output.splitlines() if line.startswith(("[true", "[false"))
    ]


def trained_alike(alone, first, second):
    """Check that two processes trained as one does, up to rounding."""
    assert first == second  # the same bytes in both
    for resumed_to_the_same_bytes, losses, running in (alone, first):
        assert resumed_to_the_same_bytes
        np.testing.assert_allclose(losses, alone[1], rtol=1e-6)
        assert running == pytest.approx(alone[2], rel=1e-6)


def test_two_processes_train_as_one_with_the_same_batch(two, alone):
    trained_alike(alone, *trainings(two[0]))


def launch_machines(folder, code):
    """What two machines print, each with a launcher of its own, that meet over loopback."""
    write_stage(folder, code)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = f"torchrun --nnodes 2 --nproc-per-node 1 --rdzv-endpoint 127.0.0.1:{port}".split()
    with ThreadPoolExecutor() as threads:
        machines = [
            threads.submit(start, folder, (*meeting, "--node-rank", str(number)))
            for number in (0, 1)
        ]
        return [machine.result() for machine in machines]


def test_two_machines_train_as_one_with_the_same_batch(alone, tmp_path):
    printed = launch_machines(tmp_path, SHARE + SLOW_TO_OPEN + TRAINING + TOGETHER)
    trained_alike(alone, *(learnt for output in printed for learnt in trainings(output)))
    main, other = printed
    assert "<0: 2 of 5.0, gradient 12.0>" in main
    assert "<1: 3 of 5.0, gradient 12.0>" in other
    assert "<1: 168>" in other  # pixels that the first machine put into the shared folder
    assert main.count("cpu, 1 threads") == 1
    assert "cpu, 1 threads" not in other


ALIKE = """
    from pyramid_reid.core.errors import UserError

    def main(params):
        raise UserError("the same everywhere")

    _stage.run(main)
"""
ONE_ALONE = """
    import torch
    from pyramid_reid.training import distributed
    from pyramid_reid.core.errors import UserError
    from pyramid_reid.core.runtime import rank

    def main(params):
        distributed.join(torch.device("cpu"))
        if rank() == 1:
            raise UserError("this one has no disk")
        distributed.wait()
        distributed.wait()

    _stage.run(main)
"""


def test_a_mistake_that_all_make_is_said_once(tmp_path):
    output = launch(tmp_path, ALIKE, ok=False)
    assert output.count("stage: the same everywhere") == 1
    assert "raise UserError" not in output


def test_one_that_fails_ends_all_with_its_line(tmp_path):
    output = launch(tmp_path, ONE_ALONE, ok=False)
    said = [line for line in output.splitlines() if line.startswith("stage:")]
    assert said == ["stage: this one has no disk (process 1)"]
    assert "raise UserError" not in output
    assert "_stage.run(main)" not in output  # no traceback of the one that was ended


def test_one_process_alone_has_everything(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    assert distributed.join(torch.device("cpu")) == torch.device("cpu")
    assert distributed.own_part(torch.zeros(7)) == slice(0, 7)
    assert distributed.from_main("x") == "x"


@pytest.mark.parametrize(("count", "processes"), [(64, 4), (7, 3), (2, 5)])
def test_parts_of_a_batch_are_even_and_cover_it(monkeypatch, count, processes):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    rows, parts = torch.arange(count), []
    for rank in range(processes):
        monkeypatch.setenv("RANK", str(rank))
        parts.append(rows[distributed.own_part(rows)])
    assert torch.equal(torch.cat(parts), rows)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_live_curves_are_on_disk_at_once_and_begin_anew(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        curves = LiveCurves(tmp_path / "live")
        for step in (1, 2):
            curves.log(step, {"loss": 1 / step, "images_per_s": 10.0})
        table = np.genfromtxt(tmp_path / "live/plots/metrics/loss.tsv", skip_header=1)
        np.testing.assert_allclose(table, [[1, 1], [2, 0.5]])
    assert not (tmp_path / "dvc.yaml").exists()
    monkeypatch.setenv("RANK", "1")
    LiveCurves(tmp_path / "other").log(1, {"loss": 1.0})
    assert not (tmp_path / "other").exists()
