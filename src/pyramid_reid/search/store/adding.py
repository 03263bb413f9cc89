"""Adding rows to the table, whose columns grow with them.

Whether a column that is empty so far holds numbers or text, the first value tells: until then the
table has none of that name, and rows bring it as Arrow's type null.
"""

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
    rows = rows.select([field.name for field in rows.schema if _is_known(field)])
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
    arrays = [
        _fitted(rows, field, folder)
        if field.name in rows.schema.names
        else pa.nulls(len(rows), field.type)
        for field in table.schema
    ]
    table.add(pa.table(arrays, schema=table.schema))


def update(table: Any, rows: pa.Table, folder: Path) -> None:
    """Change columns of rows that are there, found by `id`.

    Raises:
        UserError: a column has another type than in the table.
    """
    import pyarrow as pa

    add_columns(table, rows.schema)
    fields = [field for field in table.schema if field.name in rows.schema.names]
    arrays = [_fitted(rows, field, folder) for field in fields]
    changed = pa.table(arrays, schema=pa.schema(fields))
    table.merge_insert("id").when_matched_update_all().execute(changed)


def add_columns(table: Any, wanted: pa.Schema) -> None:
    """Add the columns that the table lacks; they are null in its rows."""
    import pyarrow as pa

    there = table.schema.names
    if new := [field for field in wanted if field.name not in there and _is_known(field)]:
        table.add_columns(pa.schema(new))


def _is_known(field: pa.Field) -> bool:
    """Whether a column has a value, which tells its type."""
    import pyarrow as pa

    return not pa.types.is_null(field.type)


def _fitted(rows: pa.Table, field: pa.Field, folder: Path) -> pa.ChunkedArray:
    """A column of rows, as the table has it.

    Raises:
        UserError: it is of another type.
    """
    import pyarrow as pa

    column = rows[field.name]
    kinds = {pa.types.is_string(kind) for kind in (column.type, field.type)}
    why = f"the column {field.name!r} is {field.type} in {folder}, and what is added is not"
    if len(kinds) > 1 and not pa.types.is_null(column.type):
        # 0017 and 17 are two names, and would be one number
        raise UserError(f"{why} (it is {column.type}): call it otherwise")
    try:
        return column.cast(field.type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise UserError(f"{why} ({reason(error)}): call it otherwise") from error
