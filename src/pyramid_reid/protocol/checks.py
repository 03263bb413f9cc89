"""What is wrong with a split, found before hours of work, all of it in one list."""

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
    """Cameras with one image, which are typing errors more often than cameras."""
    counts = raw.groupby("camid").path.agg(["size", "first"])
    return [
        f"camera {camid} has one image only ({row['first']}): correct its camera number, or leave"
        " it out"
        for camid, row in counts[counts["size"] == 1].iterrows()
    ]


def of_split(assigned: pd.DataFrame, rule: Rule) -> list[str]:
    """Problems of one split: leaks from training to test, and queries that nothing can match.

    Args:
        assigned: columns path, pid, camid, role, sha256, as `protocol.assign` returns them.
        rule: by which rankings will be judged.
    """
    return [*_shared_people(assigned), *_shared_files(assigned), *_roles(assigned, rule)]


def _shared_people(assigned: pd.DataFrame) -> Iterable[str]:
    part = assigned.role.map({"train": "train", "query": "test", "gallery": "test"})
    parts_of = part.groupby(assigned.pid).nunique()
    for pid in parts_of[parts_of > 1].index:
        own = assigned.path[assigned.pid == pid]
        paths = [own[part == name].iloc[0] for name in ("train", "test")]
        yield (
            f"person {pid} is in training ({paths[0]}) and in test ({paths[1]}): give two"
            " people two numbers, or leave the person out of one part"
        )


def _shared_files(assigned: pd.DataFrame) -> Iterable[str]:
    part = assigned.role.replace({"gallery": "test", "query": "test"})
    copies = assigned[assigned.duplicated("sha256", keep=False)]
    for _, same in copies.groupby("sha256", sort=False):
        if part[same.index].nunique() > 1:
            paths = [
                f"{path} ({role})" for path, role in zip(same.path, part[same.index], strict=True)
            ]
            yield f"the same file is in several parts of the split: {', '.join(paths)}; keep one"


def _roles(assigned: pd.DataFrame, rule: Rule) -> Iterable[str]:
    for query, gallery in (("query", "gallery"), ("val_query", "val_gallery")):
        asks, answers = (assigned[assigned.role == role] for role in (query, gallery))
        for role, images in (("query", asks), ("gallery", answers)):
            if query == "query" and not len(images):
                yield f"no image has the role {role}: check the camera numbers or the roles"
        seen: dict[int, set[int]] = answers.groupby("pid").camid.agg(set).to_dict()
        for image in asks.itertuples(index=False):
            cameras = seen.get(image.pid, set())
            if not (cameras if rule == "all_shot" else cameras - {image.camid}):
                why = (
                    "all its gallery images are from the query's own camera, which do not count"
                    f" by the rule {rule}"
                    if cameras
                    else "the gallery has no image of this person"
                )
                yield (
                    f"{query} {image.path} (pid {image.pid}, camid {image.camid}) has no true"
                    f" match: {why}; add one, or leave the query out"
                )
    if not (assigned.role == "train").any():
        yield "no image has the role train: check the roles"
