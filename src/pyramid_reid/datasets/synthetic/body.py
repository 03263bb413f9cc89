"""The body of a synthetic pedestrian: a skeleton in a walking pose, clad in painted tubes.

Body frame, in metres: x to the person's left, y up from the ground, z ahead.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.datasets.synthetic.people import Array, Person, Pose
from pyramid_reid.datasets.synthetic.tube import Paint, Surface, Where, mix, plain, tube

LIPS = np.array([0.75, 0.45, 0.45], np.float32)  # of the skin around
UP = np.array([0.0, 1.0, 0.0], np.float32)


def joints(who: Person, how: Pose) -> dict[str, Array]:
    """(3,) positions of the joints, `hip_l` to `wrist_r`, of a person in a pose."""
    h, found = who.stature, {}
    for side, name in ((1, "l"), (-1, "r")):
        beat = how.phase + (0.0 if side > 0 else np.pi)
        thigh = how.stride * np.sin(beat) + 0.05
        flex = 0.08 + 1.5 * how.stride * max(0.0, np.cos(beat + 0.35)) ** 1.5
        hip = np.array([side * 0.05 * h, 0.5 * h, 0.0])
        knee = hip + 0.235 * h * np.array([0.0, -np.cos(thigh), np.sin(thigh)])
        shin = thigh - flex
        ankle = knee + 0.225 * h * np.array([0.0, -np.cos(shin), np.sin(shin)])
        arm = -how.swing * np.sin(beat) - 0.02
        fore = arm + how.elbows[0 if side > 0 else 1]
        out = 0.1 + 0.12 * (who.girth - 0.9)
        lift = np.sin(how.lean)
        shoulder = np.array([side * 0.104 * h * who.shoulders, 0.783 * h, 0.3 * h * lift])
        elbow = shoulder + 0.172 * h * np.array([side * out, -np.cos(arm), np.sin(arm)])
        wrist = elbow + 0.15 * h * np.array([-side * 0.3 * out, -np.cos(fore), np.sin(fore)])
        for joint, where in (
            ("hip", hip),
            ("knee", knee),
            ("ankle", ankle),
            ("shoulder", shoulder),
            ("elbow", elbow),
            ("wrist", wrist),
        ):
            found[f"{joint}_{name}"] = where.astype(np.float32)
    return found


def print_mask(who: Person, theta: Array, along: Array) -> Array:
    """(n,) opacity of the top's pattern at angle `theta` and `along` metres below the neck."""
    u = 0.15 * theta / who.period
    v = along / who.period + who.phase
    match who.pattern:
        case "hoops":
            mask = v % 1 < 0.5
        case "pinstripe":
            mask = u * 1.2 % 1 < 0.4
        case "checks":
            return np.float32(0.5) * ((u % 1 < 0.5) + np.float32(1) * (v % 1 < 0.5))
        case "dots":
            row = np.floor(1.2 * v)
            mask = ((1.2 * u + row / 2) % 1 - 0.5) ** 2 + (1.2 * v % 1 - 0.5) ** 2 < 0.095
        case "block":
            mask = along > 0.14 + 0.16 * who.phase
        case "band":
            mask = np.abs(along - 0.2 - 0.08 * who.phase) < 0.055
        case "logo":
            middle = np.cos(theta) if who.phase > 0.3 else np.abs(np.cos(theta))
            mask = (middle > 0.8) & (np.abs(along - 0.2) < 0.09)
        case "blotch":
            turn = 6.3 * who.phase
            mask = np.sin(3 * u + turn + np.sin(4 * v)) + np.sin(4.4 * v + np.sin(3 * u)) > 0.5
        case _:
            mask = np.zeros(theta.shape, np.bool_)
    return np.asarray(mask, np.float32)


def top_paint(who: Person, offset: float = 0.0) -> Paint:
    """Paint of the upper garment around the trunk; `offset` metres below the neck it starts."""
    ground, second, inner = who.colours

    def paint(theta: Array, along: Array) -> Array:
        down = along + np.float32(offset)
        colour = mix(ground, second, print_mask(who, theta, down))
        off = np.abs(theta)
        if who.top in ("jacket", "coat"):
            flap = who.unbuttoned * np.clip(0.55 + 1.1 * down, 0, 1.2)
            colour = mix(colour, inner, off < flap)
            colour = mix(colour, ground * 0.45, np.abs(off - flap) < 0.07)
        if who.top == "shirt":
            colour = mix(colour, ground * 0.5, (off < 0.06) | (down < 0.05))
        if who.bag == "backpack":
            strap = (np.abs(off - 0.75) < 0.17) & (down < 0.34)
            colour = mix(colour, who.bag_colour, strap)
        elif who.bag == "shoulder":
            lateral = who.bag_side * np.sin(theta) * 0.16
            colour = mix(colour, who.bag_colour, np.abs(lateral - 0.75 * (down - 0.21)) < 0.02)
        if who.top in ("tee", "dress"):
            colour = mix(colour, who.skin * 0.9, down < 0.025 + 0.03 * np.cos(theta))
        below = who.stature * (0.845 - who.hem) < down
        return mix(colour, who.bottom_colours[0], below) if who.hem > 0.4 else colour

    return paint


def _head(who: Person, how: Pose, step: float) -> list[Surface]:
    h, lean = who.stature, 0.35 * who.stature * np.sin(how.lean)
    centre = np.array([0.0, 0.925 * h, lean + 0.012 * h])
    turn, tall = np.float32(how.head), 0.13 * h

    def away(theta: Array) -> Array:
        """Angle from where the face looks."""
        return np.asarray(np.abs((theta - turn + np.pi) % (2 * np.pi) - np.pi), np.float32)

    def ball(
        shift: ArrayLike,
        half: tuple[float, float, float],
        paint: Paint,
        keep: Where | None = None,
        cloth: bool = True,
    ) -> Surface:
        angle = np.linspace(0, np.pi, 24)
        x, y, z = (h * axis for axis in half)
        line = centre + np.asarray(shift) * h + np.outer(np.cos(angle), [0.0, y, 0.0])
        girdle = np.sin(angle)
        return tube(line, x * girdle, z * girdle, paint, step, keep=keep, cloth=cloth)

    def face(theta: Array, along: Array) -> Array:
        off, level = away(theta), along / tall
        eyes = (np.abs(off - 0.42) < 0.2) & (np.abs(level - 0.45) < 0.05)
        nose = (off < 0.12) & (np.abs(level - 0.62) < 0.05)
        mouth = np.abs(level - 0.78) < 0.03
        colour = mix(who.skin, who.skin * 0.35, eyes)
        colour = mix(colour, who.skin * 0.7, nose)
        colour = mix(colour, who.skin * LIPS, (off < 0.3) & mouth)
        if who.beard:
            colour = mix(colour, who.hair_colour, (level > 0.68) & (off < 1.7) & ~mouth)
        return colour

    parts = [
        ball((0, 0, 0), (0.046, 0.066, 0.055), face, cloth=False),
        tube(
            centre + np.outer([0.0, 1.0], [0, -0.13 * h, -0.015 * h]),
            [0.028 * h, 0.032 * h],
            [0.03 * h, 0.033 * h],
            plain(who.skin * 0.85),
            step,
            cloth=False,
        ),
    ]
    hair, hat = plain(who.hair_colour), plain(who.hat_colour)
    low = {"shaved": 0.42, "short": 0.6, "cap": 0.62, "beanie": 0.6}.get(who.hair, 0.75) * tall

    def scalp(theta: Array, along: Array) -> NDArray[np.bool_]:
        return np.asarray(along < np.where(away(theta) < 1.15, 0.26 * tall, low), np.bool_)

    puff = 0.001 if who.hair == "shaved" else 0.006
    half = (0.046 + puff, 0.066 + puff, 0.055 + puff)
    parts.append(ball((0, 0.002, -0.003), half, hair, keep=scalp))
    if who.hair in ("bob", "long"):
        drop = 0.115 if who.hair == "bob" else 0.2
        levels = np.array([0.02, -0.03, -0.6 * drop, -drop, -drop - 0.005])
        line = centre + h * np.stack([0 * levels, levels, 0.08 * levels - 0.012], axis=1)
        parts.append(
            tube(
                line,
                h * np.array([0.05, 0.056, 0.058, 0.05, 0.0]),
                h * np.array([0.055, 0.055, 0.05, 0.035, 0.0]),
                hair,
                step,
                keep=lambda theta, _: np.asarray(away(theta) > 1.2, np.bool_),
            )
        )
    if who.hair == "bun":
        parts.append(ball((0, 0.05, -0.055), (0.026, 0.026, 0.026), hair))
    if who.hair in ("cap", "beanie"):
        rim = 0.42 * tall if who.hair == "beanie" else 0.36 * tall
        size = (0.054, 0.074, 0.062)
        parts.append(
            ball((0, 0.006, -0.001), size, hat, keep=lambda _, along: np.asarray(along < rim))
        )
    if who.hair == "cap":
        ahead = np.array([0.06 * np.sin(how.head), 0.026, 0.06 * np.cos(how.head)])
        parts.append(ball(ahead, (0.04, 0.006, 0.04), plain(who.hat_colour * 0.8)))
    return parts


def _trunk(who: Person, how: Pose, step: float) -> list[Surface]:
    h = who.stature
    level = np.array([0.848, 0.838, 0.825, 0.81, 0.785, 0.72, 0.61, 0.53, 0.485, 0.46, 0.455])
    wide = np.array([0.028, 0.038, 0.058, 0.084, 0.101, 0.097, 0.083, 0.094, 0.091, 0.075, 0.0])
    deep = np.array([0.030, 0.035, 0.042, 0.050, 0.060, 0.069, 0.061, 0.070, 0.064, 0.05, 0.0])
    wide = wide * h * np.where(level > 0.75, who.shoulders, who.girth)
    deep = deep * h * np.where(level > 0.8, 1.0, who.girth)
    loose = 0.012 if who.top in ("jacket", "coat") else 0.004
    padded = np.where((level < 0.83) & (level > 0.456), loose, 0.0)
    ahead = h * np.sin(how.lean) * np.clip((level - 0.5) / 0.345, 0, 1) * 0.35
    line = np.stack([0 * level, level * h, ahead], axis=1)
    parts = [tube(line, wide + padded, deep + padded, top_paint(who), step, square=0.85)]
    if who.hem < 0.4 or who.bottom == "skirt":
        skirt = who.hem >= 0.4
        hem = 0.29 + 0.3 * (who.hem - 0.45) if skirt else who.hem
        start = min(who.hem, 0.49) if skirt else 0.6
        slope = np.tan(how.stride * abs(np.sin(how.phase)) + 0.05)
        thick = max(who.girth, 0.5 + 0.5 * who.girth)  # as the thighs
        flare = 0.016 if who.top == "coat" else 0.03
        levels = np.array([start, 0.5 * start + 0.245, 0.47, 0.5 * (0.47 + hem), hem, hem])
        side = 0.054 + 0.054 * thick + flare * np.array([-0.2, 0.1, 0.3, 0.6, 1, 1])
        depth = np.maximum(0.072 * thick, slope * (0.5 - levels) + 0.058 * thick)
        if not skirt:
            side[0], depth[0] = 0.088 * who.girth + loose, 0.064 * who.girth + loose
        side[-1] = depth[-1] = 0.0
        edge = (start - hem) * h * (1.0 if who.bottom_trim == "plain" else 0.8)

        def trimmed(_: Array, along: Array) -> Array:
            return mix(*who.bottom_colours, along > edge)

        paint = trimmed if skirt else top_paint(who, (0.845 - start) * h)
        line = np.stack([0 * levels, levels * h, 0 * levels], axis=1)
        # Boxy, for the legs to swing inside.
        parts.append(tube(line, side * h, depth * h, paint, step, square=0.65))
    return parts


def _arm(who: Person, at: dict[str, Array], name: str, step: float) -> list[Surface]:
    h, thick = who.stature, 0.55 + 0.45 * who.girth
    shoulder, elbow, wrist = (at[f"{joint}_{name}"] for joint in ("shoulder", "elbow", "wrist"))
    line = [
        shoulder + 0.018 * h * UP,
        shoulder + 0.014 * h * UP,
        shoulder,
        0.5 * (shoulder + elbow),
        elbow,
        0.5 * (elbow + wrist),
        wrist,
    ]
    radius = h * thick * np.array([0.0, 0.02, 0.029, 0.028, 0.024, 0.022, 0.017])
    length = 0.322 * h
    reach = who.sleeve * length
    share = np.array([0.0, 0.0, 0.0, 0.27, 0.53, 0.77, 1.0])
    bulk = {"jacket": 0.01, "coat": 0.012, "tee": 0.008, "shirt": 0.005}.get(who.top, 0.003)
    radius[2:] += bulk * (share[2:] <= who.sleeve + 0.1)
    ground, second, _ = who.colours
    hooped = who.pattern in ("hoops", "checks", "dots", "pinstripe", "blotch")

    def paint(theta: Array, along: Array) -> Array:
        colour = np.broadcast_to(who.sleeve_colour, (len(theta), 3))
        if hooped and np.array_equal(who.sleeve_colour, ground):
            colour = mix(ground, second, print_mask(who, theta * np.float32(0.35), along))
        colour = mix(colour, colour * 0.6, np.abs(along - reach) < 0.012)
        return mix(colour, who.skin, along > reach)

    down = wrist - elbow
    down = down / np.linalg.norm(down)
    palm = [wrist - 0.01 * down, wrist, wrist + 0.05 * h * down, wrist + 0.06 * h * down]
    hand = tube(
        palm,
        h * np.array([0.0, 0.014, 0.016, 0.0]),
        h * np.array([0.0, 0.018, 0.022, 0.0]),
        plain(who.skin),
        step,
        cloth=False,
    )
    return [tube(line, radius, radius, paint, step), hand]


def _leg(who: Person, at: dict[str, Array], name: str, step: float) -> list[Surface]:
    h, thick = who.stature, 0.5 + 0.5 * who.girth
    hip, knee, ankle = (at[f"{joint}_{name}"] for joint in ("hip", "knee", "ankle"))
    line = [hip, 0.5 * (hip + knee), knee, 0.65 * knee + 0.35 * ankle, ankle, ankle - 0.012 * UP]
    bare = h * thick * np.array([0.05, 0.044, 0.031, 0.031, 0.02, 0.02])
    width = who.leg_width
    worn = h * thick * np.array([0.052, 0.048, 0.037 * width, 0.036 * width, 0.031 * width, 0.033])
    length = 0.46 * h
    covered = {"trousers": 2 * length, "shorts": 0.235 * h, "skirt": 0.0}[who.bottom]
    if who.top == "dress":
        covered = 0.0
    radius = worn if covered > length else bare
    main, trim = who.bottom_colours
    outside = np.float32(np.pi / 2 if name == "l" else -np.pi / 2)

    def paint(theta: Array, along: Array) -> Array:
        colour = np.broadcast_to(main, (len(theta), 3))
        if who.bottom_trim == "side":
            colour = mix(colour, trim, np.abs(theta - outside) < 0.5)
        elif who.bottom_trim == "cuff":
            colour = mix(colour, trim, along > 0.9 * min(covered, length))
        return mix(colour, who.skin, along > covered)

    parts = [tube(line, radius, radius, paint, step)]
    if 0 < covered < length:
        # Shorts hang wider than the thigh they cover.
        end = hip + (knee - hip) * 0.95
        line = [hip + 0.01 * UP, 0.5 * (hip + end), end, end]
        loose = h * thick * np.array([0.052, 0.052, 0.05 * width, 0.0])
        parts.append(tube(line, loose, loose, paint, step))
    # A trailing foot points down, a leading one lands on its heel.
    thigh, shin = (np.arctan2(v[2], -v[1]) for v in (knee - hip, ankle - knee))
    pitch = 0.6 * min(0.0, shin) + 0.5 * max(0.0, thigh - 0.1)
    ahead = np.array([0.0, np.sin(pitch), np.cos(pitch)])
    heel = ankle - 0.03 * h * (UP + ahead)
    upper, sole = who.shoes
    foot = tube(
        heel + h * np.outer([0.0, 0.002, 0.04, 0.1, 0.135, 0.142], ahead),
        h * np.array([0.0, 0.02, 0.023, 0.027, 0.022, 0.0]),
        h * np.array([0.0, 0.024, 0.027, 0.02, 0.014, 0.0]),
        lambda theta, _: mix(upper, sole, np.abs(theta) > 2.3),
        step,
    )
    shaft = tube(
        [ankle + 0.012 * h * UP, heel + 0.03 * h * ahead],
        [0.023 * h, 0.024 * h],
        [0.024 * h, 0.03 * h],
        plain(upper),
        step,
    )
    return [*parts, foot, shaft]


def _bag(who: Person, at: dict[str, Array], step: float) -> list[Surface]:
    h = who.stature
    shape = np.array([0.0, 0.85, 1.0, 1.0, 0.9, 0.0])
    down = np.array([0.0, 0.02, 0.25, 0.75, 0.98, 1.0])
    colour, dark = who.bag_colour, who.bag_colour * 0.55
    name = "l" if who.bag_side > 0 else "r"

    def box(top: ArrayLike, tall: float, wide: float, deep: float) -> Surface:
        def paint(_: Array, along: Array) -> Array:
            seam = (np.abs(along - 0.3 * tall) < 0.012) | (np.abs(along - 0.62 * tall) < 0.01)
            return mix(colour, dark, seam)

        line = np.asarray(top) - np.outer(down, tall * UP)
        return tube(line, wide * shape, deep * shape, paint, step, square=0.5)

    if who.bag == "backpack":
        return [box([0, 0.81 * h, -0.065 * h * who.girth - 0.07], 0.27 * h, 0.15, 0.09)]
    if who.bag == "shoulder":
        out = who.bag_side * (0.1 * h * who.girth + 0.055)
        return [box([out, 0.56 * h, -0.03], 0.24, 0.055, 0.15)]
    if who.bag == "hand":
        grip = at[f"wrist_{name}"] - 0.045 * h * UP
        handle = tube([grip, grip - 0.1 * UP], [0.008, 0.008], [0.03, 0.07], plain(dark), step)
        return [handle, box(grip - 0.08 * UP, 0.24, 0.05, 0.15)]
    return []


def surfaces(who: Person, how: Pose, step: float) -> list[Surface]:
    """All parts of a person in a pose, sampled every `step` metres, the lower foot on y = 0."""
    at = joints(who, how)
    ground = min(float(at["ankle_l"][1]), float(at["ankle_r"][1])) - 0.047 * who.stature
    parts = [*_head(who, how, step), *_trunk(who, how, step), *_bag(who, at, step)]
    for name in ("l", "r"):
        parts += _arm(who, at, name, step)
        parts += _leg(who, at, name, step)
    for part in parts:
        part.points[1] -= np.float32(ground)
    return parts
