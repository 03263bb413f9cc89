"""Identity splits, query and gallery roles, and which images become low resolution."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.runtime import derive_seed
from pyramid_reid.protocol.presets import Protocol

COLUMNS = ["path", "pid", "camid", "role", "ratio", "sha256"]


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
                f"data.splits is above {len(test_sets)}, the number of splits of the set's authors:"
                " lower it"
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
    """Give each image its role and its down-sampling ratio, for one split.

    In a random split, people who are not seen on both sides are left out, as the published
    protocols do, except those who are only distractors in the gallery.

    Args:
        raw: columns path, pid, camid, role (the set's own: train, query, gallery, or empty where
            identities are split at random) and sha256.
        validation: how many training identities are held out as val_query and val_gallery.
        test_sets: as for `split_identities`.

    Returns:
        Columns `COLUMNS`, a row for each crop that takes part, in the order of `raw`.

    Raises:
        UserError: too few identities, or no side of low resolution.
    """
    # a list without training images is a mistake that the checks name
    official = protocol.official and bool(raw.role.isin(["train", "query"]).any())
    if not official and protocol.low_camera is None:
        raise UserError(
            f"{protocol.name} gives images no roles, and no camera asks: set simulate.low_camera"
            " to the number of the camera whose crops are the queries, or to random"
        )
    low = _low_side(raw, protocol, official, seed, split)
    split_at_random = pd.Series(not official, index=raw.index) & (raw.role != "gallery")
    seen_low = set(raw.pid[low & split_at_random])
    seen_high = set(raw.pid[~low & split_at_random])
    if official:
        role = raw.role.mask(raw.role != "train", _official_roles(raw, low, protocol))
    else:
        train, test = split_identities(sorted(seen_low & seen_high), seed, split, test_sets)
        role = pd.Series("", index=raw.index)
        role[raw.pid.isin(train)] = "train"
        role[raw.pid.isin(test)] = np.where(low[raw.pid.isin(test)], "query", "gallery")
        role[raw.role == "gallery"] = "gallery"  # distractors
    held_out = _held_out(raw[role == "train"], low, validation, seed, split)
    asks = low if low.any() else ~raw.duplicated(["pid", "camid"])
    of_held_out = (role == "train") & raw.pid.isin(held_out)
    role[of_held_out] = np.where(asks[of_held_out], "val_query", "val_gallery")
    ratio = np.where(low, _draw_ratios(raw, protocol, seed, split), 1)
    return raw.assign(role=role, ratio=ratio)[COLUMNS][role != ""].reset_index(drop=True)


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
    # for every identity one of the cameras that saw it; those who only distract stay as they are
    asks = set(raw.pid[raw.role != "gallery"]) if official else set(raw.pid[raw.role == ""])
    pairs = (
        raw[raw.pid.isin(asks)][["pid", "camid"]].drop_duplicates().sort_values(["pid", "camid"])
    )
    rng = np.random.default_rng(derive_seed(seed, "low camera", str(split)))
    drawn = pairs.assign(key=rng.random(len(pairs))).sort_values("key").groupby("pid").head(1)
    camera = dict(zip(drawn.pid, drawn.camid, strict=True))
    return raw.camid == raw.pid.map(camera)


def _official_roles(raw: pd.DataFrame, low: pd.Series, protocol: Protocol) -> pd.Series:
    """Roles of the official test images; empty for those that take no part."""
    if protocol.mixed or protocol.low_camera is None:
        return raw.role
    if protocol.low_camera == "random":
        kept = (raw.role == "query") == low
        return raw.role.where(kept, "")
    return pd.Series(np.where(low, "query", "gallery"), index=raw.index)


def _held_out(train: pd.DataFrame, low: pd.Series, count: int, seed: int, split: int) -> set[int]:
    """Training identities for validation: drawn among those that can be found by another camera."""
    if not count:
        return set()
    sides = train.camid if not low.any() else low[train.index]
    several = sides.groupby(train.pid).nunique()
    candidates = sorted(int(pid) for pid in several[several > 1].index)
    most = min(len(candidates), train.pid.nunique() - 2)
    if count > most:
        raise UserError(
            f"reid.validation_identities is {count}, split {split} can spare {most}: lower it"
        )
    rng = np.random.default_rng(derive_seed(seed, "validation", str(split)))
    return {int(pid) for pid in rng.permutation(candidates)[:count]}


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
