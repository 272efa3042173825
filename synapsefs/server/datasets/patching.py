"""Changes of an entry other than its deletion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapsefs.server.datasets import access, entries, index, revisions, uploads
from synapsefs.server.datasets.faults import conflict, unprocessable
from synapsefs.server.datasets.records import encoded, now, update
from synapsefs.wire.datasets.constants import ShareStatus, Status

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.datasets.access import Caller
    from synapsefs.wire.datasets.requests import EntryPatch


def apply(
    connection: sqlite3.Connection, caller: Caller, key: str, patch: EntryPatch
) -> sqlite3.Row:
    """Change an entry in every way that `patch` mentions.

    Parameters
    ----------
    connection
        Inside a transaction.
    caller
        Who asks.
    key
        Id or short alias of the entry.
    patch
        What the client sent.

    Returns
    -------
    sqlite3.Row
        The entry as it is now, at the revision that the patch named, if any.

    Raises
    ------
    Problem
        403 or 404 when the caller may not, 409 when the state forbids it, 422 when the patch
        says nothing or something unknown.
    """
    entry = entries.editable(connection, caller, key)
    mentioned = patch.model_fields_set
    revision: str | None = None
    if not mentioned & {"status", "tags", "share_status", "permitted_accessors", "revision_id"}:
        raise unprocessable("Nothing to change")
    if patch.status is not None:
        _set_status(connection, entry, patch.status)
    if "tags" in mentioned:
        _set_tags(connection, entry, patch.tags or [])
    if mentioned & {"share_status", "permitted_accessors"}:
        _set_permissions(connection, entry, patch)
    if "revision_id" in mentioned:
        revision = revisions.apply(connection, caller, entry, patch)
    return entries.find(connection, caller, entry["id"], revision_id=revision)


def _set_status(connection: sqlite3.Connection, entry: sqlite3.Row, text: str) -> None:
    if text not in set(Status):
        raise unprocessable(f"Unknown status: {text}")
    status = Status(text)
    if status == entry["status"]:
        return
    if status is Status.PENDING:
        raise conflict("An entry cannot become pending again")
    changes: dict[str, object] = {"status": status, "modified_at": now()}
    if status is Status.ACTIVE and entry["storage_type"] and entry["current_revision_id"] is None:
        uploaded = uploads.completed(connection, entry["id"])
        if uploaded is None:
            raise conflict("The upload of this data storage entry is not complete")
        entries.require_parent(connection, entry)
        changes |= entries.first_revision(connection, entry, uploaded)
    update(connection, "ds_entries", entry["id"], changes)


def _set_tags(connection: sqlite3.Connection, entry: sqlite3.Row, tags: list[str]) -> None:
    index.take_out(connection, entry["id"])
    update(connection, "ds_entries", entry["id"], {"tags": encoded(tags), "modified_at": now()})


def _set_permissions(connection: sqlite3.Connection, entry: sqlite3.Row, patch: EntryPatch) -> None:
    share = patch.share_status or entry["share_status"]
    if share not in set(ShareStatus):
        raise unprocessable(f"Unknown share status: {share}")
    changes: dict[str, object] = {"share_status": share, "modified_at": now()}
    if patch.permitted_accessors is not None:
        changes["accessors"] = encoded(access.flatten(patch.permitted_accessors))
    update(connection, "ds_entries", entry["id"], changes)
