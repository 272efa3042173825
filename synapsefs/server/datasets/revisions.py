"""Revisions: publish content on the base that was read, or keep it as a draft.

The client names the new revision. The same request sent again succeeds again;
a base that is no longer the published revision is refused.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from synapsefs.server.datasets import entries, index, uploads
from synapsefs.server.datasets.faults import conflict, not_found, unprocessable
from synapsefs.server.datasets.records import insert, now, update
from synapsefs.wire.datasets.constants import ContentType, StorageType

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.datasets.access import Caller
    from synapsefs.wire.datasets.requests import EntryPatch


def apply(
    connection: sqlite3.Connection, caller: Caller, entry: sqlite3.Row, patch: EntryPatch
) -> str:
    """Create a revision, or publish a draft.

    Parameters
    ----------
    connection
        Inside a transaction.
    caller
        Who may change `entry`.
    entry
        The entry at its published revision.
    patch
        Names the revision and its base.

    Returns
    -------
    str
        Id of the revision.

    Raises
    ------
    Problem
        409 when the base is stale, the id is taken, or the source is not complete; 404 when the
        draft or the source is not there; 422 when the request contradicts itself.
    """
    if patch.revision_id is None or patch.base_revision_id is None:
        raise unprocessable("A revision needs revision_id and base_revision_id")
    if patch.content is not None and patch.source_entry_id is not None:
        raise unprocessable("Provide either inline content or a completed source entry")
    key = patch.revision_id.lower()
    known = connection.execute("SELECT * FROM ds_revisions WHERE id = ?", (key,)).fetchone()
    if known is not None and known["entry_id"] != entry["id"]:
        raise conflict("This revision id is taken")
    if patch.content is None and patch.source_entry_id is None:
        _publish_draft(connection, entry, known, patch)
    elif known is None:
        _create(connection, caller, entry, patch)
    elif known["request_digest"] != _digest(patch):
        raise conflict("This revision id was used for other content")
    return key


def history(
    connection: sqlite3.Connection, key: str, *, drafts: bool, limit: int, offset: int
) -> list[sqlite3.Row]:
    """Revisions of the entry `key`, newest first, without what is not published unless `drafts`."""
    published = "" if drafts else "AND published_at IS NOT NULL"
    return connection.execute(
        f"""SELECT * FROM ds_revisions WHERE entry_id = ? {published}
            ORDER BY version DESC, seq DESC LIMIT ? OFFSET ?""",  # noqa: S608 - constants
        (key, limit, offset),
    ).fetchall()


def _digest(patch: EntryPatch) -> str:
    return hashlib.sha256(patch.model_dump_json().encode()).hexdigest()


def _require_current(entry: sqlite3.Row, base: str | None) -> None:
    if base is None or base.lower() != entry["current_revision_id"]:
        raise conflict("The base revision is not the published one; read the entry again")


def _publish_draft(
    connection: sqlite3.Connection,
    entry: sqlite3.Row,
    draft: sqlite3.Row | None,
    patch: EntryPatch,
) -> None:
    if not patch.publish or patch.name is not None:
        raise unprocessable("Provide content or a completed source entry to create a revision")
    if draft is None:
        raise not_found("Data storage entry revision not found")
    if draft["parent_revision_id"] != (patch.base_revision_id or "").lower():
        raise conflict("The draft has another base revision")
    if draft["published_at"] is None:
        _require_current(entry, draft["parent_revision_id"])
        _publish(connection, entry, draft["id"], draft["name"], patch.description)


def _create(
    connection: sqlite3.Connection,
    caller: Caller,
    entry: sqlite3.Row,
    patch: EntryPatch,
) -> None:
    if entry["location"] is not None or entry["location_metadata"] is not None:
        raise unprocessable("The content of a registered source is not kept here")
    _require_current(entry, patch.base_revision_id)
    key = (patch.revision_id or "").lower()
    newest = connection.execute(
        "SELECT max(version) FROM ds_revisions WHERE entry_id = ?", (entry["id"],)
    ).fetchone()[0]
    revision = {
        "id": key,
        "entry_id": entry["id"],
        "version": newest + 1,
        "parent_revision_id": entry["current_revision_id"],
        "name": patch.name or entry["name"],
        "file_path": entry["file_path"],
        "metadata": entry["metadata"],
        "created_by": caller.user,
        "created_at": now(),
        "request_digest": _digest(patch),
        **_content(connection, caller, entry, patch),
    }
    insert(connection, "ds_revisions", revision)
    if patch.publish:
        _publish(connection, entry, key, revision["name"], patch.description)


def _content(
    connection: sqlite3.Connection, caller: Caller, entry: sqlite3.Row, patch: EntryPatch
) -> dict[str, Any]:
    """Columns that say what the content of the new revision is."""
    if patch.content is not None:
        kind = {"storage_type": StorageType.RAW_CONTENT, "content_type": ContentType.TEXT}
        return {**kind, **entries.text_columns(patch.content)}
    source = entries.find(connection, caller, patch.source_entry_id or "")
    taken = ("storage_type", "content_type", "content", "sha256", "sha1", "md5", "size", "metadata")
    columns = {name: source[name] for name in taken}
    if columns["sha256"] is None and columns["content"] is None:
        columns.update(uploads.completed(connection, source["id"]) or {})
    if columns["sha256"] is None and columns["content"] is None:
        raise conflict("The source entry is not complete")
    return {**columns, "file_path": entry["file_path"] or source["file_path"]}


def _publish(
    connection: sqlite3.Connection,
    entry: sqlite3.Row,
    key: str,
    name: str,
    description: str | None,
) -> None:
    moment = now()
    index.take_out(connection, entry["id"])
    update(connection, "ds_revisions", key, {"published_at": moment})
    changes = {
        "revision_id": key,
        "generation": entry["generation"] + 1,
        "name": name,
        "modified_at": moment,
        **({} if description is None else {"description": description}),
    }
    update(connection, "ds_entries", entry["id"], changes)
