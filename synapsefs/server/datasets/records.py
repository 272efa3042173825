"""Small helpers around the catalogue's rows."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping


def now(ago: float = 0.0) -> str:
    """Return the moment `ago` seconds before now: ISO 8601, UTC, sortable as text."""
    moment = datetime.now(UTC) - timedelta(seconds=ago)
    return moment.isoformat(timespec="microseconds")


def new_id() -> str:
    """Return a fresh id."""
    return str(uuid.uuid4())


def encoded(value: object) -> str | None:
    """Return `value` as JSON text, or None for None."""
    if value is None:
        return None
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def decoded(text: str | None) -> Any:
    """Return what `encoded` was given."""
    return None if text is None else json.loads(text)


def insert(connection: sqlite3.Connection, table: str, values: Mapping[str, object]) -> None:
    """Insert one row.

    Parameters
    ----------
    connection
        Inside a transaction.
    table
        Name of the table, never from outside.
    values
        Column to value.
    """
    columns = ", ".join(values)
    places = ", ".join(f":{column}" for column in values)
    statement = f"INSERT INTO {table} ({columns}) VALUES ({places})"  # noqa: S608 - own names
    connection.execute(statement, values)


def update(
    connection: sqlite3.Connection, table: str, key: str, values: Mapping[str, object]
) -> None:
    """Set columns of the row of `table` whose ``id`` is `key`."""
    changes = ", ".join(f"{column} = :{column}" for column in values)
    statement = f"UPDATE {table} SET {changes} WHERE id = :_key"  # noqa: S608 - own names
    connection.execute(statement, {**values, "_key": key})
