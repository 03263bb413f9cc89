"""The two surveillance cameras of the synthetic set, and what lies behind the people they see.

World frame, in metres: the person stands at the origin, y is up, the camera is on the +z side.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from pyramid_reid.datasets.synthetic.people import Array, linear


@dataclass(frozen=True, slots=True)
class Camera:
    """One surveillance camera: where it hangs, its light, its sensor and what lies behind."""

    height: tuple[float, float]  # m
    distance: tuple[float, float]  # m
    views: tuple[float, float, float, float]  # shares of front, back, left and right
    light: tuple[float, float, float]  # towards the lamp or the sun
    ambient: float  # share of the light that has no direction
    shadow: float  # m, length of the cast shadow
    gain: float
    cast: tuple[float, float, float]
    gamma: float
    blur: float  # px
    noise: float  # standard deviation, of 255
    scene: Callable[[Array, Array, np.random.Generator], Array]


def _lines(value: Array, period: float, width: float) -> Array:
    """1 on soft-edged lines `width` metres wide every `period` metres, 0 between."""
    near = np.abs((value / period + 0.5) % 1 - 0.5) * period
    return np.asarray(np.clip(1.5 - near / width * 2, 0, 1), np.float32)


def _lay(under: Array, colour: Array, opacity: ArrayLike) -> Array:
    """Lay `colour` ((3,) or (h, w, 3)) over (h, w, 3) with (h, w) `opacity`."""
    share = np.asarray(opacity, np.float32)[..., None]
    return np.asarray(under + (colour - under) * share, np.float32)


def _turned(eye: Array, rays: Array, angle: float) -> tuple[Array, Array]:
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    return np.einsum("i,ij->j", eye, turn), np.einsum("...i,ij->...j", rays, turn)


def hit(level: float, eye: float, ray: Array) -> Array:
    """Distance along `ray` to the plane at `level`; far away where the ray never meets it."""
    with np.errstate(divide="ignore", invalid="ignore"):
        far = (level - eye) / ray
    return np.where((far > 0) & np.isfinite(far), far, 1e3).astype(np.float32)


def corridor(eye: Array, rays: Array, rng: np.random.Generator) -> Array:
    """Radiance (h, w, 3) of a corridor: tiles, painted walls with doors and notices, an end."""
    eye, rays = _turned(eye, rays, rng.uniform(-0.5, 0.5))
    left, right = -rng.uniform(0.9, 2.2), rng.uniform(0.9, 2.2)
    shift, end = rng.uniform(0, 20), rng.uniform(4, 14)
    hits = np.stack(
        [
            hit(0.0, eye[1], rays[..., 1]),
            np.minimum(
                np.where(rays[..., 0] < 0, hit(left, eye[0], rays[..., 0]), 1e3),
                np.where(rays[..., 0] > 0, hit(right, eye[0], rays[..., 0]), 1e3),
            ),
            hit(-end, eye[2], rays[..., 2]),
        ]
    )
    what = hits.argmin(axis=0)
    x, y, z = np.moveaxis(eye + rays * hits.min(axis=0)[..., None], -1, 0)
    along = np.where(what == 1, z, x) + np.float32(shift)
    wall = np.broadcast_to(linear((196, 194, 184)), rays.shape)
    wall = _lay(wall, linear((128, 146, 150)), y < 1.05)
    wall = _lay(wall, linear((96, 98, 100)), _lines(y - 1.05, 50, 0.06))
    door = along % 3.1
    wall = _lay(wall, linear((92, 96, 104)), (door < 1.15) & (y < 2.15))
    leaf = linear(rng.choice([(142, 104, 72), (110, 124, 140)]))
    wall = _lay(wall, leaf, (np.abs(door - 0.57) < 0.46) & (y < 2.08))
    for _ in range(3):
        poster = np.abs(along - shift - rng.uniform(-4, 4)) < rng.uniform(0.2, 0.45)
        colour = rng.uniform(0.05, 0.6, 3).astype(np.float32)
        wall = _lay(wall, colour, poster & (np.abs(y - 1.5) < 0.3))
    wall = _lay(wall, linear((54, 54, 58)), y < 0.11)
    wall = wall * (0.72 + 0.28 * np.cos(1.7 * along)[..., None] ** 2)
    floor = np.broadcast_to(linear((150, 148, 142)), rays.shape)
    tile = (np.floor((x - left) / 0.45) + np.floor((z + shift) / 0.45)) % 2
    floor = _lay(floor, linear((136, 136, 134)), tile)
    joint = np.maximum(_lines(x - left, 0.45, 0.02), _lines(z + shift, 0.45, 0.02))
    floor = _lay(floor, linear((98, 98, 98)), 0.8 * joint)
    border = np.minimum(x - left, right - x)
    floor = _lay(floor, linear((88, 96, 106)), (border > 0.12) & (border < 0.32))
    sheen = np.clip(np.cos(1.7 * (z + shift)), 0, 1) ** 6 * np.exp(-((x / 0.8) ** 2))
    floor = floor + 0.22 * sheen[..., None]
    return np.asarray(np.where((what == 0)[..., None], floor, wall), np.float32)


def shop_front(eye: Array, rays: Array, rng: np.random.Generator) -> Array:
    """Radiance (h, w, 3) of a shop front: paving, plinth, glass with goods behind, a sign."""
    eye, rays = _turned(eye, rays, rng.uniform(-0.35, 0.35))
    depth, shift = rng.uniform(0.9, 4.5), rng.uniform(0, 20)
    ground, facade = hit(0.0, eye[1], rays[..., 1]), hit(-depth, eye[2], rays[..., 2])
    x, y, z = np.moveaxis(eye + rays * np.minimum(ground, facade)[..., None], -1, 0)
    u = x + np.float32(shift)
    # Goods stand half a metre behind the glass, so they shift against its frame.
    inside = np.moveaxis(eye + rays * hit(-depth - 0.6, eye[2], rays[..., 2])[..., None], -1, 0)
    column = np.floor((inside[0] + shift) / 0.23).astype(int) % 16
    shelf = np.floor(inside[1] / 0.42).astype(int) % 8
    goods = rng.uniform(0.02, 0.4, (8, 16, 1)) * rng.uniform(0.6, 1.2, (8, 16, 3))
    glass = 0.55 * goods[shelf, column] + 0.02
    glass = _lay(glass, linear((60, 58, 56)), _lines(inside[1], 0.42, 0.05))
    glass = _lay(glass, linear((34, 38, 44)), (np.floor(inside[0] / 1.9 + shift) % 2 == 0) * 0.8)
    streak = np.clip(np.sin(2.2 * u + 1.3 * y + shift), 0, 1) ** 3
    glass = _lay(glass, linear((168, 190, 206)), 0.12 + 0.35 * streak)
    front = _lay(glass, linear((62, 64, 66)), _lines(u, 1.45, 0.09))
    front = _lay(front, linear((62, 64, 66)), _lines(y - 2.3, 50, 0.08))
    brick = np.broadcast_to(linear((150, 120, 100)), rays.shape)
    mortar = np.maximum(_lines(y, 0.09, 0.02), _lines(u, 0.24, 0.02))
    brick = _lay(brick, linear((176, 160, 146)), mortar)
    front = np.where((y < 0.3)[..., None] | (u % 8.7 < 1.2)[..., None], brick, front)
    front = _lay(front, linear((182, 176, 164)), np.abs(y - 0.32) < 0.05)
    sign = linear(rng.choice([(120, 38, 40), (36, 70, 96), (214, 208, 190), (46, 84, 60)]))
    front = _lay(front, sign, y > 2.5)
    slab = np.floor(u / 0.6) * 7 + np.floor((z + shift) / 0.4) * 13
    paving = linear((172, 164, 152)) * (0.88 + 0.06 * (slab % 5))[..., None] * 0.9
    joint = np.maximum(_lines(u, 0.6, 0.02), _lines(z + shift, 0.4, 0.02))
    paving = _lay(paving, linear((104, 98, 92)), 0.8 * joint)
    return np.asarray(np.where((ground < facade)[..., None], paving, front), np.float32)


CAMERAS = {
    1: Camera(
        height=(2.3, 2.8),
        distance=(5.0, 9.0),
        views=(0.36, 0.26, 0.19, 0.19),
        light=(0.25, 0.9, 0.45),
        ambient=0.55,
        shadow=0.25,
        gain=1.0,
        cast=(0.92, 1.02, 1.06),
        gamma=2.1,
        blur=0.45,
        noise=3.0,
        scene=corridor,
    ),
    2: Camera(
        height=(2.7, 3.6),
        distance=(5.5, 9.5),
        views=(0.28, 0.28, 0.22, 0.22),
        light=(-0.75, 0.6, 0.5),
        ambient=0.48,
        shadow=0.9,
        gain=1.15,
        cast=(1.09, 0.99, 0.86),
        gamma=2.3,
        blur=0.55,
        noise=3.6,
        scene=shop_front,
    ),
}


def clutter(eye: Array, rays: Array, rng: np.random.Generator, canvas: Array) -> Array:
    """Put bins, boards and pillars behind the person, as shaded upright strips."""
    for _ in range(int(rng.choice(3, p=[0.45, 0.35, 0.2]))):
        back = rng.uniform(0.5, 2.5)
        spot = eye + rays * hit(-back, eye[2], rays[..., 2])[..., None]
        half, tall = rng.uniform(0.08, 0.3), float(rng.choice([0.55, 0.9, 1.2, 3.0]))
        across = (spot[..., 0] - rng.choice([-1, 1]) * rng.uniform(0.25, 0.75)) / half
        round_shade = np.sqrt(np.clip(1 - across**2, 0.05, 1))
        colour = rng.uniform(0.02, 0.35) * rng.uniform(0.8, 1.2, 3)
        there = (np.abs(across) < 1) & (spot[..., 1] > 0) & (spot[..., 1] < tall)
        canvas = np.where(there[..., None], colour * round_shade[..., None], canvas)
    return canvas
