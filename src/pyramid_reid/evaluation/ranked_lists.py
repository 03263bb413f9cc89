"""Picture of ranked lists: the nearest crops of a query, with the distance in each branch.

Drawn with Pillow: a hundred axes of matplotlib take seconds, this takes hundredths of a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pyramid_reid.core.crops import CropStore, Pixels
from pyramid_reid.core.errors import UserError
from pyramid_reid.core.figures import COLORS
from pyramid_reid.evaluation.rankings import Split
from pyramid_reid.retrieval.distance import DistanceReader
from pyramid_reid.retrieval.fusion import fuse

TOP = 10
"""Gallery crops shown per query."""
EACH = 2
"""Queries shown of the best, of the middle and of the worst."""
WIDTH, HEIGHT = 76, 152
"""Box of a crop, in pixels."""
FRAME, GAP, LINE, LEFT = 4, 10, 13, 76
RIGHT_COLOR, WRONG_COLOR = "#009E73", "#D55E00"
"""Green and red that colour-blind people can tell apart; a tick and a cross say the same."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A crop of a ranked list.

    Attributes:
        pixels: RGB.
        right: it shows the query's person.
        distances: per ranking.
    """

    pixels: Annotated[Pixels, "H W 3"]
    right: bool
    distances: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RankedList:
    """A query and its nearest gallery crops, nearest first."""

    title: str
    query: Annotated[Pixels, "H W 3"]
    nearest: Sequence[Shown]


def pick(precision: Annotated[NDArray[np.float64], "num_query"], each: int) -> dict[str, list[int]]:
    """Best, median and worst queries by average precision, `each` of them, no query twice."""
    order = np.argsort(-precision, kind="stable")
    each = max(1, min(each, len(order) // 3))
    middle = (len(order) - each) // 2
    picked = {
        "best": order[:each],
        "median": order[middle : middle + each],
        "worst": order[len(order) - each :],
    }
    return {name: [int(row) for row in rows] for name, rows in picked.items()}


def nearest(
    distances: Annotated[NDArray[np.float32], "num_gallery"],
    query: pd.Series,
    gallery: pd.DataFrame,
    rule: str,
) -> list[int]:
    """Gallery rows of the nearest crops that count; at a tie the other person's come first.

    Args:
        distances: fused.
        query: its pid and camid.
        gallery: columns pid, camid.
        rule: market1501 leaves out the own camera's crops of the person. A single-shot list is
            drawn of the whole gallery, of which its figures only see one crop per person.
    """
    same = (gallery.pid == query.pid).to_numpy()
    counts = ~same | (gallery.camid != query.camid).to_numpy() | (rule == "all_shot")
    order = np.lexsort((same, distances))
    return [int(row) for row in order[counts[order]][:TOP]]


def lists(
    split: Split,
    folders: Mapping[str, Path],
    store: CropStore,
    weights: Mapping[str, float],
    rule: str,
) -> list[RankedList]:
    """Ranked lists of the queries that the fusion found easiest, of the middle, and hardest.

    Args:
        folders: of each branch's distances in this split.
        store: crops of branch ori in this split.

    Raises:
        UserError: the store does not hold the crops that were ranked.
    """
    rows = {}
    for role, ranked in (("query", split.query), ("gallery", split.gallery)):
        rows[role] = store.rows(role)
        if store.index.source.iloc[rows[role]].tolist() != ranked.source.tolist():
            raise UserError(f"the {role} crops of {split.name} are not those that were ranked")
    results = split.results["fused"]
    precision = results.average_precision.mean(axis=0)
    done = []
    with ExitStack() as stack:
        readers = {
            branch: stack.enter_context(DistanceReader(folder / "distmat.npy"))
            for branch, folder in folders.items()
        }
        for kind, places in pick(precision, EACH).items():
            for place in places:
                row = int(results.query[place])
                parts = {branch: reader.row(row) for branch, reader in readers.items()}
                distances = {"fused": fuse(parts, weights), **parts}
                query = split.query.iloc[row]
                shown = [
                    Shown(
                        store[rows["gallery"][column]],
                        bool(split.gallery.pid.iat[column] == query.pid),
                        {name: float(values[column]) for name, values in distances.items()},
                    )
                    for column in nearest(distances["fused"], query, split.gallery, rule)
                ]
                title = f"{kind}\nAP {100 * precision[place]:.0f} %\nperson {query.pid}"
                done.append(RankedList(title, store[rows["query"][row]], shown))
    return done


def draw(path: Path, lists: Sequence[RankedList]) -> None:
    """Draw the lists one below the other."""
    font = ImageFont.load_default(11)
    names = list(lists[0].nearest[0].distances)
    below = LINE * (len(names) + 1)
    width = LEFT + (WIDTH + GAP) * (TOP + 1) + GAP
    row_height = HEIGHT + below + 3 * GAP
    canvas = Image.new("RGB", (width, row_height * len(lists) + LINE + GAP), "white")
    pen = ImageDraw.Draw(canvas)
    pen.text(
        (GAP, 4),
        "Queries and their nearest gallery crops, with distances. Tick: the same person; cross:"
        " another",
        font=font,
        fill="black",
    )
    for number, ranked in enumerate(lists):
        top = LINE + GAP + number * row_height
        pen.multiline_text((GAP, top), ranked.title, font=font, fill="black")
        for line, name in enumerate(names, start=1):
            corner = (GAP, top + HEIGHT + LINE * line)
            pen.text(corner, name, font=font, fill=COLORS[name], stroke_width=0.3)
        _paste(canvas, ranked.query, LEFT, top)
        for place, shown in enumerate(ranked.nearest, start=1):
            left = LEFT + GAP + (WIDTH + GAP) * place
            _paste(canvas, shown.pixels, left, top)
            color = RIGHT_COLOR if shown.right else WRONG_COLOR
            box = (left - FRAME, top - FRAME, left + WIDTH + FRAME - 1, top + HEIGHT + FRAME - 1)
            pen.rectangle(box, outline=color, width=FRAME)
            _mark(pen, left + WIDTH - 16, top, color, shown.right)
            pen.text((left, top + HEIGHT + 3), f"{place}.", font=font, fill="black")
            for line, name in enumerate(names, start=1):
                value = (left + 18, top + HEIGHT + LINE * line)
                pen.text(value, f"{shown.distances[name]:.3f}", font=font, fill="black")
    path.parent.mkdir(parents=True, exist_ok=True)
    # a palette: a third of the bytes, which Git keeps for each result, in a third of the time
    canvas.quantize(255, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(path)


def _paste(canvas: Image.Image, pixels: Pixels, left: int, top: int) -> None:
    """Put a crop into its box, as large as fits, pixels as they are."""
    height, width = pixels.shape[:2]
    scale = min(WIDTH / width, HEIGHT / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    image = Image.fromarray(np.asarray(pixels)).resize(size, Image.Resampling.NEAREST)
    canvas.paste(image, (left + (WIDTH - size[0]) // 2, top + (HEIGHT - size[1]) // 2))


def _mark(pen: ImageDraw.ImageDraw, left: int, top: int, color: str, right: bool) -> None:
    """A tick or a cross in a white corner."""
    pen.rectangle((left, top, left + 15, top + 15), fill="white")
    if right:
        pen.line([(left + 3, top + 8), (left + 6, top + 12), (left + 13, top + 3)], color, 3)
    else:
        pen.line([(left + 3, top + 3), (left + 12, top + 12)], color, 3)
        pen.line([(left + 3, top + 12), (left + 12, top + 3)], color, 3)
