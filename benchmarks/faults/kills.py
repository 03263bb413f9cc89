"""Stages that are killed or stopped at random moments."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from benchmarks.faults.project import PATIENCE_S, TINY, Done, Project, Running
from benchmarks.faults.verdicts import Reference, Tried, Verdict, follow

ALL, STAGE, DVC, STOP = (
    "SIGKILL of DVC and stage",
    "SIGKILL of the stage alone",
    "SIGKILL of DVC alone",
    "Ctrl-C",
)
EARLIEST, LATEST = 0.25, 1.0
"""Moments of a kill, as a share of the stage's time: its program is loaded, and its outputs are
being noted by DVC."""


def kills(
    reference: Reference,
    plan: Mapping[str, Sequence[str]],
    rng: random.Random,
    folder: Path,
    *,
    quick: bool,
) -> Iterator[Tried]:
    """Run a pipeline from nothing, in which each stage is disturbed before it may finish.

    Args:
        plan: what happens to each stage, in the order of the DAG.
        folder: of the new project.
    """
    project = Project.made(folder, TINY)
    for stage, faults in plan.items():
        said, ends = [], dict[int, Verdict]()
        for number, fault in enumerate(faults):
            done = disturb(project, stage, fault, rng, reference.seconds[stage])
            said.append(done.said)
            if fault != ALL and "Traceback" in done.said:
                ends[number] = "wrong"
            if fault == DVC:
                other = project.repro(stage)  # while the stage may still run, without its DVC
                said.append(other.said)
                if not (other.code == 0 or other.clear):
                    ends[number] = "wrong"
                psutil.wait_procs(project.stages_running(), timeout=PATIENCE_S)
            if refused := refusal(project):
                said.append(refused)
                ends.setdefault(number, "clear")
        last = project.repro(stage)
        right = last.code == 0 and project.lock.get(stage) == reference.lock[stage]
        for number, fault in enumerate(faults):
            verdict = ends.get(number, "right") if right else "wrong"
            yield Tried(fault, verdict, "\n".join([*said, last.said]))
    if quick:
        return
    final = project.repro()
    if final.code or not reference.equals(project):
        yield Tried(ALL, "wrong", final.said)


def refusal(project: Project) -> str:
    """What DVC says of a dvc.lock that a kill truncated, which is then repaired; else ""."""
    status = project.run("dvc", "status")
    return status.said if status.code and follow(status.said, project.folder) else ""


def disturb(project: Project, stage: str, fault: str, rng: random.Random, seconds: float) -> Done:
    """Start the pipeline and strike at a random moment of a stage; wait for its end.

    Args:
        seconds: that the stage takes.
    """
    while True:
        # what an earlier fault came too late for is run again
        again = ("--force", "--single-item") if stage in project.lock else ()
        running = project.start("dvc", "repro", *again, stage)
        started = running.wait_for(stage)
        time.sleep(rng.uniform(EARLIEST, LATEST) * seconds)
        struck = started and strike(project, running, fault)
        done = running.wait()
        if struck or not started:
            return done


def strike(project: Project, running: Running, fault: str) -> bool:
    """Send the signal of a fault; whether there was still something to strike."""
    if running.process.poll() is not None:
        return False
    stages = project.stages_running()
    try:
        if fault == STAGE:
            for process in stages:
                process.kill()
            return bool(stages)
        if fault == DVC:
            running.process.kill()
        else:
            sent = signal.SIGINT if fault == STOP else signal.SIGKILL
            os.killpg(running.process.pid, sent)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False
    return True
