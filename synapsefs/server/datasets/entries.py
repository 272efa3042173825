"""Entries in the catalogue: create, find, change, delete."""

from __future__ import annotations

import base64
import hashlib
import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from synapsefs.server.datasets import datasets, index
from synapsefs.server.datasets.access import VISIBLE
from synapsefs.server.datasets.faults import forbidden, not_found, unprocessable
from synapsefs.server.datasets.records import encoded, insert, new_id, now
from synapsefs.server.parts import delete_parts
from synapsefs.wire.datasets.constants import ContentType, ShareStatus, Status, StorageType
from synapsefs.wire.datasets.requests import EntryCreate

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.datasets.access import Caller

COLUMNS: Final = """
    e.seq, e.id, e.short_alias, e.description, e.status, e.share_status, e.user_id,
    e.is_collection, e.tags, e.parent_id, e.project_id, e.dataset_id, e.location,
    e.location_metadata, e.content_schema, e.generation, e.created_at, e.modified_at,
    e.revision_id AS current_revision_id, r.id AS revision_id, COALESCE(r.version, 0) AS version,
    COALESCE(r.name, e.name) AS name, COALESCE(r.metadata, e.metadata) AS metadata,
    COALESCE(r.embedding, e.embedding) AS embedding,
    COALESCE(r.file_path, e.file_path) AS file_path,
    COALESCE(r.storage_type, e.storage_type) AS storage_type,
    COALESCE(r.content_type, e.content_type) AS content_type,
    r.sha256, r.sha1, r.md5, r.size
"""
"""What is read of an entry ``e`` and one of its revisions ``r``, the content apart."""

NOT_FOUND: Final = "Data storage entry not found"


@dataclass(frozen=True, slots=True)
class ObjectInSource:
    """One object of a registered source; `key` is its full name there, `size` in bytes."""

    key: str
    size: int | None


@dataclass(frozen=True, slots=True)
class Registered:
    """What was found where a registered source or link points."""

    content: str | None = None
    objects: tuple[ObjectInSource, ...] = ()


@dataclass(frozen=True, slots=True)
class _Shape:
    """What distinguishes the variants of an entry in the catalogue."""

    status: Status
    storage_type: str | None = None
    content_type: str | None = None
    content: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)


def create(
    connection: sqlite3.Connection,
    caller: Caller,
    request: EntryCreate,
    registered: Registered | None,
) -> str:
    """Create an entry.

    Parameters
    ----------
    connection
        Inside a transaction.
    caller
        Becomes the owner.
    request
        What the client sent.
    registered
        What is at the request's existing location, None when it names none.

    Returns
    -------
    str
        Id of the entry.

    Raises
    ------
    Problem
        404 when the parent or the dataset is not there or is another's; 422 when the parent is
        no directory or is in another dataset.
    """
    shape = _shape(request, registered)
    place = _place(connection, caller, request)
    values = {**_columns(request, shape), "user_id": caller.user, **place}
    if shape.status is Status.ACTIVE and shape.storage_type is not None:
        values |= first_revision(connection, values, text_columns(shape.content))
    insert(connection, "ds_entries", values)
    if registered is not None:
        _insert_objects(connection, values["id"], registered)
    return str(values["id"])


def text_columns(content: str | None) -> dict[str, Any]:
    """Columns of a revision that hold inline text, or the absence of any content."""
    if content is None:
        return {}
    data = content.encode()
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return {"content": content, "size": len(data), "md5": md5}


def first_revision(
    connection: sqlite3.Connection, entry: Any, content: dict[str, Any]
) -> dict[str, Any]:
    """Write revision 0 of an entry that becomes active.

    Parameters
    ----------
    connection
        Inside a transaction.
    entry
        The entry's columns by name.
    content
        The revision's columns that say what the content is.

    Returns
    -------
    dict
        Columns by which the entry names the revision as its published one.
    """
    key, moment = new_id(), now()
    revision = {
        "id": key,
        "entry_id": entry["id"],
        "version": 0,
        "name": entry["name"],
        "storage_type": entry["storage_type"],
        "content_type": entry["content_type"],
        "file_path": entry["file_path"],
        "metadata": entry["metadata"],
        "embedding": entry["embedding"],
        "created_by": entry["user_id"],
        "created_at": moment,
        "published_at": moment,
        **content,
    }
    insert(connection, "ds_revisions", revision)
    return {"revision_id": key, "generation": 1}


def find(
    connection: sqlite3.Connection,
    caller: Caller,
    key: str,
    *,
    version: int | None = None,
    revision_id: str | None = None,
) -> sqlite3.Row:
    """Find an entry, at its published revision unless another is asked for.

    Parameters
    ----------
    connection
        Any connection.
    caller
        Who asks.
    key
        Id or short alias.
    version
        Number of a published revision.
    revision_id
        Id of a revision; of a draft only for who may change the entry.

    Returns
    -------
    sqlite3.Row
        `COLUMNS` and ``content``.

    Raises
    ------
    Problem
        404 when the entry or the revision is not there for the caller.
    """
    wanted = "r.id = e.revision_id"
    if version is not None:
        wanted = "r.entry_id = e.id AND r.published_at IS NOT NULL AND r.version = :version"
    elif revision_id is not None:
        wanted = """r.entry_id = e.id AND r.id = :revision
                    AND (r.published_at IS NOT NULL OR e.user_id = :user)"""
    row: sqlite3.Row | None = connection.execute(
        f"""SELECT {COLUMNS}, r.content AS content
            FROM ds_entries e LEFT JOIN ds_revisions r ON {wanted}
            WHERE (e.id = :key OR e.short_alias = :key) AND {VISIBLE}""",  # noqa: S608 - constants
        caller.parameters(key=key.lower(), version=version, revision=revision_id),
    ).fetchone()
    if row is None:
        raise not_found(NOT_FOUND)
    if row["revision_id"] is None and (version is not None or revision_id is not None):
        raise not_found("Data storage entry revision not found")
    return row


def editable(connection: sqlite3.Connection, caller: Caller, key: str) -> sqlite3.Row:
    """Find an entry that the caller may change.

    Raises
    ------
    Problem
        404 when it is not there for the caller, 403 when it is another's.
    """
    row = find(connection, caller, key)
    if not caller.owns(row):
        raise forbidden("No permission to change this data storage entry")
    return row


def objects_of(connection: sqlite3.Connection, key: str) -> list[ObjectInSource]:
    """Objects of a registered collection, in the order they were found."""
    rows = connection.execute(
        "SELECT key, size FROM ds_objects WHERE entry_id = ? ORDER BY position", (key,)
    )
    return [ObjectInSource(row["key"], row["size"]) for row in rows]


def delete(
    connection: sqlite3.Connection, caller: Caller, key: str, *, children: bool
) -> list[str]:
    """Delete an entry.

    Parameters
    ----------
    connection
        Inside a transaction.
    caller
        Who asks.
    key
        Id or short alias.
    children
        Whether what is below a directory goes with it.

    Returns
    -------
    list of str
        The files of parts to remove once that is committed.

    Raises
    ------
    Problem
        404 when it is not there for the caller, 403 when it is another's.
    """
    row = editable(connection, caller, key)
    keys = _with_descendants(connection, row["id"]) if children else [row["id"]]
    return delete_all(connection, keys)


def delete_all(connection: sqlite3.Connection, keys: list[str]) -> list[str]:
    """Delete the entries with these ids, and nothing below them.

    Returns
    -------
    list of str
        The files of their parts, to be removed once that is committed.
    """
    files: list[str] = []
    for key in keys:
        begun = connection.execute("SELECT id FROM ds_uploads WHERE entry_id = ?", (key,))
        files += delete_parts(connection, [row["id"] for row in begun.fetchall()])
        index.take_out(connection, key)
        connection.execute("DELETE FROM ds_entries WHERE id = ?", (key,))
        for table in ("ds_revisions", "ds_uploads", "ds_objects"):
            connection.execute(f"DELETE FROM {table} WHERE entry_id = ?", (key,))  # noqa: S608
    return files


def abandoned(connection: sqlite3.Connection, lifetime: float) -> list[str]:
    """Ids of the entries without content for which nothing came in `lifetime` seconds."""
    rows = connection.execute(
        """SELECT id FROM ds_entries e
           WHERE status IN ('pending', 'failed') AND created_at < :before
               AND modified_at < :before AND storage_type IS NOT NULL AND revision_id IS NULL
               AND NOT EXISTS (SELECT 1 FROM ds_uploads u WHERE u.entry_id = e.id AND (
                   u.created_at >= :before OR EXISTS (
                       SELECT 1 FROM parts p WHERE p.upload_id = u.id AND p.created >= :since
                   )
               ))""",
        {"before": now(lifetime), "since": time.time() - lifetime},
    )
    return [row["id"] for row in rows]


def require_parent(connection: sqlite3.Connection, entry: sqlite3.Row) -> None:
    """Refuse to publish an entry whose directory was deleted while its content came.

    Raises
    ------
    Problem
        404, when it was.
    """
    parent = entry["parent_id"]
    found = connection.execute("SELECT 1 FROM ds_entries WHERE id = ?", (parent,)).fetchone()
    if parent is not None and found is None:
        raise not_found("The directory of this data storage entry does not exist any more")


def _with_descendants(connection: sqlite3.Connection, key: str) -> list[str]:
    rows = connection.execute(
        """WITH RECURSIVE below (id) AS (
               VALUES (?) UNION SELECT e.id FROM ds_entries e JOIN below b ON e.parent_id = b.id
           ) SELECT id FROM below""",
        (key,),
    )
    return [row["id"] for row in rows]


def _shape(request: EntryCreate, registered: Registered | None) -> _Shape:
    place = request.existing_location
    if place is not None and registered is not None:
        columns = {
            "location": place.location,
            "location_metadata": encoded(place.metadata),
            "content_schema": encoded(place.content_schema),
        }
        return _Shape(
            Status.ACTIVE, place.storage_type, place.content_type, registered.content, columns
        )
    if request.content is not None:
        return _Shape(Status.ACTIVE, StorageType.RAW_CONTENT, ContentType.TEXT, request.content)
    if request.file_path:
        return _Shape(Status.PENDING, StorageType.GCS, ContentType.FILE)
    return _Shape(Status.ACTIVE, content_type=ContentType.DIRECTORY)


def _columns(request: EntryCreate, shape: _Shape) -> dict[str, Any]:
    """Columns of a new entry, owner and dataset apart."""
    moment = now()
    return {
        "id": new_id(),
        "short_alias": _alias(),
        "name": request.name,
        "description": request.description,
        "status": shape.status,
        "share_status": ShareStatus.PRIVATE,
        "is_collection": request.is_collection,
        "tags": encoded(request.tags),
        "metadata": encoded(request.metadata),
        "embedding": encoded(request.embedding),
        "project_id": request.project_id,
        "file_path": request.file_path,
        "storage_type": shape.storage_type,
        "content_type": shape.content_type,
        "created_at": moment,
        "modified_at": moment,
        **shape.columns,
    }


def _place(
    connection: sqlite3.Connection, caller: Caller, request: EntryCreate
) -> dict[str, str | None]:
    """Columns that say where the new entry belongs; a root directory gets a dataset."""
    if request.parent_id is None and request.dataset_id is None:
        bare = request.content is None and not request.file_path
        if bare and request.existing_location is None:
            key = datasets.create(connection, caller, request.name, request.description)
            return {"dataset_id": key}
    place: dict[str, str | None] = {}
    if request.parent_id is not None:
        parent = find(connection, caller, request.parent_id)
        if not caller.owns(parent):
            raise not_found(NOT_FOUND)
        if parent["storage_type"] is not None:
            raise unprocessable("The parent is no directory")
        place = {"parent_id": parent["id"], "dataset_id": parent["dataset_id"]}
    if request.dataset_id is not None:
        dataset = datasets.find(connection, caller, request.dataset_id)
        if not caller.owns(dataset):
            raise not_found(datasets.NOT_FOUND)
        if request.parent_id is not None and place["dataset_id"] != dataset["id"]:
            raise unprocessable("The parent is in another dataset")
        place["dataset_id"] = dataset["id"]
    return place


def _insert_objects(connection: sqlite3.Connection, key: str, registered: Registered) -> None:
    connection.executemany(
        "INSERT INTO ds_objects (entry_id, position, key, size) VALUES (?, ?, ?, ?)",
        [(key, place, found.key, found.size) for place, found in enumerate(registered.objects)],
    )


def _alias() -> str:
    return base64.b32encode(secrets.token_bytes(5)).decode().lower()
