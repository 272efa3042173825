"""Collections, their file specifications and groups in the catalogue."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from synapsefs.server.problems import Problem, invalid, not_found

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from synapsefs.wire.collections.v2 import CollectionChanges, SpecificationToCreate

_COLUMNS = ("name", "category", "description", "caution", "access_level")
MAX_LEVELS = 100
"""Most groups that a unit lies in, one in another."""

MAX_SPECIFICATIONS = 1000
"""Most file specifications of a collection."""

_ROW = "SELECT * FROM collections WHERE id = ? AND tenant = ?"


def get(connection: sqlite3.Connection, tenant: str, collection: int) -> sqlite3.Row:
    """Return a collection.

    Raises
    ------
    Problem
        404, when the tenant has no such collection.
    """
    row: sqlite3.Row | None = connection.execute(_ROW, (collection, tenant)).fetchone()
    if row is None:
        raise not_found()
    return row


def specifications(
    connection: sqlite3.Connection, collections: Iterable[int]
) -> dict[int, list[sqlite3.Row]]:
    """Return the file specifications of each collection."""
    found: dict[int, list[sqlite3.Row]] = {collection: [] for collection in collections}
    rows = connection.execute(
        """SELECT * FROM specifications
           WHERE collection_id IN (SELECT value FROM json_each(?)) ORDER BY id""",
        (json.dumps(list(found)),),
    )
    for row in rows:
        found[row["collection_id"]].append(row)
    return found


def create(connection: sqlite3.Connection, tenant: str, wanted: CollectionChanges) -> int:
    """Create a collection with its specifications and return its id.

    Raises
    ------
    Problem
        400, when two specifications have one name.
    """
    key = connection.execute(
        "INSERT INTO collections (tenant, name, category, created) VALUES (?, ?, ?, ?)",
        (tenant, wanted.name, wanted.category, time.time()),
    ).lastrowid
    update(connection, tenant, key or 0, wanted)
    return key or 0


def update(
    connection: sqlite3.Connection, tenant: str, collection: int, wanted: CollectionChanges
) -> None:
    """Change what a request names.

    Raises
    ------
    Problem
        404 for an unknown collection, 400 when two specifications have one name, 409 when a
        specification would go that units still use.
    """
    get(connection, tenant, collection)
    sent = wanted.model_fields_set
    values = {name: getattr(wanted, name) for name in _COLUMNS if name in sent}
    if "meta" in sent:
        values["meta"] = json.dumps(wanted.meta)
    if None in (values.get("name", ""), values.get("category", "")):
        raise invalid("name" if values.get("name", "") is None else "category", "Required.")
    for name, value in values.items():
        stored = value or ("private" if name == "access_level" else "")
        connection.execute(
            f"UPDATE collections SET {name} = ? WHERE id = ?",  # noqa: S608 - our own names
            (stored, collection),
        )
    if wanted.file_specifications is not None:
        _replace_specifications(connection, collection, wanted.file_specifications)


def _replace_specifications(
    connection: sqlite3.Connection, collection: int, wanted: Sequence[SpecificationToCreate]
) -> None:
    """Match by name, change those, add the missing and delete those left out."""
    names = [specification.name for specification in wanted]
    if len(names) > MAX_SPECIFICATIONS:
        raise invalid("file_specifications", f"At most {MAX_SPECIFICATIONS}.")
    if len(set(names)) < len(names):
        raise invalid("file_specifications", "Names must be unique.")
    for specification in wanted:
        _keep_specification(connection, collection, specification)
    gone = [
        row["id"]
        for row in specifications(connection, [collection])[collection]
        if row["name"] not in names
    ]
    used = connection.execute(
        """SELECT 1 FROM unit_files
           WHERE specification_id IN (SELECT value FROM json_each(?)) LIMIT 1""",
        (json.dumps(gone),),
    ).fetchone()
    if used:
        raise Problem(409, "A file specification that units use cannot be deleted.")
    connection.execute(
        "DELETE FROM specifications WHERE id IN (SELECT value FROM json_each(?))",
        (json.dumps(gone),),
    )


def _keep_specification(
    connection: sqlite3.Connection, collection: int, wanted: SpecificationToCreate
) -> None:
    values: dict[str, Any] = wanted.model_dump()
    values["configuration"] = json.dumps(values["configuration"])
    values["extensions"] = json.dumps(values["extensions"])
    values["collection_id"] = collection
    connection.execute(
        """INSERT INTO specifications (collection_id, name, file_type, description,
               configuration, extensions, is_sequential, is_required, is_primary,
               function_type, "index")
           VALUES (:collection_id, :name, :file_type, :description, :configuration,
               :extensions, :is_sequential, :is_required, :is_primary, :function_type, :index)
           ON CONFLICT (collection_id, name) DO UPDATE SET file_type = excluded.file_type,
               description = excluded.description, configuration = excluded.configuration,
               extensions = excluded.extensions, is_sequential = excluded.is_sequential,
               is_required = excluded.is_required, is_primary = excluded.is_primary,
               function_type = excluded.function_type, "index" = excluded."index" """,
        values,
    )


def delete(connection: sqlite3.Connection, tenant: str, collection: int) -> None:
    """Delete a collection with its units; the data files stay.

    Raises
    ------
    Problem
        404, when the tenant has no such collection.
    """
    get(connection, tenant, collection)
    for table in ("units", "groups", "specifications"):
        connection.execute(
            f"DELETE FROM {table} WHERE collection_id = ?",  # noqa: S608 - our own names
            (collection,),
        )
    connection.execute("DELETE FROM collections WHERE id = ?", (collection,))


def group(
    connection: sqlite3.Connection, collection: int, names: Sequence[str] | None
) -> int | None:
    """Find or create groups level by level and return the innermost one.

    Raises
    ------
    Problem
        400, when they are too deep.
    """
    if len(names or ()) > MAX_LEVELS:
        raise invalid("groups", f"At most {MAX_LEVELS} levels.")
    parent = 0
    for name in names or ():
        key = (collection, parent, name)
        connection.execute(
            "INSERT OR IGNORE INTO groups (collection_id, parent_id, name) VALUES (?, ?, ?)", key
        )
        row = connection.execute(
            "SELECT id FROM groups WHERE collection_id = ? AND parent_id = ? AND name = ?", key
        ).fetchone()
        parent = row["id"]
    return parent or None


def get_group(connection: sqlite3.Connection, collection: int, key: int) -> sqlite3.Row:
    """Return a group of a collection.

    Raises
    ------
    Problem
        404, when the collection has no such group.
    """
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM groups WHERE id = ? AND collection_id = ?", (key, collection)
    ).fetchone()
    if row is None:
        raise not_found()
    return row


def delete_group(connection: sqlite3.Connection, collection: int, key: int) -> None:
    """Delete a group and those below it; their units stay, without a group.

    Raises
    ------
    Problem
        404, when the collection has no such group.
    """
    get_group(connection, collection, key)
    rows = connection.execute(
        """WITH RECURSIVE below (id) AS (
               SELECT ? UNION SELECT groups.id FROM groups JOIN below ON parent_id = below.id)
           SELECT id FROM below""",
        (key,),
    )
    below = [(row["id"],) for row in rows.fetchall()]
    connection.executemany("UPDATE units SET group_id = NULL WHERE group_id = ?", below)
    connection.executemany("DELETE FROM groups WHERE id = ?", below)
