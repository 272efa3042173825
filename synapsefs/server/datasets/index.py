"""The full-text index, which follows the entries when somebody searches.

Changing an entry only takes it out of the index; `catch_up` puts in what is missing. A write
therefore never pays for the index, and a search sees every write before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from synapsefs.server.datasets.schema import SEARCHABLE_FIELDS

if TYPE_CHECKING:
    import sqlite3

CATCH_UP: Final = 1000
"""Entries that are indexed in one transaction."""

_FIELDS: Final = ", ".join(SEARCHABLE_FIELDS)


def take_out(connection: sqlite3.Connection, key: str) -> None:
    """Take the entry `key` out of the index; call it before a change of what is searched."""
    taken = connection.execute(
        f"""INSERT INTO ds_search (ds_search, rowid, {_FIELDS})
            SELECT 'delete', s.seq, {", ".join(f"s.{name}" for name in SEARCHABLE_FIELDS)}
            FROM ds_searchable s JOIN ds_entries e ON e.seq = s.seq
            WHERE e.id = ? AND e.indexed""",  # noqa: S608 - constants
        (key,),
    )
    if taken.rowcount:
        connection.execute("UPDATE ds_entries SET indexed = 0 WHERE id = ?", (key,))


def is_behind(connection: sqlite3.Connection) -> bool:
    """Whether entries wait to be indexed."""
    found = connection.execute("SELECT 1 FROM ds_entries WHERE NOT indexed LIMIT 1").fetchone()
    return found is not None


def catch_up(connection: sqlite3.Connection) -> bool:
    """Index some of the entries that wait.

    Returns
    -------
    bool
        Whether more are waiting.
    """
    rows = connection.execute("SELECT seq FROM ds_entries WHERE NOT indexed LIMIT ?", (CATCH_UP,))
    waiting = [(row["seq"],) for row in rows]
    connection.executemany(
        f"""INSERT INTO ds_search (rowid, {_FIELDS})
            SELECT seq, {_FIELDS} FROM ds_searchable WHERE seq = ?""",  # noqa: S608 - constants
        waiting,
    )
    connection.executemany("UPDATE ds_entries SET indexed = 1 WHERE seq = ?", waiting)
    return len(waiting) == CATCH_UP
