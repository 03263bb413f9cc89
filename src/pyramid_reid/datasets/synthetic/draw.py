"""The embedded data set: procedural pedestrians seen by two surveillance cameras.

A pure function of its arguments. People differ in clothing, patterns, build and bags. They share
one palette, and camera, light and background change the mean colour of a crop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from pyramid_reid.core.progress import progress
from pyramid_reid.datasets.synthetic.body import surfaces
from pyramid_reid.datasets.synthetic.people import Array, person, pose
from pyramid_reid.datasets.synthetic.scene import CAMERAS, Camera, clutter, hit
from pyramid_reid.datasets.synthetic.tube import Surface

SUPERSAMPLING = 2
HEIGHTS = (96, 144)  # px, both included
RATIOS = (0.32, 0.55)  # width / height


@dataclass(frozen=True, slots=True)
class SyntheticCrop:
    """One person crop of the embedded set."""

    pid: int  # 1-based
    camid: int  # 1 or 2
    frame: int  # 1-based, per pid and camera
    pixels: NDArray[np.uint8]  # (height, width, 3) RGB


@dataclass(frozen=True, slots=True)
class View:
    """Pinhole camera at `eye` (3,) with unit axes as the rows right, up, ahead of `axes`."""

    eye: Array
    axes: Array

    def project(self, points: Array) -> Array:
        """(3, n) world points -> (3, n): image plane x, image plane y, depth in metres."""
        # Not `@`: einsum adds in a fixed order on any number of threads.
        seen: Array = np.einsum("ij,jn->in", self.axes, points - self.eye[:, None])
        seen[:2] /= seen[2]
        return seen


def _look_at(height: float, distance: float, target: float) -> View:
    eye = np.array([0.0, height, distance], np.float32)
    ahead = np.array([0.0, target - height, -distance])
    ahead /= np.linalg.norm(ahead)
    up = np.array([0.0, -ahead[2], ahead[1]])
    return View(eye, np.stack([[1.0, 0.0, 0.0], up, ahead]).astype(np.float32))


def _placed(parts: list[Surface], yaw: float, x: float, z: float) -> list[Surface]:
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]], np.float32)
    at = np.array([[x], [0], [z]], np.float32)
    return [
        replace(
            part,
            points=np.einsum("ij,jn->in", turn, part.points) + at,
            normals=np.einsum("ij,jn->in", turn, part.normals),
        )
        for part in parts
    ]


def _splat(
    parts: list[Surface],
    seen: list[Array],
    view: View,
    *,
    corner: NDArray[np.float64],
    scale: float,
    shape: tuple[int, int],
) -> tuple[NDArray[np.bool_], Array, Array, Array, NDArray[np.bool_]]:
    """Depth-buffer the parts: mask (h, w), then colour, normal, depth and cloth flag inside it."""
    h, w = shape
    points = np.concatenate(seen, axis=1)
    normals = np.concatenate([part.normals for part in parts], axis=1)
    world = np.concatenate([part.points for part in parts], axis=1)
    column = np.floor((points[0] - corner[0]) * scale).astype(np.int32)
    row = np.floor((corner[1] - points[1]) * scale).astype(np.int32)
    facing = sum(normals[i] * (view.eye[i] - world[i]) for i in range(3)) > 0
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    index = np.flatnonzero(facing & inside)
    depth = points[2, index]
    # 16 bits over at most a few metres are fractions of a millimetre, and sort fastest.
    rank = np.uint16(65535) - ((depth - depth.min()) * (65535 / np.ptp(depth))).astype(np.uint16)
    index = index[np.argsort(rank, kind="stable")]
    front = np.full(h * w, -1, np.int32)
    front[row[index] * w + column[index]] = index
    # A gap of one pixel, as at a bent knee, is closed from its neighbours.
    for gap in (1, w):
        holes = np.flatnonzero(front[gap:-gap] < 0) + gap
        holes = holes[(front[holes - gap] >= 0) & (front[holes + gap] >= 0)]
        front[holes] = front[holes - gap]
    mask = (front >= 0).reshape(h, w)
    front = front[front >= 0]
    starts = np.cumsum([0] + [len(part.theta) for part in parts])
    owner = np.searchsorted(starts, front, side="right") - 1
    colour = np.empty((len(front), 3), np.float32)
    cloth = np.empty(len(front), np.bool_)
    for number in np.unique(owner):
        part, mine = parts[number], owner == number
        local = front[mine] - starts[number]
        colour[mine] = part.paint(part.theta[local], part.along[local])
        cloth[mine] = part.cloth
    normal = normals[:, front]
    normal /= np.sqrt((normal**2).sum(axis=0)) + 1e-20
    return mask, colour, normal, points[2, front], cloth


def _sensor(radiance: Array, camera: Camera, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Exposure, colour cast, tone curve, lens blur, sharpening and noise: (h, w, 3) to 8 bit."""
    gain = camera.gain * np.exp(rng.normal(0, 0.17))
    warmth = rng.normal(0, 0.05)
    cast = np.array(camera.cast) * np.exp([warmth, rng.normal(0, 0.03), -warmth])
    light = np.clip(radiance * (gain * cast).astype(np.float32), 0, None)
    light = light / (1 + 0.25 * light)  # highlights roll off as on a cheap sensor
    signal = 255 * light ** np.float32(1 / (camera.gamma * np.exp(rng.normal(0, 0.04))))
    sigma = camera.blur * rng.uniform(0.8, 1.4)
    luma = signal.mean(axis=2, keepdims=True)
    chroma = gaussian_filter(signal - luma, (1.2, 1.2, 0))
    luma = gaussian_filter(luma, (sigma, sigma, 0))
    luma = luma + 0.5 * (luma - gaussian_filter(luma, (1.5, 1.5, 0)))
    grain = rng.normal(0, camera.noise, (*signal.shape[:2], 1))
    grain = grain + gaussian_filter(rng.normal(0, camera.noise, signal.shape), (0.8, 0.8, 0))
    return np.asarray(np.clip(np.rint(luma + chroma + grain), 0, 255), np.uint8)


def _box(
    low: Array, high: Array, height: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], float, int]:
    """A detector's box around image plane corners `low` and `high`: loose and shifted.

    Returns its upper left corner, the canvas pixels per image plane unit and its width in pixels.
    """
    tall, centre = high[1] - low[1], 0.5 * (low[0] + high[0])
    top = high[1] + tall * rng.uniform(-0.01, 0.07)
    bottom = low[1] - tall * rng.uniform(-0.02, 0.06)
    if rng.random() < 0.1:  # cut above the feet
        bottom = low[1] + tall * rng.uniform(0.06, 0.16)
    ratio = np.clip((high[0] - low[0]) / tall * rng.uniform(1.0, 1.3), 0.36, 0.5)
    width = round(float(ratio + rng.uniform(-0.03, 0.04)) * height)
    width = int(np.clip(width, np.ceil(RATIOS[0] * height), np.floor(RATIOS[1] * height)))
    scale = float(SUPERSAMPLING * height / (top - bottom))
    centre += rng.normal(0, 0.03) * tall
    return np.array([centre - 0.5 * SUPERSAMPLING * width / scale, top]), scale, width


def _ground_shadow(view: View, rays: Array, light: Array, length: float) -> Array:
    """(h, w) share of the light that the person keeps from the ground."""
    spot = view.eye + rays * hit(0.0, view.eye[1], rays[..., 1])[..., None]
    away = -light[[0, 2]] / np.hypot(light[0], light[2])
    along = spot[..., 0] * away[0] + spot[..., 2] * away[1]
    across = spot[..., 0] * away[1] - spot[..., 2] * away[0]
    along = along - np.clip(along, 0, length)
    return np.asarray(0.62 * np.exp(-(along**2 + across**2) / 0.07), np.float32)


def _shade(
    normal: Array,
    depth: Array,
    mask: NDArray[np.bool_],
    folds: Array,
    *,
    light: Array,
    ambient: float,
) -> Array:
    """(n,) brightness of the pixels in `mask` (h, w); `folds` (n,) is the share that cloth adds."""
    direct = np.clip(np.einsum("i,in->n", light, normal), 0, 1)
    shade = ambient * (0.75 + 0.25 * normal[1]) + (1 - ambient) * 1.25 * direct
    field = np.full(mask.shape, depth.max() + 0.15, np.float32)
    field[mask] = depth
    # What lies behind its surroundings gets less light from them.
    crease = np.clip((field - gaussian_filter(field, 5))[mask], 0, 0.2)
    return np.asarray(shade * (1 + folds) * (1 - 3.2 * crease), np.float32)


def _rail(canvas: Array, rng: np.random.Generator) -> Array:
    """Put two bars in front of everything."""
    height, width, _ = canvas.shape
    rows, columns = np.mgrid[:height, :width] / height
    first, slant = rng.uniform(0.45, 0.75), rng.uniform(-0.1, 0.1)
    for level in (first, first + 0.14):
        offset = (rows - level - slant * columns) / 0.014
        bar = np.sqrt(np.clip(1 - offset**2, 0, 1))[..., None]
        canvas = np.where(bar > 0, 0.1 + 0.3 * bar, canvas).astype(np.float32)
    return canvas


def _render(seed: int, pid: int, camid: int, frame: int) -> NDArray[np.uint8]:
    """(height, width, 3) RGB of one crop."""
    who = person(np.random.default_rng([seed, pid]))
    rng = np.random.default_rng([seed, pid, camid, frame])
    camera = CAMERAS[camid]
    height = int(rng.integers(HEIGHTS[0], HEIGHTS[1] + 1))
    step = 0.8 * who.stature / (SUPERSAMPLING * height)
    yaw = float(rng.choice([0.0, np.pi, np.pi / 2, -np.pi / 2], p=camera.views))
    parts = _placed(surfaces(who, pose(rng), step), yaw + rng.normal(0, 0.22), 0.0, 0.0)
    view = _look_at(rng.uniform(*camera.height), rng.uniform(*camera.distance), 0.5 * who.stature)
    seen = [view.project(part.points) for part in parts]
    low = np.min([spots.min(axis=1) for spots in seen], axis=0)
    high = np.max([spots.max(axis=1) for spots in seen], axis=0)
    corner, scale, width = _box(low, high, height, rng)

    if rng.random() < 0.15:
        # Somebody else, a little ahead or behind, at the edge of the box.
        other = surfaces(person(rng), pose(rng), 1.1 * step)
        side, back = rng.choice([-1, 1]) * rng.uniform(0.42, 0.6), rng.uniform(-2.5, 0.6)
        more = _placed(other, rng.uniform(-np.pi, np.pi), side, back)
        parts, seen = parts + more, seen + [view.project(part.points) for part in more]

    rows, columns = SUPERSAMPLING * (np.mgrid[:height, :width].astype(np.float32) + 0.5)
    across, down = corner[0] + columns / scale, corner[1] - rows / scale
    plane = np.stack([across, down, np.ones_like(down)], axis=-1).astype(np.float32)
    rays = np.einsum("...i,ij->...j", plane, view.axes)
    canvas = clutter(view.eye, rays, rng, camera.scene(view.eye, rays, rng))
    canvas = canvas * np.exp(rng.normal(0, 0.3)) * np.exp(rng.normal(0, 0.08, 3))
    light = (np.array(camera.light) + rng.normal(0, 0.15, 3)).astype(np.float32)
    light /= np.linalg.norm(light)
    canvas *= 1 - _ground_shadow(view, rays, light, camera.shadow)[..., None]

    # Only the people need the finer canvas: lines of the scene are soft already.
    canvas = canvas.repeat(SUPERSAMPLING, axis=0).repeat(SUPERSAMPLING, axis=1).astype(np.float32)
    shape = (SUPERSAMPLING * height, SUPERSAMPLING * width)
    mask, colour, normal, depth, cloth = _splat(
        parts, seen, view, corner=corner, scale=scale, shape=shape
    )
    folds = 12 * gaussian_filter(rng.normal(0, 1, shape).astype(np.float32), (5, 2.5))
    folds = 0.16 * np.clip(folds[mask], -1.5, 1.5) * cloth
    shade = _shade(normal, depth, mask, folds, light=light, ambient=camera.ambient)
    canvas[mask] = (colour + 0.012) * shade[:, None]
    canvas = canvas.reshape(height, SUPERSAMPLING, width, SUPERSAMPLING, 3).mean(axis=(1, 3))
    if rng.random() < 0.07:
        canvas = _rail(canvas, rng)
    return _sensor(canvas, camera, rng)


def draw(seed: int, identities: int, images_per_camera: int) -> Iterator[SyntheticCrop]:
    """Yield the crops in order of pid, camid and frame.

    A crop depends on `seed` and on its own (pid, camid, frame) only, not on how many are drawn.
    """
    for name, value, least in (
        ("seed", seed, 0),
        ("identities", identities, 1),
        ("images_per_camera", images_per_camera, 1),
    ):
        if value < least:
            raise ValueError(f"{name} must be at least {least}, but is {value}.")
    return (
        SyntheticCrop(pid, camid, frame, _render(seed, pid, camid, frame))
        for pid in range(1, identities + 1)
        for camid in sorted(CAMERAS)
        for frame in range(1, images_per_camera + 1)
    )


def write(folder: Path, seed: int, identities: int, images_per_camera: int) -> list[Path]:
    """Write the crops as PNG, `0001_c1_01.png` (pid, camera, frame), and return the paths."""
    crops = draw(seed, identities, images_per_camera)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    total = identities * len(CAMERAS) * images_per_camera
    for crop in progress(crops, "synthetic crops", "crops", total):
        path = folder / f"{crop.pid:04d}_c{crop.camid}_{crop.frame:02d}.png"
        Image.fromarray(crop.pixels).save(path)
        paths.append(path)
    return paths
