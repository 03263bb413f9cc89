"""The nearest rows of a query: candidates from the index or the exact scan, then exact distances.

Weights stand on the query's side: with q = (w_ori q_ori, w_h1 q_h1, ...) the inner product with a
row's vector is sum_b w_b - D_final, so that one index serves any weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from pyramid_reid.core.params import BRANCHES
from pyramid_reid.search.store import ann
from pyramid_reid.search.store.vectors import Floats, distances_to, unit

if TYPE_CHECKING:
    import pyarrow as pa

MARGIN = 10
"""Candidates beyond the hits that were asked for: rounding at the last place changes nothing."""


def question(
    table: Any,
    query: Annotated[Floats, "D_all"],
    k: int,
    condition: str | None,
    columns: Sequence[str],
    built: ann.Built | None,
    *,
    everywhere: bool = False,
) -> Any:
    """What to ask LanceDB for some more than k rows that are nearest by the inner product.

    Args:
        table: the LanceDB table.
        query: the four branches' features, each times its weight.
        condition: in SQL, or None.
        columns: that are read, beside the vector.
        built: the index; None compares with every row.
        everywhere: look into all partitions.
    """
    search = table.search(query, vector_column_name="vector").distance_type("dot")
    search = search.limit(k + MARGIN).select([*columns, "vector", "_distance"])
    if condition:
        search = search.where(condition, prefilter=True)
    if built is None:
        search = search.bypass_vector_index()
    else:
        # LanceDB looks into all wherever it may, so it may not where these are likely to do
        everywhere = everywhere or (k + MARGIN) * built.refine > built.probes * ann.PARTITION
        search = search.minimum_nprobes(built.probes)
        search = search.maximum_nprobes(0 if everywhere else built.probes)
        search = search.refine_factor(built.refine)
    return search


def candidates(
    table: Any,
    query: Annotated[Floats, "D_all"],
    k: int,
    condition: str | None,
    columns: Sequence[str],
    built: ann.Built | None,
) -> pa.Table:
    """Some more than k rows that are nearest by the inner product, as `question` asks for them.

    Where a condition leaves too few of them in the partitions that are looked into, in all.
    """
    found = question(table, query, k, condition, columns, built).to_arrow()
    if condition and built and len(found) < k + MARGIN:
        found = question(table, query, k, condition, columns, built, everywhere=True).to_arrow()
    return found


def ordered(
    found: pa.Table, query: Annotated[Floats, "4 D"], shares: Annotated[Floats, "4"], k: int
) -> pa.Table:
    """The k nearest of some rows by their exact distance, and at equal distance by id.

    Args:
        shares: weights of the branches, whose sum is 1.

    Returns:
        The rows without their vector, then `distance` (fused) and one column per branch.
    """
    import pyarrow as pa

    per_branch = distances_to(query, unit(found["vector"].combine_chunks()))
    fused = per_branch @ shares
    order = np.lexsort((found["id"].to_numpy(zero_copy_only=False).astype(str), fused))[:k]
    hits = found.drop_columns(["vector", "_distance"]).take(order)
    hits = hits.append_column("distance", pa.array(fused[order], pa.float32()))
    for number, branch in enumerate(BRANCHES):
        hits = hits.append_column(branch, pa.array(per_branch[order, number], pa.float32()))
    return hits
