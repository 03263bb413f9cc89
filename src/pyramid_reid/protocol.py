"""Identity splits, query and gallery roles, and which images become low resolution."""

from __future__ import annotations

import numpy as np
import pandas as pd

from pyramid_reid.crops import Crop
from pyramid_reid.errors import UserError
from pyramid_reid.runtime import derive_seed


def split_identities(pids: list[int], seed: int, split: int) -> tuple[set[int], set[int]]:
    """Divide identities at random into a training half and a test half.

    Args:
        pids: distinct identities, in any order.
        seed: of all splits; `split`: number of this one.

    Returns:
        Training and test identities, disjoint; training has the odd one.

    Raises:
        UserError: fewer than four identities: a half needs two to be learned or ranked.
    """
    if len(pids) < 4:
        raise UserError(
            f"only {len(pids)} people are seen by both cameras, a split needs at least 4"
        )
    shuffled = np.random.default_rng(derive_seed(seed, "identities", str(split))).permutation(
        sorted(pids)
    )
    half = (len(shuffled) + 1) // 2
    return {int(pid) for pid in shuffled[:half]}, {int(pid) for pid in shuffled[half:]}


def assign(
    raw: pd.DataFrame,
    query_camid: int,
    gallery_camid: int,
    ratios: tuple[int, ...],
    seed: int,
    split: int,
) -> list[tuple[Crop, str]]:
    """Give each image its role and its down-sampling ratio, for one split.

    People who are not seen by both cameras are left out, as the published protocols do. Test
    crops of the query camera are queries, those of the gallery camera are the gallery, with all
    their images (multi-shot). With `ratios`, each image of the query camera is down-sampled by
    one of them, drawn per image, in training as in test (the MLR protocol of SING, Jiao et al.
    2018).

    Args:
        raw: columns path, pid, camid, sha256.
        ratios: empty keeps every image as it is.

    Returns:
        Each crop with the SHA-256 of its file, in the order of `raw`.
    """
    seen = raw.groupby("pid").camid.agg(set)
    both = [int(pid) for pid, cameras in seen.items() if {query_camid, gallery_camid} <= cameras]
    train, _ = split_identities(both, seed, split)
    images = raw[raw.pid.isin(both) & raw.camid.isin({query_camid, gallery_camid})]
    drawn = np.random.default_rng(derive_seed(seed, "ratios", str(split))).choice(
        ratios or (1,), size=len(images)
    )
    crops = []
    for image, ratio in zip(images.itertuples(index=False), drawn, strict=True):
        low = image.camid == query_camid
        role = "train" if image.pid in train else "query" if low else "gallery"
        crop = Crop(image.pid, image.camid, role, int(ratio) if low else 1, image.path)
        crops.append((crop, image.sha256))
    return crops
