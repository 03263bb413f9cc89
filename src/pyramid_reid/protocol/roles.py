"""Which crops are queries, gallery or training, and which become low resolution.

`decide` starts from the protocol of the set (`of_sets`): it splits identities, takes the queries
from the low-resolution side and the gallery from the other, and draws the down-sampling factors.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.protocol.of_sets import Protocol

COLUMNS = ["path", "pid", "camid", "role", "ratio", "sha256"]

ONE_SIDE = "seen_by_one_side"
QUERY_HIGH = "query_from_hr_camera"
QUERY_UNMATCHED = "query_without_match"
GALLERY_LOW = "gallery_from_lr_camera"
LEFT_OUT = {
    ONE_SIDE: "people whom only the LR or only the HR side saw",
    QUERY_HIGH: "official queries from cameras that are their person's HR side",
    QUERY_UNMATCHED: "official queries of people without a gallery crop from another camera",
    GALLERY_LOW: "gallery crops, distractors too, from the LR camera",
}
"""Why a protocol leaves crops out, with what to say of it."""


def split_identities(
    pids: Sequence[int], seed: int, split: int, test_sets: Sequence[set[int]] = ()
) -> tuple[set[int], set[int]]:
    """Divide identities into training and test identities.

    Args:
        pids: distinct identities, in any order.
        seed: of all splits; `split`: number of this one.
        test_sets: the test identities of each split, where the set's authors give them; without,
            a random half of the identities (with the odd one) trains.

    Returns:
        Training and test identities, disjoint.

    Raises:
        UserError: fewer than two identities would be left on a side, which could not be learned
            or ranked; or the authors give fewer splits.
    """
    if test_sets:
        if split >= len(test_sets):
            raise UserError(
                f"split {split} (data.first_split and data.splits) is not among the"
                f" {len(test_sets)} splits of the set's authors, which are numbered from 0: lower"
                " them"
            )
        test = set(pids) & test_sets[split]
    else:
        rng = np.random.default_rng(derive_seed(seed, "identities", str(split)))
        test = {int(pid) for pid in rng.permutation(sorted(pids))[(len(pids) + 1) // 2 :]}
    train = set(pids) - test
    if len(train) < 2 or len(test) < 2:
        raise UserError(
            f"only {len(pids)} people are seen by both sides (low and high resolution), a split"
            " needs at least 2 for training and 2 for test: add images, or correct the camera"
            " numbers"
        )
    return train, test


def assign(
    raw: pd.DataFrame,
    protocol: Protocol,
    seed: int,
    split: int,
    validation: int = 0,
    test_sets: Sequence[set[int]] = (),
) -> pd.DataFrame:
    """The crops that take part in one split: those of `decide` that have a role.

    Returns:
        Columns `COLUMNS`, a row for each crop that takes part, in the order of `raw`.

    Raises:
        UserError: as `decide`.
    """
    return taking_part(decide(raw, protocol, seed, split, validation, test_sets))


def taking_part(decided: pd.DataFrame) -> pd.DataFrame:
    """The rows of `decide` that have a role, columns `COLUMNS`."""
    return decided[COLUMNS][decided.role != ""].reset_index(drop=True)


def left_out(decided: pd.DataFrame) -> dict[str, int]:
    """How many crops and people `decide` leaves out, as `left_out_REASON_(images|identities)`.

    A person counts where one crop or more is left out. All of `LEFT_OUT` are there, also at 0, so
    that two splits or experiments can be compared.
    """
    counts = {}
    for reason in LEFT_OUT:
        rows = decided[decided.left_out == reason]
        counts[f"left_out_{reason}_images"] = len(rows)
        counts[f"left_out_{reason}_identities"] = int(rows.pid.nunique())
    return counts


def told(counts: Mapping[str, float]) -> str:
    """What `left_out` counted, in words."""
    lost = [
        f"{counts[f'left_out_{reason}_images']:.0f} crops of"
        f" {counts[f'left_out_{reason}_identities']:.0f} people ({said})"
        for reason, said in LEFT_OUT.items()
        if counts[f"left_out_{reason}_images"]
    ]
    return ", ".join(lost) or "nothing"


def decide(
    raw: pd.DataFrame,
    protocol: Protocol,
    seed: int,
    split: int,
    validation: int = 0,
    test_sets: Sequence[set[int]] = (),
) -> pd.DataFrame:
    """Give each image its role and its down-sampling ratio for one split, or why it has none.

    In a random split, people who are not seen on both sides are left out, as the published
    protocols do, except those who are only distractors in the gallery.

    Args:
        raw: columns path, pid, camid, role (the set's own: train, query, gallery, or empty where
            identities are split at random) and sha256.
        validation: how many training identities are held out as val_query and val_gallery.
        test_sets: as for `split_identities`.

    Returns:
        Columns `COLUMNS` and `left_out`, a row for each of `raw`: either `role` is empty, or
        `left_out`, which otherwise is a key of `LEFT_OUT`.

    Raises:
        UserError: too few identities, or no side of low resolution.
    """
    # a list without training images is a mistake that the checks name
    official = protocol.official and bool(raw.role.isin(["train", "query"]).any())
    if not official and protocol.low_camera is None:
        raise UserError(
            f"{protocol.name} gives images no roles: set simulate.low_camera to the camera that the"
            " queries come from, or to random"
        )
    low = _low_side(raw, protocol, official, seed, split)
    if official:
        role, why = _official_roles(raw, low, protocol)
    else:
        role, why = _random_roles(raw, low, seed, split, test_sets)
    train = raw[role == "train"]
    # held-out people are asked for as test people are
    anywhere = not low.any() or (official and protocol.mixed)
    sides = None if anywhere else low[train.index]
    held_out = _held_out(train, sides, validation, seed, split)
    of_held_out = train[train.pid.isin(held_out)]
    is_query = (
        _first_of_each_camera(of_held_out, seed, split)
        if sides is None
        else sides[of_held_out.index]
    )
    role[of_held_out.index] = np.where(is_query, "val_query", "val_gallery")
    ratio = np.where(low, _draw_ratios(raw, protocol, seed, split), 1)
    return raw.assign(role=role, ratio=ratio, left_out=why)[[*COLUMNS, "left_out"]]


def _low_side(
    raw: pd.DataFrame, protocol: Protocol, official: bool, seed: int, split: int
) -> pd.Series:
    """Whether each image is on the side of low resolution."""
    if protocol.low_camera is None:
        return pd.Series(False, index=raw.index)
    if protocol.low_camera != "random":
        if protocol.low_camera not in set(raw.camid):
            raise UserError(
                f"simulate.low_camera is {protocol.low_camera}, the set has cameras"
                f" {sorted({int(camid) for camid in raw.camid})}: give one of them, or random"
            )
        return raw.camid == protocol.low_camera
    # for every identity one of its cameras; those who only distract stay as they are
    if not official:
        candidates = raw[raw.role == ""]
    elif protocol.mixed:
        candidates = raw[raw.pid.isin(raw.pid[raw.role != "gallery"])]
    else:
        candidates = raw[(raw.role == "train") | _can_ask(raw)]
    rng = np.random.default_rng(derive_seed(seed, "low camera", str(split)))
    camera = _draw_camera(candidates, rng)
    return raw.camid == raw.pid.map(camera)


def _draw_camera(images: pd.DataFrame, rng: np.random.Generator) -> dict[int, int]:
    """For each person one of the cameras of these images."""
    pairs = images[["pid", "camid"]].drop_duplicates().sort_values(["pid", "camid"])
    drawn = pairs.assign(key=rng.random(len(pairs))).sort_values("key").groupby("pid").head(1)
    return dict(zip(drawn.pid, drawn.camid, strict=True))


def _can_ask(raw: pd.DataFrame) -> pd.Series:
    """Official queries whose person has a gallery crop from another camera."""
    gallery = raw[raw.role == "gallery"]
    cameras = gallery.groupby("pid").camid.agg(["min", "max"]).reindex(raw.pid)
    # with two cameras at least one is another one; no comparison with a missing one is true
    several = (cameras["min"] < cameras["max"]).to_numpy()
    other = several | (cameras["min"].notna() & (cameras["min"] != raw.camid.to_numpy())).to_numpy()
    return (raw.role == "query") & other


def _random_roles(
    raw: pd.DataFrame, low: pd.Series, seed: int, split: int, test_sets: Sequence[set[int]]
) -> tuple[pd.Series, pd.Series]:
    """Roles of a random split, and why an image has none."""
    distracts = raw.role == "gallery"
    both = sorted(set(raw.pid[low & ~distracts]) & set(raw.pid[~low & ~distracts]))
    train, test = split_identities(both, seed, split, test_sets)
    role, why = pd.Series("", index=raw.index), pd.Series("", index=raw.index)
    role[raw.pid.isin(train)] = "train"
    tests = raw.pid.isin(test)
    role[tests] = np.where(low[tests], "query", "gallery")
    role[distracts] = np.where(low[distracts], "", "gallery")
    why[role == ""] = np.where(distracts[role == ""], GALLERY_LOW, ONE_SIDE)
    return role, why


def _official_roles(
    raw: pd.DataFrame, low: pd.Series, protocol: Protocol
) -> tuple[pd.Series, pd.Series]:
    """Roles by official lists, and why an image has none."""
    role, why = raw.role.copy(), pd.Series("", index=raw.index)
    if protocol.mixed or protocol.low_camera is None:
        return role, why
    query, gallery = role == "query", role == "gallery"
    if protocol.low_camera == "random":
        can_ask = _can_ask(raw)
        why[query & ~can_ask] = QUERY_UNMATCHED
        why[query & can_ask & ~low] = QUERY_HIGH
    else:
        # whatever the LR camera saw of people who are asked for; nobody is asked for distractors
        asked = (query | gallery) & raw.pid.isin(raw.pid[query])
        role[asked] = np.where(low[asked], "query", "gallery")
        answered = raw.pid.isin(raw.pid[asked & ~low])
        why[asked & low & ~answered] = QUERY_UNMATCHED
        gallery = role == "gallery"
    why[gallery & low] = GALLERY_LOW
    return role.mask(why != "", ""), why


def _held_out(
    train: pd.DataFrame, low: pd.Series | None, count: int, seed: int, split: int
) -> set[int]:
    """Training identities for validation: drawn among those seen by another camera, too.

    Args:
        low: whether each crop is on the LR side, which the queries come from; None if they may
            come from every camera.
    """
    if not count:
        return set()
    several = (train.camid if low is None else low).groupby(train.pid).nunique() > 1
    if low is None and not several.any():
        several = train.groupby("pid").size() > 1  # one camera: only all_shot can judge the set
    candidates = sorted(int(pid) for pid in several[several].index)
    people = train.pid.nunique()
    most = max(0, min(len(candidates), people - 2))
    if count > most:
        where = "by two cameras" if low is None else "on the LR and on the HR side"
        raise UserError(
            f"reid.validation_identities is {count}, split {split} can spare {most}: of {people}"
            f" training people {len(candidates)} are seen {where}, and two must remain; lower it"
        )
    rng = np.random.default_rng(derive_seed(seed, "validation", str(split)))
    return {int(pid) for pid in rng.permutation(candidates)[:count]}


def _first_of_each_camera(images: pd.DataFrame, seed: int, split: int) -> pd.Series:
    """Which crops of held-out people are queries if every camera may have some: its first one.

    Each query needs a gallery crop from another camera. If two cameras have several crops of the
    person, there always is one. Otherwise the camera with several crops, or a random one if each
    has a single crop, has gallery crops only.
    """
    first = ~images.duplicated(["pid", "camid"])
    of_camera = images.groupby(["pid", "camid"]).path.transform("size")
    several = (first & (of_camera > 1)).groupby(images.pid).transform("sum")
    cameras = first.groupby(images.pid).transform("sum")
    rng = np.random.default_rng(derive_seed(seed, "validation gallery", str(split)))
    drawn = images.camid == images.pid.map(_draw_camera(images, rng))
    gallery_only = ((several == 0) & drawn) | ((several == 1) & (of_camera > 1))
    return first & ~(gallery_only & (cameras > 1))


def _draw_ratios(raw: pd.DataFrame, protocol: Protocol, seed: int, split: int) -> NDArray[np.int64]:
    """A ratio for each image, of which those on the low side use theirs."""
    rng = np.random.default_rng(derive_seed(seed, "ratios", str(split)))
    choices = np.array(protocol.ratios or (1,))
    if protocol.ratio_per == "image":
        return np.asarray(rng.choice(choices, size=len(raw)), np.int64)
    pids, place = np.unique(raw.pid, return_inverse=True)
    return np.asarray(rng.choice(choices, size=len(pids))[place], np.int64)


def digest(assigned: pd.DataFrame) -> str:
    """SHA-256 of a split: who evaluates on the same images in the same roles gets the same.

    Of the lines `role,ratio,pid,camid,path`, sorted by path, as CSV in UTF-8.
    """
    lines = assigned[["role", "ratio", "pid", "camid", "path"]].sort_values("path", kind="stable")
    text = lines.to_csv(index=False, lineterminator="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_all(digests: Sequence[str]) -> str:
    """One SHA-256 for all splits, of their digests in order."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()
