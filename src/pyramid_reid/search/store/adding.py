"""Adding rows to the table, whose columns grow with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pyramid_reid.core.errors import UserError, reason

if TYPE_CHECKING:
    import pyarrow as pa

NAME = b"name"
"""Of the table, in the metadata of its schema."""


def begun(rows: pa.Table) -> pa.Table:
    """Rows that a table is made of: a name tells it from another one made in its place."""
    return rows.replace_schema_metadata({NAME: uuid4().hex})


def append(table: Any, rows: pa.Table, folder: Path) -> None:
    """Append rows; what the table has and they have not is null, and the other way round.

    Args:
        table: the LanceDB table.
        folder: of the store, for messages.

    Raises:
        UserError: a column has another type than in the table.
    """
    import pyarrow as pa

    add_columns(table, rows.schema)
    arrays = []
    for field in table.schema:
        if field.name not in rows.schema.names:
            arrays.append(pa.nulls(len(rows), field.type))
            continue
        try:
            arrays.append(rows[field.name].cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise UserError(
                f"the column {field.name!r} is {field.type} in {folder}, and what is"
                f" added is not ({reason(error)}): call it otherwise"
            ) from error
    table.add(pa.table(arrays, schema=table.schema))


def update(table: Any, rows: pa.Table) -> None:
    """Change columns of rows that are there, found by `id`."""
    add_columns(table, rows.schema)
    table.merge_insert("id").when_matched_update_all().execute(rows)


def add_columns(table: Any, wanted: pa.Schema) -> None:
    """Add the columns that the table lacks; they are null in its rows."""
    import pyarrow as pa

    there = table.schema.names
    if new := [field for field in wanted if field.name not in there]:
        table.add_columns(pa.schema(new))
