"""The pedestrians of the synthetic set: their looks, and how they are caught walking."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float32]

# sRGB; few and shared, so that colours alone name nobody.
CLOTH = {
    "black": (30, 30, 34),
    "charcoal": (72, 74, 80),
    "grey": (138, 140, 142),
    "white": (226, 225, 220),
    "navy": (34, 44, 84),
    "blue": (62, 104, 172),
    "red": (172, 42, 44),
    "wine": (98, 30, 46),
    "green": (44, 104, 70),
    "khaki": (124, 116, 80),
    "beige": (196, 174, 138),
    "mustard": (204, 154, 46),
    "pink": (210, 136, 150),
}
SKIN = [(236, 192, 166), (214, 164, 132), (182, 128, 94), (132, 88, 62), (92, 60, 44)]
HAIR = [(28, 24, 24), (58, 40, 30), (98, 66, 42), (176, 136, 82), (130, 58, 34), (158, 156, 154)]
LOWER = ["black", "charcoal", "grey", "navy", "blue", "khaki", "beige", "wine", "white"]
PATTERNS = ["plain", "hoops", "pinstripe", "checks", "dots", "block", "band", "logo", "blotch"]


@dataclass(frozen=True, slots=True)
class Person:
    """Everything that stays with one identity; lengths in metres, colours linear RGB."""

    stature: float
    girth: float  # 1 is average
    shoulders: float  # 1 is average
    skin: Array
    hair: str  # shaved, short, bob, long, bun, cap or beanie
    hair_colour: Array
    hat_colour: Array
    beard: bool
    top: str  # tee, shirt, jacket, coat or dress
    colours: tuple[Array, Array, Array]  # ground, pattern, worn under an open jacket
    pattern: str
    period: float  # of the pattern
    phase: float
    sleeve: float  # share of the arm that is covered
    sleeve_colour: Array
    unbuttoned: float  # half-angle of the front opening; 0 is closed
    hem: float  # height of the top's lower edge, as a share of the stature
    bottom: str  # trousers, shorts or skirt
    bottom_colours: tuple[Array, Array]
    bottom_trim: str  # plain, side or cuff
    leg_width: float  # 1 is average
    shoes: tuple[Array, Array]  # upper, sole
    bag: str  # none, backpack, shoulder or hand
    bag_colour: Array
    bag_side: int  # +1 left, -1 right


@dataclass(frozen=True, slots=True)
class Pose:
    """One instant of a walk; angles in radians."""

    phase: float  # of the gait, 0..2 pi
    stride: float  # amplitude of the thighs
    swing: float  # amplitude of the arms
    elbows: tuple[float, float]  # flexion, left and right
    lean: float
    head: float  # turn of the head to the left


def linear(srgb: ArrayLike) -> Array:
    """Linear 0..1 reflectance of an sRGB colour in 0..255."""
    return np.power(np.asarray(srgb, np.float32) / 255, np.float32(2.2))


def _cloth(rng: np.random.Generator, names: list[str] | None = None) -> Array:
    names = names or list(CLOTH)
    return linear(CLOTH[names[int(rng.integers(len(names)))]])


def person(rng: np.random.Generator) -> Person:
    """Draw the looks of one identity."""

    def pick(names: list[str], weights: list[float]) -> str:
        return names[int(rng.choice(len(names), p=weights))]

    top = pick(["tee", "shirt", "jacket", "coat", "dress"], [0.3, 0.24, 0.24, 0.12, 0.1])
    ground = _cloth(rng)
    others = [name for name in CLOTH if np.abs(linear(CLOTH[name]) - ground).max() > 0.13]
    second = _cloth(rng, others)
    contrast_sleeve = rng.random() < 0.22
    bottom = pick(["trousers", "shorts", "skirt"], [0.68, 0.18, 0.14])
    if top == "coat":
        bottom = "trousers"
    hem = {"tee": 0.485, "shirt": 0.475, "jacket": 0.465, "coat": 0.3, "dress": 0.27}[top]
    return Person(
        stature=float(rng.uniform(1.56, 1.92)),
        girth=float(np.clip(rng.normal(1.0, 0.13), 0.82, 1.35)),
        shoulders=float(rng.uniform(0.9, 1.1)),
        skin=linear(SKIN[int(rng.integers(len(SKIN)))]),
        hair=pick(
            ["shaved", "short", "bob", "long", "bun", "cap", "beanie"],
            [0.08, 0.33, 0.13, 0.19, 0.09, 0.1, 0.08],
        ),
        hair_colour=linear(HAIR[int(rng.integers(len(HAIR)))]),
        hat_colour=_cloth(rng),
        beard=bool(rng.random() < 0.15),
        top=top,
        colours=(ground, second, _cloth(rng, others)),
        pattern=pick(PATTERNS, [0.25, 0.13, 0.08, 0.1, 0.07, 0.13, 0.07, 0.11, 0.06]),
        period=float(rng.uniform(0.085, 0.17)),
        phase=float(rng.uniform(0, 1)),
        sleeve={"tee": 0.32, "dress": float(rng.choice([0.2, 0.9]))}.get(top, 0.93),
        sleeve_colour=second if contrast_sleeve else ground,
        unbuttoned=float(rng.choice([0.0, 0.35, 0.6])) if top in ("jacket", "coat") else 0.0,
        hem=hem + float(rng.uniform(-0.02, 0.07 if hem < 0.4 else 0.015)),
        bottom=bottom,
        bottom_colours=(_cloth(rng, LOWER), _cloth(rng)),
        bottom_trim=pick(["plain", "side", "cuff"], [0.72, 0.14, 0.14]),
        leg_width=float(rng.uniform(0.88, 1.25)),
        shoes=(_cloth(rng), _cloth(rng, ["black", "white", "beige"])),
        bag=pick(["none", "backpack", "shoulder", "hand"], [0.4, 0.24, 0.2, 0.16]),
        bag_colour=_cloth(rng),
        bag_side=int(rng.choice([-1, 1])),
    )


def pose(rng: np.random.Generator) -> Pose:
    """Draw one instant of a walk; now and then a stop, or an arm raised with a phone."""
    walking = rng.random() < 0.85
    bend = rng.uniform(0.15, 0.5, 2) + (rng.random(2) < 0.06) * rng.uniform(1.2, 1.7, 2)
    return Pose(
        phase=float(rng.uniform(0, 2 * np.pi)),
        stride=float(rng.uniform(0.28, 0.48)) if walking else 0.06,
        swing=float(rng.uniform(0.15, 0.5)) if walking else 0.06,
        elbows=(float(bend[0]), float(bend[1])),
        lean=float(rng.uniform(0.0, 0.07)),
        head=float(rng.normal(0, 0.25)),
    )
