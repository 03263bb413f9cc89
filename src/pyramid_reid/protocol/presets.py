"""The benchmarks' protocols as data: one named preset per set, and how params change it.

No two publications build the multi-low-resolution (MLR) sets alike, and none published its lists.
Each preset says whom it follows; whatever differs between repositories is a param of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import Simulate


@dataclass(frozen=True, slots=True)
class Protocol:
    """How a set becomes training crops, queries and a gallery.

    Attributes:
        name: of the benchmark.
        follows: the publication or repository whose description it follows.
        splits: number of identity splits (trials).
        official: the set's own training, query and gallery lists are used where it has them;
            otherwise identities that both sides saw are split, by the authors' lists of test
            people where there are some, else into random halves.
        low_camera: the side of low resolution: a camid, `random` (for every identity one of the
            cameras that saw it, drawn), or None (no side: resolutions differ crop by crop).
        ratios: down-sampling factors that are drawn from on the low-resolution side; empty where
            resolutions differ by nature.
        ratio_per: whether a factor is drawn for each image, or one for all images of an identity.
        interpolation: antialiased filter of the down-sampling.
        degradation: `downsample` alone, or what a `camera` does: blur, noise and JPEG, too.
        mixed: official queries and gallery stay as they are, with both resolutions in each;
            otherwise only low-resolution crops ask and only high-resolution crops answer.
        rule: how rankings are judged (`retrieval.metrics.Rule`): `market1501` leaves out the
            query's own camera, `single_shot` ranks one crop per person, drawn several times.
    """

    name: str
    follows: str
    splits: int = 1
    official: bool = False
    low_camera: int | Literal["random"] | None = None
    ratios: tuple[int, ...] = ()
    ratio_per: Literal["image", "identity"] = "image"
    interpolation: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"
    degradation: Literal["downsample", "camera"] = "downsample"
    mixed: bool = False
    rule: Literal["market1501", "all_shot", "single_shot"] = "market1501"


SING = "Jiao et al., SING, AAAI 2018: low-resolution queries, high-resolution gallery, r in {2,3,4}"

PROTOCOLS = {
    # Camera 2 of the drawn set is the far one.
    "synthetic": Protocol(
        "synthetic", "this project's demo, built as SING's MLR sets are", 1, low_camera=2,
        ratios=(2, 3, 4),
    ),
    # 25/25 of the 50 people both cameras saw. The shop-front camera (2) is the low-resolution one.
    "caviar4reid": Protocol(
        "CAVIAR4REID", f"{SING}; natural resolutions, 10 random halves", 10, low_camera=2,
        rule="single_shot",
    ),
    # 316/316; one image per person and camera, so that the gallery is single-shot by nature.
    "viper": Protocol(
        "MLR-VIPeR", f"{SING}; 10 random halves, one random camera of each person is low", 10,
        low_camera="random", ratios=(2, 3, 4), rule="single_shot",
    ),
    # 100/100 of the 200 people both cameras saw; 549 more of camera B are in the gallery.
    "prid2011": Protocol(
        "MLR-PRID2011", "Hirzer et al., SCIA 2011 (single-shot, A asks, B answers); r as in SING",
        10, low_camera=1, ratios=(2, 3, 4), rule="single_shot",
    ),
    # 125/125; 775 crops of other people are in the gallery. Resolutions are low by nature.
    "grid": Protocol(
        "GRID", "Loy et al., IJCV 2010; 10 random halves, probes ask", 10, low_camera=1,
        rule="single_shot",
    ),
    "market1501": Protocol(
        "MLR-Market-1501",
        "official identities (Zheng et al., ICCV 2015); one random camera of each identity is low"
        " and Lanczos, as github.com/ashmentlzw/VPFA builds it; queries and gallery as in SING",
        official=True, low_camera="random", ratios=(2, 3, 4), interpolation="lanczos",
    ),
    "dukemtmc_reid": Protocol(
        "MLR-DukeMTMC-reID", "official identities (Zheng et al., ICCV 2017); else as MLR-Market",
        official=True, low_camera="random", ratios=(2, 3, 4), interpolation="lanczos",
    ),
    # No cross-resolution benchmark of MSMT17 is published.
    "msmt17": Protocol(
        "MLR-MSMT17", "official identities (Wei et al., CVPR 2018); else as MLR-Market",
        official=True, low_camera="random", ratios=(2, 3, 4), interpolation="lanczos",
    ),
    # The classic variants have 20 lists of 100 test people, of which the first ten are taken; the
    # new ones have lists of training, query and gallery images (Zhong et al., CVPR 2017).
    "cuhk03": Protocol(
        "MLR-CUHK03", "github.com/hyk1996/Degradation-Invariant-Re-D: bilinear, factor per image,"
        " one random camera of each person is low, single-shot gallery",
        10, official=True, low_camera="random", ratios=(2, 3, 4),
        interpolation="bilinear", rule="single_shot",
    ),
    "mta_reid": Protocol(
        "MTA-ReID", "github.com/amateurbo/PRPR: official lists, sizes vary by nature",
        official=True, mixed=True,
    ),
    "manifest": Protocol(
        "manifest", "the roles in the manifest, natural resolutions", official=True, mixed=True,
    ),
}  # fmt: skip


def resolve(name: str, splits: int | None, simulate: Simulate) -> Protocol:
    """The preset of a data set with the params that are given put in the place of its own.

    Args:
        name: `data.name`.
        splits: `data.splits`; None keeps the preset's, as does None in `simulate`.

    Raises:
        UserError: the params contradict each other.
    """
    given = {key: value for key, value in dict(simulate).items() if value is not None}
    if splits is not None:
        given["splits"] = splits
    protocol = replace(PROTOCOLS[name], **given)
    if protocol.ratios and protocol.low_camera is None:
        raise UserError(
            f"simulate.ratios is {list(protocol.ratios)}, but {protocol.name} has no side of low"
            " resolution: set simulate.low_camera to a camera's number or to random, or"
            " simulate.ratios to []"
        )
    return protocol
