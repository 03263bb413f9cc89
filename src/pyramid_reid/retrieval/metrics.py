"""CMC, mAP and mINP from a distance matrix, exactly, a few rows at a time.

Three rules say which gallery images a query is ranked against:

- `market1501`: all except those of the query's person from the query's camera (Zheng et al., ICCV
  2015).
- `all_shot`: all; cameras are ignored.
- `single_shot`: one random image per person, drawn several times (CUHK03 classic, VIPeR,
  CAVIAR4REID). A draw is the same for all queries. If the drawn image of the query's person is from
  the query's camera, that person's next drawn image from another camera replaces it. Images of pids
  without a query are distractors, and all of them are ranked: many sets give all strangers one pid
  (Market-1501's 0000), and drawing a single image for all of these would leave almost no gallery.

Ties: an image of another person at the same distance as a true match is ranked before it. So the
figures do not depend on the order of the gallery, and a network that gives all images the same
feature scores zero. Infinite distances are ranked like any others; NaN is refused.

A query without a true match cannot be ranked and is left out, as in all public evaluators; the
results say which queries were judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pyramid_reid.retrieval.arrays import as_array, labels, numbers, real_array

Ints = NDArray[np.integer]
Labels = NDArray[Any]
"""Whole numbers, or names."""
Rule = Literal["market1501", "all_shot", "single_shot"]

RANKS = (1, 5, 10, 20)
"""The k of the Rank-k figures that are reported."""
CHUNK_BYTES = 2**21
"""Distances that are judged at a time: what stays in a core's cache while it is sorted."""


@dataclass(frozen=True, slots=True)
class QueryResults:
    """What each judged query reached.

    Attributes:
        query: rows of the queries that have a true match, rising.
        gallery_size: gallery images that each of them is ranked against, in each draw.
        first_rank: rank of the nearest true match, from 1; one draw unless the rule is
            single_shot.
        average_precision: mean of the precision at each true match, in (0, 1].
        inverse_negative_penalty: share of true matches among all down to the last of them, in
            (0, 1] (INP; Ye et al., TPAMI 2021).
    """

    query: Annotated[NDArray[np.int64], "num_judged"]
    gallery_size: Annotated[NDArray[np.int64], "num_judged"]
    first_rank: Annotated[NDArray[np.int64], "draws num_judged"]
    average_precision: Annotated[NDArray[np.float64], "draws num_judged"]
    inverse_negative_penalty: Annotated[NDArray[np.float64], "draws num_judged"]


class Judge:
    """Judges the queries of one distance matrix, which is handed over in runs of rows.

    The ranks of the true matches are counted in rows of sorted distances: no order of images is
    ever computed or kept.

    Attributes:
        num_query, num_gallery: how many there are.
        num_draws: single-shot galleries; 1 under other rules.
        results: filled in by `judge`.
    """

    def __init__(
        self,
        query_pids: Annotated[ArrayLike, "num_query"],
        query_camids: Annotated[ArrayLike, "num_query"],
        gallery_pids: Annotated[ArrayLike, "num_gallery"],
        gallery_camids: Annotated[ArrayLike, "num_gallery"],
        rule: Rule = "market1501",
        draws: int = 1,
        seed: int = 0,
    ) -> None:
        """Find each query's true matches.

        Args:
            query_pids, query_camids: whole numbers or names.
            rule: see above.
            draws: how often a single-shot gallery is drawn; other rules ignore it.
            seed: of the draws. They go by the place of an image in the gallery: a shuffled gallery
                gives other draws.

        Raises:
            ValueError: there is no query, none has a true match, labels are neither whole numbers
                nor names, their numbers do not fit, or rule or draws is none.
        """
        if rule not in get_args(Rule):
            raise ValueError(f"the rule {rule!r} is none of {', '.join(get_args(Rule))}")
        if draws < 1:
            raise ValueError(f"{draws} single-shot galleries cannot be drawn: at least 1")
        query_pids, query_camids = _pair(query_pids, query_camids, "query")
        gallery_pids, gallery_camids = _pair(gallery_pids, gallery_camids, "gallery")
        for name, ours, theirs in (
            ("pids", query_pids, gallery_pids),
            ("camids", query_camids, gallery_camids),
        ):
            if len(theirs) and ours.dtype.kind != theirs.dtype.kind:
                raise ValueError(f"query_{name} and gallery_{name}: one are numbers, one are text")
        if not len(query_pids):
            raise ValueError("there is no query")
        self._pids, self._camids = query_pids, query_camids
        self.num_query, self.num_gallery = len(query_pids), len(gallery_pids)
        # the images of each query's person, flat: those of query q are _own[_start[q]:_start[q+1]]
        by_pid = np.argsort(gallery_pids, kind="stable")
        sorted_pids = gallery_pids[by_pid]
        first = np.searchsorted(sorted_pids, query_pids, side="left")
        counts = np.searchsorted(sorted_pids, query_pids, side="right") - first
        self._start = np.concatenate([[0], np.cumsum(counts)])
        flat = np.arange(self._start[-1]) - np.repeat(self._start[:-1] - first, counts)
        self._own = by_pid[flat]
        camids = gallery_camids[self._own]
        self._true = (camids != np.repeat(query_camids, counts)) | (rule == "all_shot")
        matches = np.bincount(
            np.repeat(np.arange(len(query_pids)), counts)[self._true], minlength=len(query_pids)
        )
        valid = np.flatnonzero(matches)
        if not valid.size:
            raise ValueError(_no_match(query_pids, query_camids, rule))
        self._place = np.cumsum(matches > 0) - 1  # of a query's results among those of valid ones
        self._matches = matches
        single = rule == "single_shot"
        if single:
            self._draw(by_pid, sorted_pids, np.repeat(np.arange(len(counts)), counts), draws, seed)
        self._single = single
        self.num_draws = draws if single else 1
        shape = (self.num_draws, len(valid))
        size = self.num_gallery - counts[valid] + matches[valid]
        if single:
            size = np.full(len(valid), len(self._drawn[0]))
        self.results = QueryResults(
            valid, size, np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape)
        )

    def _draw(
        self, by_pid: Ints, sorted_pids: Labels, query_of_own: Ints, draws: int, seed: int
    ) -> None:
        """Draw the single-shot galleries: of each person, and as true match of each query."""
        first = np.concatenate([[True], sorted_pids[1:] != sorted_pids[:-1]])
        group_start = np.flatnonzero(first | ~np.isin(sorted_pids, self._pids))
        people = sorted_pids[group_start]
        self._person = np.minimum(np.searchsorted(people, self._pids), len(people) - 1)
        true_of = query_of_own[self._true]
        starts = np.flatnonzero(np.diff(true_of, prepend=-1))
        rng = np.random.default_rng(seed)
        self._drawn, self._match = [], []
        for _ in range(draws):
            at_place = rng.permutation(self.num_gallery)  # images from the first drawn to the last
            place = np.empty_like(at_place)
            place[at_place] = np.arange(self.num_gallery)
            self._drawn.append(at_place[np.minimum.reduceat(place[by_pid], group_start)])
            own = place[self._own[self._true]]
            self._match.append(at_place[np.minimum.reduceat(own, starts)])

    def columns(
        self, query: int
    ) -> list[tuple[Annotated[NDArray[np.int64], "true"], Annotated[NDArray[np.int64], "others"]]]:
        """Gallery images of the query's true matches and of other people, per draw."""
        if self._single and self._matches[query]:
            place, person = self._place[query], self._person[query]
            return [
                (match[place : place + 1], np.delete(drawn, person))
                for drawn, match in zip(self._drawn, self._match, strict=True)
            ]
        span = slice(self._start[query], self._start[query + 1])
        others = np.ones(self.num_gallery, bool)
        others[self._own[span]] = False
        return [(self._own[span][self._true[span]], np.flatnonzero(others))]

    def gallery(self, draw: int) -> Annotated[NDArray[np.int64], "images"] | slice:
        """Gallery images that queries are ranked against in a draw, rising; all of them as a slice.

        Those that were drawn of each person, and those that take the place of one from a query's
        own camera. What is made of more than two images at once, as re-ranking is, must be made of
        these alone.
        """
        if not self._single:
            return slice(None)
        return np.unique(np.concatenate([self._drawn[draw], self._match[draw]]))

    def judge(
        self, start: int, distances: Annotated[ArrayLike, "rows images"], draw: int | None = None
    ) -> None:
        """Judge the queries from row `start` on.

        Args:
            start: query of the first row.
            distances: smaller is nearer; of all gallery images; floats are sorted in place.
            draw: judge this draw alone; distances are of the images of its `gallery` only.

        Raises:
            ValueError: the size does not fit, or distances are no numbers, or NaN.
        """
        columns = self.gallery(draw) if self._single and draw is not None else slice(None)
        distances = numbers(distances, "distances", 2)
        if not distances.flags.writeable:
            distances = distances.copy()
        width = self.num_gallery if isinstance(columns, slice) else len(columns)
        if distances.shape[1] != width or not 0 <= start <= len(self._pids) - len(distances):
            raise ValueError(
                f"distances are {distances.shape} for {width} images and the queries from {start}"
                f" on, of {len(self._pids)}"
            )
        queries = np.arange(start, start + len(distances))
        lost = np.isnan(distances.min(axis=1))
        if lost.any():
            row = int(queries[lost][0])
            raise ValueError(
                f"query {row} (pid {self._pids[row]}, camid {self._camids[row]}) has a distance"
                " that is NaN"
            )
        judged = queries[self._matches[queries] > 0]
        if judged.size and self._single:
            for each in range(self.num_draws) if draw is None else [draw]:
                self._judge_draw(each, columns, distances, judged, start)
        elif judged.size:
            self._judge_all(distances, judged, start)

    def _judge_draw(
        self,
        draw: int,
        columns: NDArray[np.int64] | slice,
        distances: NDArray[np.floating],
        judged: Ints,
        start: int,
    ) -> None:
        """Ranks in one single-shot gallery; `columns` are the images that distances are of."""
        places, rows, results = self._place[judged], judged - start, self.results
        drawn, match = self._drawn[draw], self._match[draw][places]
        if not isinstance(columns, slice):
            drawn, match = np.searchsorted(columns, drawn), np.searchsorted(columns, match)
        nearer = distances[rows[:, None], drawn] <= distances[rows, match][:, None]
        nearer[np.arange(len(judged)), self._person[judged]] = False  # (judged, people)
        rank = 1 + np.count_nonzero(nearer, axis=1)
        results.first_rank[draw, places] = rank
        results.average_precision[draw, places] = 1 / rank
        results.inverse_negative_penalty[draw, places] = 1 / rank

    def _judge_all(self, distances: NDArray[np.floating], judged: Ints, start: int) -> None:
        """Ranks of all true matches in the whole gallery."""
        own = slice(self._start[judged[0]], self._start[judged[-1] + 1])
        span = np.arange(judged[0], judged[-1] + 1)
        row = np.repeat(span - start, np.diff(self._start[span[0] : span[-1] + 2]))
        values = distances[row, self._own[own]]
        distances[row, self._own[own]] = np.inf  # out of the way of the other people's images
        distances.sort(axis=1)
        true = self._true[own]
        row, values = row[true], values[true]
        values = values[np.lexsort((values, row))]
        counts = self._matches[judged]
        ends = np.cumsum(counts)
        starts = ends - counts
        others = self.num_gallery - (self._start[judged + 1] - self._start[judged])
        ranks = np.empty(len(values), np.int64)
        for query, first, end in zip(judged - start, starts, ends, strict=True):
            ranks[first:end] = distances[query].searchsorted(values[first:end], side="right")
        number = np.arange(1, len(values) + 1) - np.repeat(starts, counts)  # 1st, 2nd, … match
        ranks = np.minimum(ranks, np.repeat(others, counts)) + number
        places, results = self._place[judged], self.results
        results.first_rank[0, places] = ranks[starts]
        results.average_precision[0, places] = np.add.reduceat(number / ranks, starts) / counts
        results.inverse_negative_penalty[0, places] = counts / ranks[ends - 1]


def _pair(pids: ArrayLike, camids: ArrayLike, role: str) -> tuple[Labels, Labels]:
    """Pids and camids of the same images.

    Raises:
        ValueError: they are no labels, or not as many.
    """
    pids, camids = labels(pids, f"{role}_pids"), labels(camids, f"{role}_camids")
    if len(pids) != len(camids):
        raise ValueError(f"{role}_pids has {len(pids)} entries, {role}_camids {len(camids)}")
    return pids, camids


def _no_match(query_pids: Labels, query_camids: Labels, rule: Rule) -> str:
    named = ", ".join(
        f"query {row} (pid {pid}, camid {camid})"
        for row, (pid, camid) in enumerate(zip(query_pids[:5], query_camids[:5], strict=True))
    )
    more = f" and {len(query_pids) - 5} more" if len(query_pids) > 5 else ""
    elsewhere = "" if rule == "all_shot" else " from another camera (the own one does not count)"
    return f"{named}{more}: the gallery has no image of any of these people{elsewhere}"


def rows_at_a_time(num_gallery: int) -> int:
    """How many rows of float32 distances to judge at a time."""
    return max(1, CHUNK_BYTES // (4 * max(1, num_gallery)))


def evaluate(
    distmat: Annotated[ArrayLike, "num_query num_gallery"],
    query_pids: Annotated[ArrayLike, "num_query"],
    query_camids: Annotated[ArrayLike, "num_query"],
    gallery_pids: Annotated[ArrayLike, "num_gallery"],
    gallery_camids: Annotated[ArrayLike, "num_gallery"],
    rule: Rule = "market1501",
    draws: int = 1,
    seed: int = 0,
) -> QueryResults:
    """Judge every query of a distance matrix, which is left as it is.

    Args:
        distmat: smaller is nearer; of any real numbers, as an array, a
            tensor of torch or nested lists.
        query_pids, query_camids: whole numbers or names.
        rule, draws, seed: as `Judge` takes them.

    Raises:
        ValueError: there is no query, sizes do not fit, distances are no numbers, one is NaN, or no
            query has a true match in the gallery; or as `Judge`.
    """
    judge = Judge(query_pids, query_camids, gallery_pids, gallery_camids, rule, draws, seed)
    distances = real_array(distmat, "distmat", 2)
    if distances.shape != (judge.num_query, judge.num_gallery):
        raise ValueError(
            f"distmat is {distances.shape} for {judge.num_query} queries and"
            f" {judge.num_gallery} gallery images"
        )
    rows = rows_at_a_time(judge.num_gallery)
    for start in range(0, judge.num_query, rows):
        judge.judge(start, np.array(distances[start : start + rows]))
    return judge.results


def cmc(
    first_rank: Annotated[ArrayLike, "..."], max_rank: int
) -> Annotated[NDArray[np.float64], "max_rank"]:
    """Cumulative matching characteristic: share of queries matched at rank k = 1 … max_rank.

    Args:
        first_rank: of any shape, from 1. Ranks beyond the gallery's size repeat the last share.

    Raises:
        ValueError: there is no rank, or one is no whole number from 1.
    """
    ranks = labels(as_array(first_rank, "first_rank").ravel(), "first_rank")
    if not ranks.size or ranks.dtype.kind == "U" or ranks.min() < 1:
        raise ValueError("first_rank must hold whole numbers from 1, one at least")
    counts = np.bincount(np.minimum(ranks, max_rank + 1), minlength=max_rank + 2)
    return np.asarray(np.cumsum(counts)[1 : max_rank + 1] / ranks.size)


def summaries(results: QueryResults) -> dict[str, Annotated[NDArray[np.float64], "draws"]]:
    """Rank-k for k in `RANKS`, mAP and mINP, in percent: one value per draw."""
    figures = {f"rank{rank}": (results.first_rank <= rank).mean(axis=1) for rank in RANKS}
    figures["mAP"] = results.average_precision.mean(axis=1)
    figures["mINP"] = results.inverse_negative_penalty.mean(axis=1)
    return {name: 100 * values for name, values in figures.items()}


def summary(results: QueryResults) -> dict[str, float]:
    """Rank-k for k in `RANKS`, mAP and mINP, in percent; mean over draws."""
    return {name: float(values.mean()) for name, values in summaries(results).items()}
