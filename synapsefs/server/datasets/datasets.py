"""Datasets and projects in the catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from synapsefs.server.datasets.access import VISIBLE
from synapsefs.server.datasets.faults import conflict, forbidden, not_found
from synapsefs.server.datasets.records import insert, new_id, now

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.datasets.access import Caller

NOT_FOUND: Final = "Failed to get dataset: dataset not found"

_VISIBLE: Final = f"""(
    d.user_id = :user
    OR EXISTS (SELECT 1 FROM ds_entries e WHERE e.dataset_id = d.id AND {VISIBLE})
)"""  # noqa: S608 - constants


def create(
    connection: sqlite3.Connection,
    caller: Caller,
    name: str,
    description: str | None,
    key: str | None = None,
) -> str:
    """Create a dataset.

    Parameters
    ----------
    connection
        Inside a transaction.
    caller
        Becomes the owner.
    name, description
        As the client sent them; names need not be unique.
    key
        The id it shall have, None for a fresh one.

    Returns
    -------
    str
        Its id.

    Raises
    ------
    Problem
        409 when the id is taken.
    """
    if key is not None and _taken(connection, key):
        raise conflict("A dataset with this id already exists")
    moment = now()
    values = {
        "id": key or new_id(),
        "name": name,
        "description": description,
        "user_id": caller.user,
        "created_at": moment,
        "modified_at": moment,
    }
    insert(connection, "ds_datasets", values)
    return str(values["id"])


def find(connection: sqlite3.Connection, caller: Caller, key: str) -> sqlite3.Row:
    """Find a dataset by id.

    Raises
    ------
    Problem
        404 when it is not there for the caller.
    """
    row: sqlite3.Row | None = connection.execute(
        f"SELECT d.* FROM ds_datasets d WHERE d.id = :key AND {_VISIBLE}",  # noqa: S608
        caller.parameters(key=key.lower()),
    ).fetchone()
    if row is None:
        raise not_found(NOT_FOUND)
    return row


def editable(connection: sqlite3.Connection, caller: Caller, key: str) -> sqlite3.Row:
    """Find a dataset that the caller may change.

    Raises
    ------
    Problem
        404 when it is not there for the caller, 403 when it is another's.
    """
    row = find(connection, caller, key)
    if not caller.owns(row):
        raise forbidden("No permission to change this dataset")
    return row


def all_of(
    connection: sqlite3.Connection, caller: Caller, name: str | None = None
) -> list[sqlite3.Row]:
    """Every dataset the caller may see, newest first, or those called `name`."""
    named = "" if name is None else "AND d.name = :name"
    return connection.execute(
        f"SELECT d.* FROM ds_datasets d WHERE {_VISIBLE} {named} ORDER BY d.seq DESC",  # noqa: S608
        caller.parameters(name=name),
    ).fetchall()


def entry_ids(connection: sqlite3.Connection, key: str, most: int) -> list[str]:
    """Ids of entries of the dataset `key`, newest first, so that none outlives its parent."""
    rows = connection.execute(
        "SELECT id FROM ds_entries WHERE dataset_id = ? ORDER BY seq DESC LIMIT ?", (key, most)
    )
    return [row["id"] for row in rows]


def deleted(connection: sqlite3.Connection) -> list[str]:
    """Ids of datasets that were deleted, and of which entries are left."""
    rows = connection.execute(
        """SELECT DISTINCT dataset_id FROM ds_entries e WHERE dataset_id IS NOT NULL
           AND NOT EXISTS (SELECT 1 FROM ds_datasets d WHERE d.id = e.dataset_id)"""
    )
    return [row["dataset_id"] for row in rows]


def create_project(connection: sqlite3.Connection, caller: Caller, name: str) -> str:
    """Create a project and return its id."""
    key = new_id()
    insert(connection, "ds_projects", {"id": key, "name": name, "user_id": caller.user})
    return key


def projects_of(
    connection: sqlite3.Connection, caller: Caller, name: str | None, limit: int
) -> list[sqlite3.Row]:
    """Return the caller's newest projects, or those called `name`."""
    return connection.execute(
        """SELECT id, name FROM ds_projects
           WHERE user_id = :user AND (:name IS NULL OR name = :name)
           ORDER BY seq DESC LIMIT :limit""",
        caller.parameters(name=name, limit=limit),
    ).fetchall()


def _taken(connection: sqlite3.Connection, key: str) -> bool:
    """Whether there is such a dataset, or entries of one that is being deleted."""
    found = connection.execute(
        """SELECT 1 FROM ds_datasets WHERE id = :key
           UNION ALL SELECT 1 FROM ds_entries WHERE dataset_id = :key LIMIT 1""",
        {"key": key},
    )
    return found.fetchone() is not None
