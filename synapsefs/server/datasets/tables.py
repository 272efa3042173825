"""Rows of tables, as JSON text: from a PostgreSQL database, or from a JSON file."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import fsspec

if TYPE_CHECKING:
    from synapsefs.server.datasets.configured import TableSource

SECONDS: Final = 10.0
"""How long the database may take to answer."""

_STATEMENT: Final = """
SELECT format('SELECT row_to_json(t)::text FROM %s t WHERE t.%I = $1::text::%s LIMIT 1',
              c.oid::regclass, a.attname, format_type(a.atttypid, a.atttypmod))
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND NOT a.attisdropped
WHERE c.oid = to_regclass($1) AND a.attnum > 0 AND CASE
    WHEN $2::text IS NOT NULL THEN a.attname = $2
    ELSE EXISTS (SELECT 1 FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary
                 AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)
END
"""
"""Asks the database for the query that finds a row; it quotes all names itself."""


class RowNotFoundError(Exception):
    """The row, its table or its key column is not there."""


async def read_row(source: TableSource, row_id: str) -> str:
    """Read a row.

    Parameters
    ----------
    source
        The table.
    row_id
        Value of its key, as text.

    Returns
    -------
    str
        The row as a JSON object.

    Raises
    ------
    RowNotFoundError
        It is not there.
    OSError, ValueError
        The source cannot be read.
    """
    if source.dsn is None:
        return await asyncio.to_thread(_from_file, source, row_id)
    return await _from_database(source.dsn, source, row_id)


def _from_file(source: TableSource, row_id: str) -> str:
    with fsspec.open(source.file, "rb") as file:
        rows = json.load(file)
    if not isinstance(rows, dict) or row_id not in rows:
        raise RowNotFoundError(row_id)
    return json.dumps(rows[row_id], ensure_ascii=False)


async def _from_database(dsn: str, source: TableSource, row_id: str) -> str:
    import asyncpg  # noqa: PLC0415 - an extra, which only these rows need

    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=SECONDS,
            command_timeout=SECONDS,
            server_settings={"default_transaction_read_only": "on"},
        )
        try:
            return await _row(connection, source, row_id)
        finally:
            await connection.close(timeout=SECONDS)
    except (asyncpg.DataError, asyncpg.UndefinedTableError):
        raise RowNotFoundError(row_id) from None
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise OSError(f"the database answered {type(error).__name__}") from error


async def _row(connection: Any, source: TableSource, row_id: str) -> str:
    query = await connection.fetchval(_STATEMENT, source.table, source.key)
    row = None if query is None else await connection.fetchval(query, row_id)
    if row is None:
        raise RowNotFoundError(row_id)
    return str(row)
