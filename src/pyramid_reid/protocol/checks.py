"""Checks of a split before hours of work: everything that is wrong, in one list."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd

from pyramid_reid.core.errors import UserError
from pyramid_reid.retrieval.metrics import Rule

SHOWN = 20
"""Problems that a message spells out; the rest is counted."""


def raise_all(what: str, problems: Sequence[str]) -> None:
    """Raise one UserError that lists the problems of `what`, if there are any."""
    if problems:
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        lines = "\n  ".join([*problems[:SHOWN], *more])
        raise UserError(f"{what} has {len(problems)} problem(s):\n  {lines}")


def of_cameras(raw: pd.DataFrame) -> list[str]:
    """Why the cameras of a set do not say which images are the queries; nothing else is wrong.

    Args:
        raw: columns path, camid and role, the set's own.
    """
    own = raw[raw.role != "gallery"]  # distractors are no side
    if raw.role.isin(["train", "query"]).any() or len(own) < 2 or own.camid.nunique() > 1:
        return []
    problem = (
        f"all images are from camera {own.camid.iloc[0]}, so no camera can give the queries:"
        " correct the camera numbers; or leave all camids (or data.camera_pattern) empty and set"
        " -S simulate.low_camera=random: one image of each person is the query then; or give the"
        " images roles and set -S evaluation.rule=all_shot"
    )
    return [problem]


def camera_notes(raw: pd.DataFrame) -> list[str]:
    """What is unusual about the cameras of a set, and may be right."""
    counts = raw.groupby("camid").path.agg(["size", "first"])
    lone = counts[counts["size"] == 1]
    if len(lone) == len(counts) > 1:
        note = (
            "each image has a camera of its own (unknown cameras are recorded so): every other"
            " image of a person counts as a match, the next frame of the same video, too"
        )
        return [note]
    if lone.empty:
        return []
    named = [f"camera {camid} ({path})" for camid, path in lone["first"].items()]
    more = f" and {len(named) - SHOWN} more" if len(named) > SHOWN else ""
    note = (
        f"{len(named)} of {len(counts)} cameras took one image only:"
        f" {', '.join(named[:SHOWN])}{more}; correct the number where it is a typing error"
    )
    return [note]


def of_split(assigned: pd.DataFrame, rule: Rule, *, allow_duplicates: bool = False) -> list[str]:
    """Problems of one split: leaks from training to test, and queries that nothing can match.

    Args:
        assigned: columns path, pid, camid, role, sha256, as `roles.assign` returns them.
        rule: by which rankings will be judged.
        allow_duplicates: whether `duplicates` are no problem.
    """
    copies = [] if allow_duplicates else [_duplicate(same) for same in duplicates(assigned)]
    return [*_shared_people(assigned), *copies, *_roles(assigned, rule)]


def duplicates(assigned: pd.DataFrame) -> list[pd.DataFrame]:
    """The images of each file that is there several times, with several labels.

    Copies that agree in person, camera and role are left out: they weigh twice, but no query finds
    itself. Files are compared by SHA-256: a copy that was saved anew is another file.

    Args:
        assigned: as for `of_split`.
    """
    several = assigned[assigned.duplicated("sha256", keep=False)]
    labels = ["pid", "camid", "role"]
    groups = [same for _, same in several.groupby("sha256", sort=False)]
    return [same for same in groups if (same[labels].nunique() > 1).any()]


def _duplicate(same: pd.DataFrame) -> str:
    """One file as several images, in the same words for all splits where people or cameras tell."""
    roles = ["pid", "camid"] if (same[["pid", "camid"]].nunique() > 1).any() else ["role"]
    images = [
        f"{image['path']} ({', '.join(f'{name} {image[name]}' for name in roles)})"
        for _, image in same.iterrows()
    ]
    return (
        f"the same file is {', '.join(images)}: a copy would find itself; keep one, or, if a"
        " published set has it so, count such images by -S simulate.allow_duplicates=true"
    )


def _shared_people(assigned: pd.DataFrame) -> Iterable[str]:
    part = assigned.role.map(
        {
            "train": "train",
            "val_query": "train",  # held out of the training people
            "val_gallery": "train",
            "query": "test",
            "gallery": "test",
        }
    )
    parts_of = part.groupby(assigned.pid).nunique()
    for pid in parts_of[parts_of > 1].index:
        own = assigned.path[assigned.pid == pid]
        paths = [own[part == name].iloc[0] for name in ("train", "test")]
        yield (
            f"person {pid} is in training ({paths[0]}) and in test ({paths[1]}): give two"
            " people two numbers, or leave the person out of one part"
        )


def _roles(assigned: pd.DataFrame, rule: Rule) -> Iterable[str]:
    for query, gallery in (("query", "gallery"), ("val_query", "val_gallery")):
        queries, others = (assigned[assigned.role == role] for role in (query, gallery))
        for role, images in (("query", queries), ("gallery", others)):
            if query == "query" and not len(images):
                yield f"no image has the role {role}: check the camera numbers or the roles"
        yield from _unmatched(query, queries, others, rule)


def _unmatched(
    query: str, queries: pd.DataFrame, gallery: pd.DataFrame, rule: Rule
) -> Iterable[str]:
    """Queries without a true match; one line for all of them if the rule excludes every match."""
    seen: dict[int, set[int]] = gallery.groupby("pid").camid.agg(set).to_dict()
    cameras = [seen.get(pid, set()) for pid in queries.pid]
    other = [found - {camid} for found, camid in zip(cameras, queries.camid, strict=True)]
    by_rule = (
        f"from the query's own camera, which do not count by the rule {rule}; correct the camera"
        " numbers, or count them by -S evaluation.rule=all_shot"
    )
    if rule != "all_shot" and len(queries) > 1 and any(cameras) and not any(other):
        yield f"no {query} has a true match: all gallery images of their people are {by_rule}"
        return
    for image, found, others in zip(queries.itertuples(index=False), cameras, other, strict=True):
        if not (found if rule == "all_shot" else others):
            why = (
                f"all its gallery images are {by_rule}, or leave the query out"
                if found
                else "the gallery has no image of this person; add one, or leave the query out"
            )
            yield (
                f"{query} {image.path} (pid {image.pid}, camid {image.camid}) has no true match:"
                f" {why}"
            )
