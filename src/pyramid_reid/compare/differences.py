"""Where two runs of the pipeline diverge: the first stage with different bytes, and the figures."""

from __future__ import annotations

from collections.abc import Mapping

from pyramid_reid.compare.runs import Run, Stage

NEW_IN_EACH_RUN = ("finished",)
"""Keys of a record that explain nothing."""
ABSENT = "absent"


def differing(ours: Mapping[str, object], theirs: Mapping[str, object]) -> list[str]:
    """Keys whose values differ or that only one side has, ours first."""
    keys = [*ours, *(key for key in theirs if key not in ours)]
    return [key for key in keys if ours.get(key, ABSENT) != theirs.get(key, ABSENT)]


def changed_stages(ours: Run, theirs: Run) -> list[str]:
    """Stages whose outs differ, or that only one run has, in the order of the DAG."""
    outs = [{name: stage.outs for name, stage in run.stages.items()} for run in (ours, theirs)]
    found = set(differing(*outs))
    order = [*ours.stages, *(name for name in theirs.stages if name not in ours.stages)]
    return [name for name in order if name in found]


def why(ours: Stage, theirs: Stage) -> list[str]:
    """What a stage of two runs had read that differs: command, params and deps, a line each."""
    lines = [f"  command: {ours.cmd} → {theirs.cmd}"] if ours.cmd != theirs.cmd else []
    lines += [
        f"  param {key}: {ours.params.get(key, ABSENT)} → {theirs.params.get(key, ABSENT)}"
        for key in differing(ours.params, theirs.params)
    ]
    lines += [f"  dep {path}" for path in differing(ours.deps, theirs.deps)]
    return lines or ["  nothing: the same command, params and deps gave other bytes"]


def first_stage(ours: Run, theirs: Run) -> list[str]:
    """The first stage whose outs differ, which of them, and what it had read that differs."""
    changed = changed_stages(ours, theirs)
    if not changed:
        return [f"all outs of {len(ours.stages)} stages are the same"]
    first = changed[0]
    for here, other in ((ours, theirs), (theirs, ours)):
        if first not in other.stages:
            return [f"{first} is the first stage that differs: only {here.name} has it"]
    one, two = ours.stages[first], theirs.stages[first]
    lines = [f"{first} is the first stage whose outs differ, of {len(changed)} that do:"]
    lines += [f"  out {path}" for path in differing(one.outs, two.outs)]
    return [*lines, "What it had read that differs:", *why(one, two)]


def figures(ours: Run, theirs: Run) -> list[str]:
    """Figures that differ: ours, theirs, and by how much."""
    lines = []
    for key in differing(ours.figures, theirs.figures):
        one, two = (run.figures.get(key, ABSENT) for run in (ours, theirs))
        numbers = isinstance(one, int | float) and isinstance(two, int | float)
        by = f" ({two - one:+.6g})" if numbers else ""  # type: ignore[operator]
        lines.append(f"  {key}: {one} → {two}{by}")
    return [f"Figures that differ: {len(lines)}", *lines]


def records(ours: Run, theirs: Run) -> list[str]:
    """What differs in the records of stages that both runs have kept, with the stages."""
    where: dict[str, list[str]] = {}
    common = [name for name in ours.stages if name in ours.records and name in theirs.records]
    for name in common:
        one, two = ours.records[name], theirs.records[name]
        for key in differing(one, two):
            if key not in NEW_IN_EACH_RUN:
                line = f"{key}: {one.get(key, ABSENT)} → {two.get(key, ABSENT)}"
                where.setdefault(line, []).append(name)
    if not common:
        return ["No records to compare: a run keeps them in data/records of its folder"]
    lines = [
        f"  {line} ({'all' if len(names) == len(common) else ', '.join(names)})"
        for line, names in where.items()
    ]
    return [f"Differences in the records of {len(common)} stages: {len(lines)}", *lines]
