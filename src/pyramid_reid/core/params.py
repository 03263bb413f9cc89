"""params.yaml as frozen, strict, typed objects."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pyramid_reid.core.errors import UserError, reason
from pyramid_reid.core.provenance import sha256

BRANCHES = ("ori", "h1", "h2", "h3")
"""The resolutions that are recognised: the crop as it is, and the three restored images."""

OWN = "data/own"
"""`data.root` unless another is given: a folder of the project, for a copy of a set or a link."""

VARIANTS = {
    "cuhk03": ("detected_classic", "labeled_classic", "detected_new", "labeled_new"),
}
"""Of the sets that have several; the first is the default."""

NAMED_STARTS = {
    "imagenet": None,
    "msmt17": "msmt17",
    "msmt17_combineall": "msmt17",
    "market1501": "market1501",
}
"""Values of `reid.pretrained` that name published weights, and the set whose people trained them;
`reid.training.starts` knows where they are. Anything else is a path."""

PositiveInt = Annotated[int, Field(ge=1)]
PositiveFloat = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Start = Annotated[
    Annotated[str, Field(min_length=1)] | None,
    BeforeValidator(lambda given: None if given == "none" else given),
]
"""Weights to start from, a name or a path; `none` in params.yaml is None."""
Sha256 = Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")]
Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


ONE, EACH = "one value", "one for each branch"
"""How a key that may differ between branches is given; in no message."""


def _form(value: object) -> str:
    """Which of them a value is."""
    return EACH if isinstance(value, dict | BaseModel) else ONE


class Section(BaseModel):
    """Base of all sections: no unknown keys, no silent conversion, no later change."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _increasing(values: tuple[int, ...]) -> bool:
    return all(low < high for low, high in pairwise(values))


class Data(Section):
    """Which set is read, and how often its identities are split."""

    name: Literal[
        "synthetic",
        "caviar4reid",
        "viper",
        "prid2011",
        "grid",
        "market1501",
        "cuhk03",
        "dukemtmc_reid",
        "msmt17",
        "mta_reid",
        "manifest",
        "folders",
    ]
    root: Annotated[str, Field(min_length=1)]
    variant: str | None
    camera_pattern: Annotated[str, Field(min_length=1)] | None
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-fA-F]{64}$")] | None
    splits: PositiveInt | None
    first_split: Annotated[int, Field(ge=0)]
    identities: Annotated[int, Field(ge=4, le=9999)]
    images_per_camera: PositiveInt

    @model_validator(mode="after")
    def _source_belongs_to_a_real_set(self) -> Self:
        given = [name for name in ("url", "sha256") if getattr(self, name) is not None]
        if self.name == "synthetic" and given:
            raise ValueError(
                f"data.{given[0]} must be null for data.name: synthetic, which is drawn"
            )
        if self.root != OWN and self.name == "synthetic":
            raise ValueError(f"data.root must be {OWN} for data.name: synthetic, which is drawn")
        if self.root != OWN and self.url is not None:
            raise ValueError(f"data.root and data.url: give one, and {OWN} or null for the other")
        return self

    @model_validator(mode="after")
    def _variant_is_one_of_the_set(self) -> Self:
        variants = VARIANTS.get(self.name, ())
        if self.variant is not None and self.variant not in variants:
            known = f"is none of {', '.join(variants)}" if variants else "must be null: it has none"
            raise ValueError(f"data.variant of {self.name}: {self.variant} {known}")
        return self

    @model_validator(mode="after")
    def _pattern_has_one_group(self) -> Self:
        if self.camera_pattern is None:
            return self
        if self.name != "folders":
            raise ValueError(
                f"data.camera_pattern must be null for data.name: {self.name}, which says itself"
                " which camera took an image; it is for data.name: folders"
            )
        try:
            pattern = re.compile(self.camera_pattern)
        except re.error as error:
            raise ValueError(
                f"data.camera_pattern {self.camera_pattern!r} is not a regular expression: {error}"
            ) from error
        if "camera" not in pattern.groupindex and pattern.groups != 1:
            raise ValueError(
                f"data.camera_pattern {self.camera_pattern!r} has {pattern.groups} groups: put"
                r" brackets around the camera alone, as in _c(\d+), or name its group:"
                r" (?P<camera>\d+)"
            )
        return self


class Simulate(Section):
    """What differs from the set's own protocol (`protocol.Protocol`); None keeps its value."""

    low_camera: int | Annotated[str, Field(min_length=1)] | None
    ratios: Annotated[tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False)] | None
    ratio_per: Literal["image", "identity"] | None
    interpolation: Literal["bicubic", "bilinear", "lanczos"] | None
    degradation: Literal["downsample", "camera"] | None
    mixed: bool | None
    allow_duplicates: bool | None


class SwinSize(Section):
    """How large a SwinIR is."""

    depths: Annotated[tuple[PositiveInt, ...], Field(strict=False, min_length=1)]
    dim: PositiveInt
    num_heads: PositiveInt

    @model_validator(mode="after")
    def _heads_divide_dim(self) -> Self:
        if self.dim % self.num_heads:
            raise ValueError(
                f"restoration.swinir_light.dim ({self.dim}) must be a multiple of"
                f" restoration.swinir_light.num_heads ({self.num_heads})"
            )
        return self


class HanSize(Section):
    """How large a HAN is."""

    groups: PositiveInt
    blocks: PositiveInt
    dim: Annotated[int, Field(ge=16)]


class Restoration(Section):
    """The reconstructor: extractor E, pyramid heads RC, and their training."""

    extractor: Literal["swinir", "swinir_light", "han", "han_light", "bicubic", "identity"]
    swinir_light: SwinSize | None
    han_light: HanSize | None
    head_dim: PositiveInt
    scales: Annotated[
        tuple[Annotated[int, Field(ge=2)], ...], Field(strict=False, min_length=3, max_length=3)
    ]
    head_weights: Annotated[tuple[Weight, ...], Field(strict=False, min_length=3, max_length=3)]
    pretrained: Start
    pretrained_sha256: Sha256 | None
    iterations: Annotated[int, Field(ge=0)]
    batch_size: PositiveInt
    patch_height: PositiveInt
    patch_width: PositiveInt
    lr: PositiveFloat
    checkpoint_every: PositiveInt

    @property
    def learns(self) -> bool:
        """Whether the extractor has weights."""
        return self.extractor not in {"bicubic", "identity"}

    @property
    def branch_scales(self) -> tuple[int, ...]:
        """Scale of each of h1, h2, h3: without restoration they are the crops themselves."""
        return (1, 1, 1) if self.extractor == "identity" else self.scales

    @model_validator(mode="after")
    def _scales_rise(self) -> Self:
        if not _increasing(self.scales):
            raise ValueError(f"restoration.scales must increase, got {list(self.scales)}")
        return self

    @model_validator(mode="after")
    def _something_learns(self) -> Self:
        if not any(self.head_weights):
            raise ValueError("at least one of restoration.head_weights must be above 0")
        if not self.learns and self.pretrained is not None:
            raise ValueError(
                f"restoration.pretrained must be none for restoration.extractor: {self.extractor},"
                " which has no weights"
            )
        if self.learns and not self.iterations and self.pretrained is None:
            raise ValueError(
                "restoration.iterations: 0 trains nothing: name the reconstructor of another run as"
                " restoration.pretrained, or train"
            )
        return self


class Generation(Section):
    """How the pyramid is generated."""

    batch_pixels: PositiveInt


Side = Annotated[int, Field(ge=16)]


class Sides(Section):
    """A side of the input, in pixels, where it differs between branches."""

    ori: Side
    h1: Side
    h2: Side
    h3: Side


SideOrSides = Annotated[
    Annotated[Side, Tag(ONE)] | Annotated[Sides, Tag(EACH)], Discriminator(_form)
]


class Starts(Section):
    """Weights to start from, where they differ between branches."""

    ori: Start
    h1: Start
    h2: Start
    h3: Start


class Hashes(Section):
    """SHA-256 of `Starts`, in hexadecimal: of those that are paths."""

    ori: Sha256 | None
    h1: Sha256 | None
    h2: Sha256 | None
    h3: Sha256 | None


class Reid(Section):
    """The re-identification network of a branch and its training."""

    model: Literal[
        "osnet_x1_0",
        "osnet_x0_75",
        "osnet_x0_5",
        "osnet_x0_25",
        "osnet_ibn_x1_0",
        "osnet_ain_x1_0",
        "osnet_ain_x0_75",
        "osnet_ain_x0_5",
        "osnet_ain_x0_25",
    ]
    pretrained: Annotated[
        Annotated[Start, Tag(ONE)] | Annotated[Starts, Tag(EACH)], Discriminator(_form)
    ]
    pretrained_sha256: Annotated[
        Annotated[Sha256 | None, Tag(ONE)] | Annotated[Hashes, Tag(EACH)], Discriminator(_form)
    ]
    height: SideOrSides
    width: SideOrSides
    epochs: Annotated[int, Field(ge=0)]
    batch_size: Annotated[int, Field(ge=2)]
    instances: Annotated[int, Field(ge=0)]
    lr: PositiveFloat
    start_weight: Fraction
    ema: Fraction
    warmup_epochs: Annotated[int, Field(ge=0)]
    fixed_epochs: Annotated[int, Field(ge=0)]
    weight_decay: Weight
    label_smoothing: Fraction
    erasing: Annotated[float, Field(ge=0, le=1)]
    color_jitter: Fraction
    mixed_resolution: Annotated[float, Field(ge=0, le=1)]
    memory: PositiveFloat
    checkpoint_every: PositiveInt
    validation_identities: Annotated[int, Field(ge=0)]

    def of_branch(self, branch: str) -> Self:
        """What counts for one branch: input size, start, and mixed resolution for `ori` alone."""
        height, width = self.input_size(branch)
        pretrained, sha256 = self.start(branch)
        own = {
            "height": height,
            "width": width,
            "mixed_resolution": self.mixed_resolution if branch == "ori" else 0.0,
            "pretrained": pretrained,
            "pretrained_sha256": sha256,
        }
        return self.model_copy(update=own)

    def start(self, branch: str) -> tuple[str | None, str | None]:
        """The weights that a branch starts from, and their SHA-256 where params.yaml has it."""
        given, known = self.pretrained, self.pretrained_sha256
        start = getattr(given, branch) if isinstance(given, Starts) else given
        return start, getattr(known, branch) if isinstance(known, Hashes) else known

    @property
    def starts(self) -> dict[str, str | None]:
        """The weights that each branch starts from."""
        return {branch: self.start(branch)[0] for branch in BRANCHES}

    @property
    def _missing_start(self) -> str | None:
        """The key of the first branch that starts from random weights."""
        if not isinstance(self.pretrained, Starts):
            return "reid.pretrained" if self.pretrained is None else None
        missing = [branch for branch, start in self.starts.items() if start is None]
        return f"reid.pretrained.{missing[0]}" if missing else None

    @model_validator(mode="after")
    def _hashes_are_given_as_the_starts_are(self) -> Self:
        if isinstance(self.pretrained, Starts) == isinstance(self.pretrained_sha256, Hashes):
            return self
        if self.pretrained_sha256 is None:
            return self
        raise ValueError(
            "reid.pretrained_sha256 must name a hash by branch, as reid.pretrained names starts"
            if isinstance(self.pretrained, Starts)
            else "reid.pretrained_sha256 must be one hash, as reid.pretrained is one start"
        )

    def input_size(self, branch: str) -> tuple[int, int]:
        """Height and width of a branch's input, in pixels."""
        return self._side("height", branch), self._side("width", branch)

    def _side(self, name: str, branch: str) -> int:
        side: int | Sides = getattr(self, name)
        return side if isinstance(side, int) else int(getattr(side, branch))

    @model_validator(mode="after")
    def _warmup_ends(self) -> Self:
        if self.epochs and self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"reid.warmup_epochs ({self.warmup_epochs}) must be less than reid.epochs"
                f" ({self.epochs})"
            )
        return self

    @model_validator(mode="after")
    def _something_is_judged(self) -> Self:
        if not self.epochs and (missing := self._missing_start):
            raise ValueError(
                "reid.epochs: 0 trains nothing: name the networks of another run, or a checkpoint,"
                f" as {missing}, or train"
            )
        return self

    @model_validator(mode="after")
    def _the_classifier_learns_alone_on_pretrained_weights(self) -> Self:
        if self.fixed_epochs and (missing := self._missing_start):
            raise ValueError(
                f"reid.fixed_epochs ({self.fixed_epochs}) must be 0 without {missing}, as the"
                " weights that it keeps fixed would be random"
            )
        if self.epochs and self.fixed_epochs >= self.epochs:
            raise ValueError(
                f"reid.fixed_epochs ({self.fixed_epochs}) must be less than reid.epochs"
                f" ({self.epochs})"
            )
        return self

    @model_validator(mode="after")
    def _weights_to_return_to_are_there(self) -> Self:
        if self.start_weight and (missing := self._missing_start):
            raise ValueError(
                f"reid.start_weight ({self.start_weight}) must be 0 without {missing}, as"
                " there are no weights to mix the trained ones with"
            )
        return self

    @model_validator(mode="after")
    def _instances_fill_the_batch(self) -> Self:
        if self.instances and (
            self.batch_size % self.instances or self.batch_size == self.instances
        ):
            raise ValueError(
                f"reid.batch_size ({self.batch_size}) must be a multiple of reid.instances"
                f" ({self.instances}), and larger"
            )
        return self


class Distances(Section):
    """How features are taken."""

    mirrored: bool
    centred: bool
    whitened: bool


class Fusion(Section):
    """The weights of D_final."""

    w_ori: Weight
    w_h1: Weight
    w_h2: Weight
    w_h3: Weight

    @property
    def weights(self) -> dict[str, float]:
        """Weight of each branch, in the order of `BRANCHES`."""
        return {branch: float(getattr(self, f"w_{branch}")) for branch in BRANCHES}

    @model_validator(mode="after")
    def _some_weight(self) -> Self:
        if not any(self.weights.values()):
            raise ValueError("at least one of fusion.w_ori, w_h1, w_h2, w_h3 must be above 0")
        return self


class Evaluation(Section):
    """How rankings are judged, and what is told of their uncertainty."""

    rule: Literal["market1501", "all_shot", "single_shot"] | None
    draws: PositiveInt
    resamples: Annotated[int, Field(ge=100)]
    rerank: bool
    k1: PositiveInt
    k2: PositiveInt
    lambda_value: Annotated[float, Field(ge=0, le=1)]


class Sweep(Section):
    """The grid of fusion weights that is tried."""

    step: Annotated[float, Field(gt=0, le=1)]

    @model_validator(mode="after")
    def _divides_1(self) -> Self:
        if abs(1 / self.step - round(1 / self.step)) > 1e-9:
            raise ValueError(f"sweep.step ({self.step}) must divide 1, as 0.05 or 0.25 do")
        return self


class Params(Section):
    """All of params.yaml."""

    seed: Annotated[int, Field(ge=0, lt=2**31)]
    threads: PositiveInt
    device: Literal["cpu", "cuda"]
    launcher: Annotated[str, Field(min_length=1)]
    data: Data
    simulate: Simulate
    restoration: Restoration
    generation: Generation
    reid: Reid
    distances: Distances
    fusion: Fusion
    evaluation: Evaluation
    sweep: Sweep

    @model_validator(mode="after")
    def _no_test_person_trained_the_start(self) -> Self:
        for start in self.reid.starts.values():
            if start is not None and NAMED_STARTS.get(start) == self.data.name:
                raise ValueError(refused_start(start, self.data.name))
        return self


def refused_start(trained_on: str, name: str) -> str:
    """Why weights that people of a set trained are refused for judging on that set."""
    return (
        f"reid.pretrained: people of {name} trained these weights ({trained_on}), and may be test"
        " people here: take another start, or none"
    )


SHOWN = 10
"""Problems of a file that a message spells out; of the others, the number."""
LONGEST = 80
"""Characters of a value in a message: anchors of YAML make short files of endless values."""


def load(path: Path) -> Params:
    """Read and check params.yaml, by the YAML that DVC reads: 1.2, each key once.

    What is hashed and what is used would differ otherwise: 010 is 10 in YAML 1.2 and 8 in 1.1.

    Raises:
        UserError: the file is missing, is no YAML, or has a wrong, unknown or missing key; the
            first of them are named in one message.
    """
    try:
        raw = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UserError(f"{path} is missing: run from the project's root") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except MarkedYAMLError as error:
        raise UserError(f"{path} is not valid YAML: {_where(error)}") from error
    except RecursionError as error:
        raise UserError(f"{path} is not valid: it is nested too deep") from error
    # dates, numbers and tags that are none: the parser meets them with many kinds of errors
    except (YAMLError, ValueError, TypeError, AttributeError, LookupError) as error:
        raise UserError(f"{path} is not valid YAML: {reason(error)}") from error
    try:
        params = Params.model_validate(raw)
    except ValidationError as error:
        problems = [_sentence(dict(problem)) for problem in error.errors()]
        more = [f"and {len(problems) - SHOWN} more"] if len(problems) > SHOWN else []
        raise UserError(f"{path}: {'; '.join([*problems[:SHOWN], *more])}") from error
    restoration, reid = params.restoration, params.reid
    _ask_for_hashes(
        f"{path}: restoration.pretrained",
        {"": (restoration.pretrained, restoration.pretrained_sha256)},
    )
    by_branch = isinstance(reid.pretrained, Starts)
    given = {branch: reid.start(branch) for branch in BRANCHES}
    starts = {
        branch if by_branch else "": (None if start in NAMED_STARTS else start, known)
        for branch, (start, known) in given.items()
    }
    _ask_for_hashes(f"{path}: reid.pretrained", starts)
    return params


def _ask_for_hashes(where: str, given: Mapping[str, tuple[str | None, str | None]]) -> None:
    """Ask for the hashes of weights that are read from paths.

    DVC hashes params, not what they point to: without the hash another file at the same path
    would rerun nothing, and nobody could tell what a result came from.

    Args:
        where: file and key.
        given: path and hash by branch, or of "" alone.
    """
    paths = {branch: (start, known) for branch, (start, known) in given.items() if start}
    unknown = [branch for branch, (_, known) in paths.items() if known is None]
    if not unknown:
        return
    of_branch = f"{where}.{unknown[0]}" if unknown[0] else where
    for start, known in paths.values():
        if known is None and not Path(start).exists():
            raise UserError(f"{of_branch}: {start} is neither a file nor a folder")
    hashes = {branch: known or sha256(Path(start)) for branch, (start, known) in paths.items()}
    option = f"{where.rpartition(': ')[2]}_sha256={hashes.get('')}"
    if "" not in given:  # in quotes, as shells expand braces
        by_branch = ",".join(f"{branch}:{hashes.get(branch, 'null')}" for branch in given)
        option = f"'{where.rpartition(': ')[2]}_sha256={{{by_branch}}}'"
    raise UserError(
        f"{of_branch}: say which file is meant, as another may come to lie at this path:"
        f" -S {option}"
    )


def _where(error: MarkedYAMLError) -> str:
    """What the parser found, and in which line."""
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}: " if mark else ""
    return line + " ".join(f"{error.context or ''} {error.problem or ''}".split())


def _sentence(problem: dict[str, object]) -> str:
    """One problem that pydantic found, by its key in params.yaml."""
    loc = problem["loc"] if isinstance(problem["loc"], tuple) else ()
    key = ".".join(_plain(part) for part in loc if part not in (ONE, EACH)) or "the whole file"
    kind, value = problem["type"], problem.get("input")
    if kind == "extra_forbidden":
        return f"{key} is not a known key: remove it or correct its spelling"
    if kind == "missing":
        return f"{key} is missing: write it in, as the committed file has it"
    if kind == "value_error":
        return str(problem["msg"]).removeprefix("Value error, ")
    hint = ""
    if isinstance(value, str) and str(kind).startswith(("float", "int", "bool")):
        hint = " (YAML reads it as text: a number has no quotes, a truth value is true or false)"
    return f"{key}: {problem['msg']}, got {_short(value)}{hint}"


def _plain(part: object) -> str:
    """A part of a key as it is written, or quoted and short where it is no plain word."""
    text = str(part)
    return text if text.isprintable() and len(text) <= LONGEST else _short(part)


def _short(value: object) -> str:
    written = reprlib.repr(value)
    return written if len(written) <= LONGEST else f"{written[:LONGEST]}…"
