"""Painted tubes, the parts of a synthetic pedestrian's body.

A point of a tube's skin is named by an angle `theta` (0 ahead, +pi/2 to the left) and by `along`,
the length of centre line above it in metres, so garments keep their prints from any side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter1d

from pyramid_reid.datasets.synthetic.people import Array

Paint = Callable[[Array, Array], Array]  # (n,) theta, (n,) along -> (n, 3) linear RGB
Where = Callable[[Array, Array], NDArray[np.bool_]]  # (n,) theta, (n,) along -> (n,)


@dataclass(frozen=True, slots=True)
class Surface:
    """Densely sampled skin of one part: (n,) coordinates, (3, n) points and normals.

    The normals point outwards and have any length.
    """

    points: Array
    normals: Array
    theta: Array
    along: Array
    paint: Paint
    cloth: bool


def _outline(wide: float, deep: float, square: float, step: float) -> tuple[Array, Array, Array]:
    """Angles, with the outline's sine and cosine, spaced evenly along a cross-section."""
    fine = np.linspace(-np.pi, np.pi, 241)
    x, z = (np.sign(v) * np.abs(v) ** square for v in (np.sin(fine), np.cos(fine)))
    at = np.concatenate([[0.0], np.cumsum(np.hypot(wide * np.diff(x), deep * np.diff(z)))])
    even = np.linspace(0, at[-1], max(12, int(at[-1] / step) + 1))[:-1]
    theta, sin, cos = (np.interp(even, at, v).astype(np.float32) for v in (fine, x, z))
    return theta, sin, cos


def tube(
    centres: ArrayLike | Sequence[ArrayLike],
    wide: ArrayLike,
    deep: ArrayLike,
    paint: Paint,
    step: float,
    *,
    square: float = 1.0,
    keep: Where | None = None,
    cloth: bool = True,
) -> Surface:
    """Sample a tube every `step` metres.

    `centres` (m, 3) runs from top to bottom (of a foot: heel to toe); `wide` and `deep` (m,) are
    its half-axes along x and across; `square` below 1 makes the cross-section boxy; `keep` says
    which (theta, along) stay.
    """
    c, a, b = (np.asarray(value, np.float64) for value in (centres, wide, deep))
    spine = np.linalg.norm(np.diff(c, axis=0), axis=1)
    # Spacing follows the skin, not the spine, or flat ends would tear open.
    skin = np.sqrt(spine**2 + np.diff(a) ** 2 + np.diff(b) ** 2)
    at = np.concatenate([[0.0], np.cumsum(skin)])
    rows = max(8, int(at[-1] / step))
    s = np.linspace(0, at[-1], rows)
    smooth = 0.012 * rows / at[-1]
    curves = np.stack([np.interp(s, at, column) for column in (*c.T, a, b)])
    curves[:3] = gaussian_filter1d(curves[:3], smooth, axis=1, mode="nearest")
    along = np.interp(s, at, np.concatenate([[0.0], np.cumsum(spine)])).astype(np.float32)
    x, y, z, a, b = curves.astype(np.float32)
    ty, tz = np.gradient(y), np.gradient(z)
    norm = np.hypot(ty, tz) + 1e-9
    front_y, front_z = tz / norm, -ty / norm
    if np.ptp(y) < 1e-6 and np.ptp(z) < 1e-6:
        front_y, front_z = np.zeros_like(y), np.ones_like(y)
    theta, sin, cos = _outline(float(a.max()), float(b.max()), square, step)
    offset = b[:, None] * cos
    grid = np.stack(
        [
            x[:, None] + a[:, None] * sin,
            y[:, None] + offset * front_y[:, None],
            z[:, None] + offset * front_z[:, None],
        ]
    )
    down, around = np.empty_like(grid), np.empty_like(grid)
    np.subtract(grid[:, 2:], grid[:, :-2], out=down[:, 1:-1])
    down[:, 0], down[:, -1] = grid[:, 1] - grid[:, 0], grid[:, -1] - grid[:, -2]
    np.subtract(grid[:, :, 2:], grid[:, :, :-2], out=around[:, :, 1:-1])
    around[:, :, 0] = grid[:, :, 1] - grid[:, :, -1]
    around[:, :, -1] = grid[:, :, 0] - grid[:, :, -2]
    normal = np.stack(
        [
            down[1] * around[2] - down[2] * around[1],
            down[2] * around[0] - down[0] * around[2],
            down[0] * around[1] - down[1] * around[0],
        ]
    )
    angles = np.broadcast_to(theta, grid.shape[1:]).ravel()
    lengths = np.broadcast_to(along[:, None], grid.shape[1:]).ravel()
    points, normals = grid.reshape(3, -1), normal.reshape(3, -1)
    if keep is not None:
        kept = keep(angles, lengths)
        points, normals = points[:, kept], normals[:, kept]
        angles, lengths = angles[kept], lengths[kept]
    return Surface(points, normals, angles, lengths, paint, cloth)


def plain(colour: Array) -> Paint:
    """One colour all over."""
    return lambda theta, _: np.broadcast_to(colour, (len(theta), 3))


def mix(under: Array, over: Array, where: Array | NDArray[np.bool_]) -> Array:
    """Lay colour `over` on `under` ((3,) or (n, 3)) with (n,) opacity `where`."""
    opacity = np.asarray(where, np.float32)[:, None]
    return np.asarray(under * (1 - opacity) + over * opacity, np.float32)
