"""Which experiments are run on real crops, and which rows of the tables come from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.results.comparison import Row
from benchmarks.results.records import CENTRED, CHOSEN_WEIGHTS, FIXED_WEIGHTS, WHITENED

from pyramid_reid import presets
from pyramid_reid.core.errors import UserError

Params = Mapping[str, object]

FOLDERS = {"caviar4reid": "CAVIAR4REID", "prid2011": "prid_2011/single_shot"}
"""Where a set lies below $PYRAMID_REID_DATA."""


@dataclass(frozen=True, slots=True)
class Experiment:
    """What an experiment changes, and how much of the pipeline it runs.

    Attributes:
        params: beside those that its block and its set share.
        alone: only branch ori is run.
        sets: that it is run on.
        splits: as many of the first ones.
        restorer: that it takes where it trains none: of `pool`, or what `feature_loss` made of it.
        seed: of the four trainings alone: people, splits and restorer stay those of seed 1.
        trained: how its networks are trained where no stage does it: a function of `rivals`.
        aligned: how `rivals.align` moves features between the resolutions, where it does.
    """

    params: Params
    alone: bool = False
    sets: tuple[str, ...] = tuple(FOLDERS)
    splits: int = 10
    restorer: Literal["pooled", "features"] = "pooled"
    seed: int = 1
    trained: Literal["", "joint", "invariant"] = ""
    aligned: Literal["", "residual", "coupled"] = ""


@dataclass(frozen=True, slots=True)
class Block:
    """Experiments whose networks start alike: their figures may stand in one table.

    Attributes:
        shared: params of all of them.
        sets: further params of each set.
    """

    shared: Params
    sets: Mapping[str, Params]
    experiments: Mapping[str, Experiment] = field(default_factory=dict)


IDENTITY: Params = {"restoration.extractor": "identity"}
POOLED: Params = {"restoration.extractor": "han_light", "restoration.iterations": 0}
"""HAN restores with the weights that `--restorer` names."""
OWN: Params = {"restoration.iterations": 800}
"""A restorer of each split, trained on the split's own people."""

ZERO_SHOT: Params = {"reid.epochs": 0}
"""The network as its start left it."""

LESS_MEAN: Params = {"distances.centred": "true"}
"""Also judged by features less the mean of their camera."""
WHITE: Params = LESS_MEAN | {"distances.whitened": "true"}
"""And by those, whitened within people."""

SCRATCH = Block(
    {
        "threads": 1,
        "reid.batch_size": 32,
        "reid.epochs": 30,
        "restoration.iterations": 300,
        "restoration.han_light": "{groups:2,blocks:3,dim:32}",
    },
    {
        "caviar4reid": {"reid.validation_identities": 5},
        "prid2011": {"reid.validation_identities": 20, "reid.epochs": 60},
    },
    {
        "seeds": Experiment(IDENTITY, splits=2),
        "mixed": Experiment(IDENTITY | {"reid.mixed_resolution": 0.5}, alone=True, splits=2),
        "bicubic": Experiment({"restoration.extractor": "bicubic"}, splits=2),
        "swinir": Experiment({"restoration.extractor": "swinir_light"}, splits=2),
        "han": Experiment({"restoration.extractor": "han_light"}, splits=2),
    },
)
"""Random initial weights, 128×64, a budget for one CPU core."""

PLAIN: Params = {
    "reid.batch_size": 32,
    "reid.instances": 0,
    "reid.ema": 0.0,
    "reid.start_weight": 0.0,
    "distances.mirrored": "false",
}
"""The paper's recipe: softmax loss on crops in random order, the last weights."""

START: Params = {
    "threads": 1,
    "reid.pretrained": "msmt17",
    "reid.height": 256,
    "reid.width": 128,
    "reid.batch_size": 32,
    "reid.epochs": 30,
    "reid.fixed_epochs": 5,
    "reid.lr": 1.0e-3,
}
"""Fine-tuning without any addition to the paper's recipe: what `recipes` starts from."""

MSMT17 = Block(
    {**START, "reid.ema": 0.98, "distances.mirrored": "true", "sweep.step": 0.1},
    {
        "caviar4reid": {"reid.batch_size": 64, "reid.instances": 4, "reid.start_weight": 0.4},
        "prid2011": {},
    },
    {
        "seeds": Experiment(IDENTITY),
        "han": Experiment(POOLED),
        "bicubic": Experiment({"restoration.extractor": "bicubic"}),
        "zero_shot": Experiment(POOLED | ZERO_SHOT),
        "plain": Experiment(POOLED | PLAIN),
        "ceiling": Experiment(IDENTITY | {"simulate.ratios": "[]"}, alone=True, sets=("prid2011",)),
    },
)
"""OSNet-x0.25 from MSMT17, 256×128; recipe and its strengths chosen by `recipes`."""

HYPOTHESES = Block(
    MSMT17.shared,
    MSMT17.sets,
    {
        "seeds": Experiment(IDENTITY),
        "han": Experiment(POOLED, splits=3),
        "features": Experiment(POOLED, splits=3, restorer="features"),
        "joint": Experiment(POOLED, splits=3, trained="joint"),
        "own_sizes": Experiment(
            POOLED
            | {
                "reid.height": "{ori:128,h1:192,h2:256,h3:320}",
                "reid.width": "{ori:64,h1:96,h2:128,h3:160}",
            },
            splits=3,
        ),
        "han_own": Experiment(
            {
                "restoration.extractor": "han_light",
                "restoration.han_light": "{groups:2,blocks:3,dim:32}",
            }
            | OWN,
            splits=3,
        ),
        "swinir_own": Experiment({"restoration.extractor": "swinir_light"} | OWN, splits=3),
        "seeds_2": Experiment(IDENTITY, splits=3, seed=2),
        "han_2": Experiment(POOLED, splits=3, seed=2),
        "seeds_3": Experiment(IDENTITY, splits=3, seed=3),
        "han_3": Experiment(POOLED, splits=3, seed=3),
    },
)
"""What may make a pyramid gain more, at a size that two CPU cores can train: the pooled HAN is
smaller than that of `MSMT17`."""

RIVALS = Block(
    MSMT17.shared,
    MSMT17.sets,
    {
        "seeds": Experiment(IDENTITY, alone=True),
        "aligned": Experiment(IDENTITY, alone=True, aligned="residual"),
        "coupled": Experiment(IDENTITY, alone=True, aligned="coupled"),
        "mixed": Experiment(IDENTITY | {"reid.mixed_resolution": 0.5}, alone=True),
        "invariant": Experiment(IDENTITY, alone=True, trained="invariant"),
    },
)
"""One network each that is to bridge the resolutions without any restoration."""

POOLED_START = "pooled"
"""As `reid.pretrained`: the network that `--start` names, from MSMT17 and trained further on the
pooled crops."""

STARTS = Block(
    MSMT17.shared,
    MSMT17.sets,
    {
        "seeds": Experiment(IDENTITY, alone=True),
        "zero_shot": Experiment(IDENTITY | ZERO_SHOT, alone=True),
        "market1501": Experiment(IDENTITY | {"reid.pretrained": "market1501"}, alone=True),
        "zero_shot_market1501": Experiment(
            IDENTITY | ZERO_SHOT | {"reid.pretrained": "market1501"}, alone=True
        ),
        "pooled": Experiment(IDENTITY | {"reid.pretrained": POOLED_START}, alone=True),
        "zero_shot_pooled": Experiment(
            IDENTITY | ZERO_SHOT | {"reid.pretrained": POOLED_START}, alone=True
        ),
        "zero_shot_centred": Experiment(IDENTITY | ZERO_SHOT | LESS_MEAN, alone=True),
        "zero_shot_pooled_centred": Experiment(
            IDENTITY | ZERO_SHOT | LESS_MEAN | {"reid.pretrained": POOLED_START}, alone=True
        ),
        "zero_shot_whitened": Experiment(IDENTITY | ZERO_SHOT | WHITE, alone=True),
        "zero_shot_pooled_whitened": Experiment(
            IDENTITY | ZERO_SHOT | WHITE | {"reid.pretrained": POOLED_START}, alone=True
        ),
    },
)
"""One network each, from another start: fine-tuned by the recipe of `MSMT17`, or as it is."""

FROM_POOL = Block(
    MSMT17.shared,
    {data: {**params, "reid.pretrained": POOLED_START} for data, params in MSMT17.sets.items()},
    {
        "seeds": Experiment(IDENTITY),
        "centred": Experiment(IDENTITY | LESS_MEAN),
        "whitened": Experiment(IDENTITY | WHITE),
        "two_starts": Experiment(
            IDENTITY
            | WHITE
            | {"reid.pretrained": f"{{ori:{POOLED_START},h1:{POOLED_START},h2:msmt17,h3:msmt17}}"},
            sets=("caviar4reid",),
        ),
        "two_starts_2": Experiment(
            IDENTITY
            | WHITE
            | {"reid.pretrained": f"{{ori:msmt17,h1:msmt17,h2:{POOLED_START},h3:{POOLED_START}}}"},
            sets=("caviar4reid",),
        ),
    },
)
"""Four networks from the start that pooled crops made, by the recipe of `MSMT17`."""

BLOCKS = {
    "scratch": SCRATCH,
    "msmt17": MSMT17,
    "hypotheses": HYPOTHESES,
    "rivals": RIVALS,
    "starts": STARTS,
    "pooled": FROM_POOL,
}

GROUPS = (
    ("seeds", "centred", "whitened", "aligned", "coupled", "bicubic", "han_own"),
    ("han", "zero_shot", "plain", "ceiling", "mixed", "swinir_own"),
)
"""Experiments that share a workspace, and so what they have in common; each other has its own."""

QUICK: Params = {
    "reid.height": 32,
    "reid.width": 16,
    "reid.epochs": 2,
    "reid.fixed_epochs": 0,
    "reid.warmup_epochs": 1,
    "restoration.iterations": 2,
    "sweep.step": 0.25,
}
"""Put in their place to try the programs; the figures mean nothing."""

BUDGETS = ("reid.batch_size", "reid.epochs", "restoration.iterations")
"""What another size changes of an experiment, too, unless it is 0: then it trains nothing there."""

Size = Literal["given", "quick", "paper"]


def settings(block: str, data: str, experiment: str, size: Size) -> dict[str, object]:
    """Params of an experiment that differ from the committed ones, but for folder and splits.

    Args:
        size: `quick` puts `QUICK` in the place of all of them; `paper` the preset of this name in
            the place of what all experiments share, where the extractors are the large ones. What
            an experiment changes makes it what it is, so it stays, but for its budget.
    """
    of = BLOCKS[block]
    changes = dict(of.experiments[experiment].params)
    given = {"data.name": data, **of.shared, **of.sets[data]}
    if size == "paper":
        given |= paper(starts="reid.pretrained" in given)
        changes = {
            name: value for name, value in changes.items() if name not in BUDGETS or value == 0
        }
    given |= changes
    if size == "quick":
        kept = {name for name in BUDGETS if given.get(name) == 0}
        given |= {name: value for name, value in QUICK.items() if name not in kept}
    if size == "paper":
        given["restoration.extractor"] = str(given["restoration.extractor"]).removesuffix("_light")
    return given


def check(block: str, data: str, experiment: str, about: Mapping[str, Any]) -> None:
    """Check that an experiment was recorded with the params that it has now.

    Device and threads may be others: they are the luck of a training, not what it is.

    Args:
        about: of the record.

    Raises:
        UserError: it was not.
    """
    planned = settings(block, data, experiment, about.get("size", "given"))
    recorded = about["params"]
    for name in sorted(set(planned) - {"device", "threads"}):
        if recorded.get(name) != planned[name]:
            raise UserError(
                f"{experiment} of {data} was recorded with {name} {recorded.get(name)}, and has"
                f" {planned[name]} now: remove its records, and run it again"
            )


def paper(*, starts: bool) -> dict[str, object]:
    """The preset of the paper's size on a GPU, without its extractor: experiments have their own.

    Args:
        starts: whether training starts from published weights.
    """
    preset = presets.read("paper")
    given = preset.params | (preset.start if starts else {})
    return {name: value for name, value in given.items() if name != "restoration.extractor"}


def _rows(*told: tuple[str, str, str]) -> list[Row]:
    return [Row(*each) for each in told]


def _alone(name: str, experiment: str) -> list[Row]:
    return [Row(f"{name} ×{n + 1} alone", experiment, f"h{n}") for n in (1, 2, 3)]


ORI = Row("ori alone", "seeds", "ori")
AS_IT_IS = Row("ori alone, zero-shot", "zero_shot", "ori")
FROM_CROPS = Row("ori alone, zero-shot, from pooled crops", "zero_shot_pooled", "ori")
CONTROL = Row("four seeds of ori", "seeds", "equal")
FUSED_CENTRED = Row("four seeds of ori, centred", "centred", CENTRED)
FROM_CROPS_CENTRED = Row(f"{FROM_CROPS.name}, centred", "zero_shot_pooled_centred", CENTRED)
FUSED_WHITENED = Row("four seeds of ori, whitened", "whitened", WHITENED)
TWO_STARTS = Row("two seeds from each start", "two_starts", "equal")
TWO_STARTS_WHITENED = Row("two seeds from each start, whitened", "two_starts", WHITENED)
OTHER_TWO = Row("two other seeds from each start", "two_starts_2", "equal")
"""Shares no network with `TWO_STARTS`: each branch has the other start."""
OTHER_TWO_WHITENED = Row("two other seeds from each start, whitened", "two_starts_2", WHITENED)
FROM_CROPS_WHITENED = Row(f"{FROM_CROPS.name}, whitened", "zero_shot_pooled_whitened", WHITENED)
ZERO_SHOT_WHITENED = Row("ori alone, zero-shot, whitened", "zero_shot_whitened", WHITENED)
ZERO_SHOT_CENTRED = Row("ori alone, zero-shot, centred", "zero_shot_centred", CENTRED)
SEEDS = [Row(f"ori alone, seed {n}", "seeds", f"h{n - 1}") for n in (2, 3, 4)]
"""The same network as `ORI` by other luck: what a difference between two rows may be due to."""

PYRAMIDS = {
    "scratch": {"bicubic": "bicubic pyramid", "swinir": "SwinIR pyramid", "han": "HAN pyramid"},
    "rivals": {},
    "starts": {},
    "pooled": {},
    "msmt17": {
        "bicubic": "bicubic pyramid",
        "han": "HAN pyramid",
        "zero_shot": "HAN pyramid, zero-shot",
        "plain": "HAN pyramid, paper's recipe",
    },
    "hypotheses": {
        "han": "HAN pyramid",
        "features": "HAN pyramid, loss on features",
        "joint": "HAN pyramid, one network",
        "own_sizes": "HAN pyramid, own input sizes",
        "han_own": "HAN pyramid, restorer of the split",
        "swinir_own": "SwinIR pyramid, restorer of the split",
    },
}
"""What the fusion of all branches of an experiment is called, by block."""

ROWS = {
    "scratch": [
        ORI,
        *SEEDS,
        Row("ori, mixed resolutions", "mixed", "ori"),
        *_alone("bicubic", "bicubic"),
        *_alone("SwinIR", "swinir"),
        *_alone("HAN", "han"),
        CONTROL,
        *(Row(name, each, "equal") for each, name in PYRAMIDS["scratch"].items()),
    ],
    "msmt17": [
        AS_IT_IS,
        Row("ori alone, paper's recipe", "plain", "ori"),
        ORI,
        *SEEDS,
        *_alone("bicubic", "bicubic"),
        *_alone("HAN", "han"),
        CONTROL,
        *(Row(name, each, "equal") for each, name in PYRAMIDS["msmt17"].items()),
    ],
    "hypotheses": [
        ORI,
        *_alone("HAN", "han"),
        CONTROL,
        *(Row(name, each, "equal") for each, name in PYRAMIDS["hypotheses"].items()),
    ],
    "rivals": [
        ORI,
        Row("ori, mixed resolutions", "mixed", "ori"),
        Row("ori, queries' features aligned (after VPFA)", "aligned", "ori"),
        Row("ori, semi-coupled dictionaries (after SLD²L)", "coupled", "ori"),
        Row("ori, invariant features (after RAIN)", "invariant", "ori"),
    ],
    "pooled": [
        ORI,
        *SEEDS,
        CONTROL,
        FUSED_CENTRED,
        FUSED_WHITENED,
        TWO_STARTS,
        TWO_STARTS_WHITENED,
        OTHER_TWO,
        OTHER_TWO_WHITENED,
    ],
    "starts": [
        AS_IT_IS,
        Row("ori alone, zero-shot, from Market-1501", "zero_shot_market1501", "ori"),
        FROM_CROPS,
        ZERO_SHOT_CENTRED,
        FROM_CROPS_CENTRED,
        ZERO_SHOT_WHITENED,
        FROM_CROPS_WHITENED,
        ORI,
        Row("ori alone, from Market-1501", "market1501", "ori"),
        Row("ori alone, from pooled crops", "pooled", "ori"),
    ],
}
"""Rows of the first two tables of a block."""

CEILING = Row("ori alone, queries not down-sampled", "ceiling", "ori")
"""Another task: the same people, whose queries are as the camera gave them."""

COMPARED = {"starts": AS_IT_IS}
"""By block: the row that each of its tables has, where it is not the control."""


@dataclass(frozen=True, slots=True)
class Repeated:
    """A comparison that was trained several times.

    Attributes:
        called: what one time is: a seed, or a set of networks.
        gains: the name of what is compared with the control.
        pairs: each time, the control and the other row.
    """

    called: str
    gains: str
    pairs: tuple[tuple[Row, Row], ...]


REPEATED = {
    "hypotheses": Repeated(
        "seed",
        "the pyramid",
        (
            (CONTROL, Row("HAN pyramid", "han", "equal")),
            (Row(CONTROL.name, "seeds_2", "equal"), Row("HAN pyramid", "han_2", "equal")),
            (Row(CONTROL.name, "seeds_3", "equal"), Row("HAN pyramid", "han_3", "equal")),
        ),
    ),
    "pooled": Repeated(
        "set",
        "the second start",
        ((FUSED_WHITENED, TWO_STARTS_WHITENED), (FUSED_WHITENED, OTHER_TWO_WHITENED)),
    ),
}
"""By block. Of `pooled` the control is one set, of whose networks each other set has two."""

BESIDE = {"caviar4reid": "msmt17", "prid2011": "hypotheses"}
"""By set: the block from MSMT17 that `pooled` is compared with, of the more similar hardware."""

SINGLE = [ORI, *SEEDS]
"""One network of ori, by each seed of the control."""

PAIRS: dict[str, tuple[tuple[Row, Row], ...]] = {
    "msmt17": (
        (Row("HAN pyramid", "han", "equal"), Row("bicubic pyramid", "bicubic", "equal")),
        (
            Row("HAN pyramid", "han", "equal"),
            Row("HAN pyramid, paper's recipe", "plain", "equal"),
        ),
        (ORI, Row("ori alone, paper's recipe", "plain", "ori")),
    ),
    "pooled": (
        (FUSED_CENTRED, CONTROL),
        (FUSED_WHITENED, FUSED_CENTRED),
        (FUSED_WHITENED, CONTROL),
        (TWO_STARTS, CONTROL),
        (TWO_STARTS_WHITENED, FUSED_WHITENED),
        (TWO_STARTS_WHITENED, CONTROL),
    ),
    "starts": (
        (ZERO_SHOT_CENTRED, AS_IT_IS),
        (FROM_CROPS_CENTRED, FROM_CROPS),
        (ZERO_SHOT_WHITENED, ZERO_SHOT_CENTRED),
        (FROM_CROPS_WHITENED, FROM_CROPS_CENTRED),
    ),
    "hypotheses": (
        (
            Row("HAN pyramid", "han", "equal"),
            Row("HAN pyramid, restorer of the split", "han_own", "equal"),
        ),
        (Row("ori at 128×64", "own_sizes", "ori"), ORI),
    ),
}
"""By block: rows that the text compares, each with another than a table does."""

SCHEMES = (*FIXED_WEIGHTS, *CHOSEN_WEIGHTS)

PUBLISHED: dict[str, dict[str, tuple[float, float, float | None]]] = {
    "caviar4reid": {
        "ResNet-50": (29.6, 64.0, None),
        "RAIN": (42.0, 77.3, 89.6),
        "INTACT": (44.0, 81.8, 93.9),
        "HRNet with super-resolution": (48.2, 84.5, 96.3),
    },
    "prid2011": {},
}
"""Published Rank-1, 5 and 10 in percent, as the authors of PS-HRNet list them in their repository
(github.com/NUISTGY/PS-HRNet), which lists none on MLR-PRID2011."""
