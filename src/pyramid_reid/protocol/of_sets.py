"""The benchmarks' protocols as data: one per set, and how params change it.

Publications build the multi-low-resolution (MLR) sets differently, and none published its lists.
Each names its source; what differs between repositories is a param.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pyramid_reid.core.errors import UserError
from pyramid_reid.core.params import VARIANTS, Simulate
from pyramid_reid.core.protocol_record import ProtocolRecord


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
            cameras that saw it, drawn; of a test person of official lists one that has a query and
            leaves a gallery crop of another camera), or None (no side: resolutions differ crop by
            crop).
        ratios: down-sampling factors that are drawn from on the low-resolution side; empty where
            resolutions differ by nature.
        ratio_per: whether a factor is drawn for each image, or one for all images of an identity.
        interpolation: antialiased filter of the down-sampling.
        degradation: `downsample` alone, or what a `camera` does: blur, noise and JPEG, too.
        mixed: official queries and gallery stay as they are, with both resolutions in each;
            otherwise only low-resolution crops ask and only high-resolution crops answer.
        rule: how rankings are judged (`retrieval.metrics.Rule`): `market1501` leaves out the
            query's own camera, `single_shot` ranks one crop per person, drawn several times.
        comparable: which published figures a result may stand beside.
        allow_duplicates: whether one file may stand for several images that differ in role, camera
            or person; they are counted then, and an error otherwise.
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
    comparable: str = "none published"
    allow_duplicates: bool = False


SING = "Jiao et al., SING, AAAI 2018: low-resolution queries, high-resolution gallery, r in {2,3,4}"
TABLE = "Rank-1/5/10 of the cross-resolution tables (SING to PS-HRNet), column {}"
ALL_SHOT = (
    ", where the paper judged all gallery crops (with evaluation.rule=single_shot, where it drew"
    " one crop per person: few papers say); "
)
PLAIN = "with simulate.ratios=[] and simulate.mixed=true the usual Rank-1 and mAP of {}"
ONE_RANDOM_CAMERA = (
    "one random camera of each identity is low and Lanczos, as github.com/ashmentlzw/VPFA builds"
    " MLR-Market-1501 (which draws it in each folder anew); queries and gallery as in SING"
)

PROTOCOLS = {
    # Camera 2 of the drawn set is the far one.
    "synthetic": Protocol(
        "synthetic", "this project's demo, built as SING's MLR sets are", 1, low_camera=2,
        ratios=(2, 3, 4),
    ),
    # 25/25 of the 50 people both cameras saw. The shop-front camera (2) is the low-resolution one.
    "caviar4reid": Protocol(
        "CAVIAR4REID", f"{SING}; natural resolutions, 10 random halves", 10, low_camera=2,
        rule="single_shot", comparable=TABLE.format("CAVIAR"),
    ),
    # 316/316; one image per person and camera, so that the gallery is single-shot by nature.
    "viper": Protocol(
        "MLR-VIPeR", f"{SING}; 10 random halves, one random camera of each person is low", 10,
        low_camera="random", ratios=(2, 3, 4), rule="single_shot",
        comparable=TABLE.format("MLR-VIPeR"),
    ),
    # 100/100 of the 200 people both cameras saw; 549 more of camera B are in the gallery.
    "prid2011": Protocol(
        "MLR-PRID2011", "Hirzer et al., SCIA 2011 (single-shot, queries from A, gallery from B);"
        " r as in SING",
        10, low_camera=1, ratios=(2, 3, 4), rule="single_shot",
        comparable="none of those tables; with simulate.ratios=[] Rank-k of PRID2011 single-shot"
        " with 649 gallery crops",
    ),
    # 125/125; 775 crops of other people are in the gallery. Resolutions are low by nature.
    "grid": Protocol(
        "GRID", "Loy et al., IJCV 2010; 10 random halves, probes are the queries", 10, low_camera=1,
        rule="single_shot",
        comparable="Rank-k of GRID with 900 gallery crops (125 people and 775 distractors), over"
        " random halves of our own",
    ),
    "market1501": Protocol(
        "MLR-Market-1501", f"official identities (Zheng et al., ICCV 2015); {ONE_RANDOM_CAMERA}",
        official=True, low_camera="random", ratios=(2, 3, 4), interpolation="lanczos",
        comparable=TABLE.format("MLR-Market") + ALL_SHOT + PLAIN.format("Market-1501"),
    ),
    "dukemtmc_reid": Protocol(
        "MLR-DukeMTMC-reID", "official identities (Zheng et al., ICCV 2017); else as MLR-Market",
        official=True, low_camera="random", ratios=(2, 3, 4), interpolation="lanczos",
        comparable=TABLE.format("MLR-Duke") + ALL_SHOT + PLAIN.format("DukeMTMC-reID"),
    ),
    # No cross-resolution benchmark of MSMT17 is published.
    "msmt17": Protocol(
        "MLR-MSMT17", "official identities (Wei et al., CVPR 2018); else as MLR-Market",
        official=True, low_camera="random", ratios=(2, 3, 4), interpolation="lanczos",
        comparable="none of those tables; " + PLAIN.format("MSMT17"),
    ),
    # The classic variants: 20 lists of 100 test people, of which the first ten are taken.
    "cuhk03": Protocol(
        "MLR-CUHK03", "the authors' test people (Li et al., CVPR 2014; 1,367/100), one random"
        " camera of each person is low; bilinear and a factor per image, as"
        " github.com/ashmentlzw/VPFA builds it; single-shot gallery, as"
        " github.com/hyk1996/Degradation-Invariant-Re-ID-pytorch judges it",
        10, low_camera="random", ratios=(2, 3, 4), interpolation="bilinear", rule="single_shot",
        comparable=TABLE.format("MLR-CUHK03") + "; with evaluation.rule=market1501 the CUHK03"
        " figures of github.com/amateurbo/PRPR",
    ),
    "mta_reid": Protocol(
        "MTA-ReID", "github.com/amateurbo/PRPR: official lists, sizes vary by nature",
        official=True, mixed=True,
        comparable="Rank-k and mAP of Peng et al. 2024 on MTA-ReID",
    ),
    "manifest": Protocol(
        "manifest", "the roles in the manifest, natural resolutions", official=True, mixed=True,
    ),
    # Unknown cameras are recorded as one for each image: one image of each person is the query.
    "folders": Protocol(
        "folders", "the roles of the folders train, query and gallery, else random halves in which"
        " the queries come from one random camera of each person; natural resolutions",
        official=True, low_camera="random", mixed=True,
    ),
}  # fmt: skip

# The new split of CUHK03 gives each image a role and is judged with all gallery crops.
CUHK03_NEW = Protocol(
    "MLR-CUHK03-NP",
    "the new split's lists (Zhong et al., CVPR 2017; 767/700) and all gallery crops; one random"
    " camera of each person is low, bilinear, queries and gallery as in SING",
    official=True,
    low_camera="random",
    ratios=(2, 3, 4),
    interpolation="bilinear",
    comparable=f"none of those tables; {PLAIN.format('CUHK03-NP')}",
)
VARIANT_PROTOCOLS = {
    ("cuhk03", "detected_new"): CUHK03_NEW,
    ("cuhk03", "labeled_new"): CUHK03_NEW,
}
"""Of the variants whose protocol is another one than that of their set."""


def of_set(name: str, variant: str | None) -> Protocol:
    """The protocol of a set, of which a name says the variant where there are several.

    Args:
        name: `data.name`.
        variant: `data.variant`; None is the set's first.
    """
    variants = VARIANTS.get(name)
    if not variants:
        return PROTOCOLS[name]
    variant = variant or variants[0]
    protocol = VARIANT_PROTOCOLS.get((name, variant), PROTOCOLS[name])
    return replace(protocol, name=f"{protocol.name} ({variant})")


def resolve(name: str, variant: str | None, splits: int | None, simulate: Simulate) -> Protocol:
    """The protocol of a data set with the params that are given put in the place of its own.

    Args:
        name: `data.name`.
        variant: `data.variant`; None is the set's first.
        splits: `data.splits`; None keeps the protocol's, as does None in `simulate`.

    Raises:
        UserError: the params contradict each other.
    """
    given = {key: value for key, value in dict(simulate).items() if value is not None}
    if splits is not None:
        given["splits"] = splits
    protocol = replace(of_set(name, variant), **given)
    if protocol.ratios and protocol.low_camera is None:
        raise UserError(
            f"simulate.ratios is {list(protocol.ratios)}, but {protocol.name} has no side of low"
            " resolution: set simulate.low_camera to a camera's number or to random, or"
            " simulate.ratios to []"
        )
    if protocol.mixed and not protocol.official:
        raise UserError(
            f"simulate.mixed is true, but {protocol.name} has no official queries and gallery that"
            " could keep both resolutions: leave simulate.mixed empty"
        )
    return protocol


def record(protocol: Protocol) -> ProtocolRecord:
    """What later stages know of a protocol."""
    names = ProtocolRecord.model_fields
    return ProtocolRecord(**{name: getattr(protocol, name) for name in names})
