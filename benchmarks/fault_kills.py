"""Stages that are killed or stopped at random moments."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
from fault_project import PATIENCE_S, TINY, Done, Project, Running
from fault_verdicts import Reference, Tried

ALL, STAGE, DVC, STOP = (
    "SIGKILL of DVC and stage",
    "SIGKILL of the stage alone",
    "SIGKILL of DVC alone",
    "Ctrl-C",
)
EARLIEST, LATEST = 0.25, 1.1
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
        said, bad = [], set[str]()
        for fault in faults:
            moment = rng.uniform(EARLIEST, LATEST) * reference.seconds[stage]
            done = disturb(project, stage, fault, moment)
            said.append(done.said)
            if fault != ALL and "Traceback" in done.said:
                bad.add(fault)
            if fault == DVC:
                other = project.repro(stage)  # while the stage may still run, without its DVC
                said.append(other.said)
                if not (other.code == 0 or other.clear):
                    bad.add(fault)
                psutil.wait_procs(project.stages_running(), timeout=PATIENCE_S)
        last = project.repro(stage)
        right = last.code == 0 and project.lock.get(stage) == reference.lock[stage]
        for fault in faults:
            ended_right = right and fault not in bad
            yield Tried(fault, "right" if ended_right else "wrong", "\n".join([*said, last.said]))
    if quick:
        return
    final = project.repro()
    if final.code or not reference.equals(project):
        yield Tried(ALL, "wrong", final.said)


def disturb(project: Project, stage: str, fault: str, moment: float) -> Done:
    """Start the pipeline and strike some seconds after a stage has begun; wait for its end."""
    running = project.start("dvc", "repro", stage)
    if running.wait_for(stage):
        time.sleep(moment)
        strike(project, running, fault)
    return running.wait()


def strike(project: Project, running: Running, fault: str) -> None:
    """Send the signal of a fault; a process that has just ended is spared."""
    try:
        if fault == STAGE:
            for process in project.stages_running():
                process.kill()
        elif fault == DVC:
            running.process.kill()
        else:
            sent = signal.SIGINT if fault == STOP else signal.SIGKILL
            os.killpg(running.process.pid, sent)
    except (ProcessLookupError, psutil.NoSuchProcess):
        return
