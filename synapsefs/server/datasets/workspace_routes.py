"""Routes of workspaces, which are directories with a tag, and of provenance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import web

from synapsefs.server.database import DATABASE
from synapsefs.server.datasets import entries, index, search
from synapsefs.server.datasets.context import (
    answered,
    caller_of,
    is_strict,
    received,
    renderer_for,
)
from synapsefs.server.datasets.faults import not_found
from synapsefs.server.datasets.models import WorkspaceUpdate
from synapsefs.server.datasets.records import decoded, now, update
from synapsefs.server.parts import remove_files
from synapsefs.wire.datasets.requests import EntryCreate

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.datasets.access import Caller

TAG: Final = "workspace"


async def create_workspace(request: web.Request) -> web.Response:
    """Answer ``POST`` of a workspace."""
    caller, sent = caller_of(request), await received(request, EntryCreate)
    wanted = EntryCreate(
        name=sent.name,
        description=sent.description,
        project_id=sent.project_id,
        tags=[*(sent.tags or ()), TAG],
    )

    def work(connection: sqlite3.Connection) -> sqlite3.Row:
        key = entries.create(connection, caller, wanted, None)
        return entries.find(connection, caller, key)

    return _answered(request, await request.app[DATABASE].write(work), 201)


async def get_workspace(request: web.Request) -> web.Response:
    """Answer ``GET`` of a workspace."""
    caller, key = caller_of(request), request.match_info["entry"]
    row = await request.app[DATABASE].read(lambda db: _workspace(db, caller, key))
    return _answered(request, row)


async def update_workspace(request: web.Request) -> web.Response:
    """Answer ``PATCH`` of the name or description of a workspace."""
    caller, key = caller_of(request), request.match_info["entry"]
    wanted = await received(request, WorkspaceUpdate)

    def work(connection: sqlite3.Connection) -> sqlite3.Row:
        _workspace(connection, caller, key)
        found = entries.editable(connection, caller, key)["id"]
        index.take_out(connection, found)
        changes = wanted.model_dump(exclude_none=True)
        update(connection, "ds_entries", found, {**changes, "modified_at": now()})
        return entries.find(connection, caller, found)

    return _answered(request, await request.app[DATABASE].write(work))


async def delete_workspace(request: web.Request) -> web.Response:
    """Answer ``DELETE`` of a workspace; what is below goes with it."""
    caller, key, children = caller_of(request), request.match_info["entry"], not is_strict(request)

    def work(connection: sqlite3.Connection) -> list[str]:
        _workspace(connection, caller, key)
        return entries.delete(connection, caller, key, children=children)

    await remove_files(request.app, await request.app[DATABASE].write(work))
    return web.Response(status=204)


async def list_provenance(request: web.Request) -> web.Response:
    """Answer ``GET`` of the entries that actors created; the actors of this server are users."""
    caller, actors = caller_of(request), request.query.getall("actor_id", [])
    created = request.query.get("operation", "create").lower() == "create"
    rows = await request.app[DATABASE].read(
        lambda db: search.created_by(db, caller, actors if created else [])
    )
    renderer = renderer_for(request)
    found = [
        {
            "actor_id": row["user_id"],
            "operation": "create",
            "created_at": row["created_at"],
            "data_storage": renderer.entry(row, content=row["content"]),
        }
        for row in rows
    ]
    return answered({"data": found})


def _workspace(connection: sqlite3.Connection, caller: Caller, key: str) -> sqlite3.Row:
    row = entries.find(connection, caller, key)
    if TAG not in (decoded(row["tags"]) or ()):
        raise not_found("Workspace not found")
    return row


def _answered(request: web.Request, row: sqlite3.Row, status: int = 200) -> web.Response:
    return answered(renderer_for(request).response(row, [], content=None), status)
