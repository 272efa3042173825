"""Routes of data storage entries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from synapsefs.server.database import DATABASE
from synapsefs.server.datasets import entries, patching, rendering, revisions, sources, uploads
from synapsefs.server.datasets.context import (
    answered,
    caller_of,
    is_strict,
    number,
    received,
    renderer_for,
)
from synapsefs.server.datasets.models import EntryState
from synapsefs.server.objects import check_name
from synapsefs.server.parts import assemble, forget_parts, part_url, parts_of, remove_files
from synapsefs.server.problems import Problem
from synapsefs.server.settings import SETTINGS
from synapsefs.wire.datasets.answers import UploadInitiated
from synapsefs.wire.datasets.constants import REVISIONS_LIMIT_MAX, StorageType
from synapsefs.wire.datasets.requests import EntryCreate, EntryPatch, UploadComplete, UploadInitiate

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.datasets.entries import ObjectInSource
    from synapsefs.server.digests import Blob
    from synapsefs.server.parts import Part

Found = tuple["sqlite3.Row", "list[ObjectInSource]"]


async def create_entry(request: web.Request) -> web.Response:
    """Answer ``POST`` of an entry of any variant."""
    caller, wanted = caller_of(request), await received(request, EntryCreate)
    for name in (wanted.name, wanted.file_path or ""):
        check_name(name)
    registered = await sources.inspect(request.app, wanted)
    lifetime = request.app[SETTINGS].upload_lifetime

    def work(connection: sqlite3.Connection) -> tuple[Found, list[str]]:
        files = entries.delete_all(connection, entries.abandoned(connection, lifetime))
        key = entries.create(connection, caller, wanted, registered)
        return _with_objects(connection, entries.find(connection, caller, key)), files

    found, files = await request.app[DATABASE].write(work)
    await remove_files(request.app, files)
    return answered(_response(request, found), 201)


async def get_entry(request: web.Request) -> web.Response:
    """Answer ``GET`` of an entry, at its published or another revision."""
    caller, key = caller_of(request), request.match_info["entry"]
    version = number(request, "version", None)
    revision = request.query.get("revision_id")

    def work(connection: sqlite3.Connection) -> sqlite3.Row:
        return entries.find(
            connection, caller, key, version=version, revision_id=revision and revision.lower()
        )

    row = request.app[DATABASE].look(work)
    registered = row["storage_type"] == StorageType.GCS and row["sha256"] is None
    objects = (
        await request.app[DATABASE].read(lambda db: entries.objects_of(db, row["id"]))
        if registered
        else []
    )
    return answered(_response(request, (row, objects)))


async def get_status(request: web.Request) -> web.Response:
    """Answer ``GET`` of the state of an entry."""
    caller, key = caller_of(request), request.match_info["entry"]
    row = request.app[DATABASE].look(lambda db: entries.find(db, caller, key))
    return answered(EntryState(id=row["id"], status=row["status"]))


async def patch_entry(request: web.Request) -> web.Response:
    """Answer ``PATCH``: state, tags, permissions, revisions."""
    caller, key = caller_of(request), request.match_info["entry"]
    patch = await received(request, EntryPatch)
    check_name(patch.name or "")

    def work(connection: sqlite3.Connection) -> Found:
        return _with_objects(connection, patching.apply(connection, caller, key, patch))

    return answered(_response(request, await request.app[DATABASE].write(work)))


async def delete_entry(request: web.Request) -> web.Response:
    """Answer ``DELETE`` of an entry; what is below a directory goes with it."""
    caller, key, children = caller_of(request), request.match_info["entry"], not is_strict(request)
    files = await request.app[DATABASE].write(
        lambda db: entries.delete(db, caller, key, children=children)
    )
    await remove_files(request.app, files)
    return web.Response(status=204)


async def list_revisions(request: web.Request) -> web.Response:
    """Answer ``GET`` of the revisions of an entry; drafts are for who may change it."""
    caller, key = caller_of(request), request.match_info["entry"]
    limit = number(request, "limit", REVISIONS_LIMIT_MAX, low=1, high=REVISIONS_LIMIT_MAX) or 1
    offset = number(request, "offset", 0) or 0
    drafts = request.query.get("include_unpublished", "").lower() in ("true", "1")

    def work(connection: sqlite3.Connection) -> tuple[sqlite3.Row, list[sqlite3.Row]]:
        row = entries.find(connection, caller, key)
        shown = drafts and caller.owns(row)
        return row, revisions.history(
            connection, row["id"], drafts=shown, limit=limit, offset=offset
        )

    row, found = await request.app[DATABASE].read(work)
    payload = {
        "entry_id": row["id"],
        "current_revision_id": row["current_revision_id"],
        "revisions": [rendering.revision(revision) for revision in found],
    }
    return answered(payload)


async def initiate_upload(request: web.Request) -> web.Response:
    """Answer ``POST …/multipart-upload/initiate`` with one signed URL for every part."""
    caller, key = caller_of(request), request.match_info["entry"]
    hashes = (await received(request, UploadInitiate)).part_hashes
    upload_id = await request.app[DATABASE].write(
        lambda db: uploads.initiate(db, caller, key, hashes, strict=is_strict(request))
    )
    settings = request.app[SETTINGS]
    lifetime = settings.url_lifetime if settings.strict else uploads.KEPT * settings.upload_lifetime
    urls = [
        part_url(request, upload_id, number, whole=len(hashes) == 1, lifetime=lifetime)
        for number in range(1, len(hashes) + 1)
    ]
    return answered(UploadInitiated(upload_id=upload_id, part_urls=urls))


async def complete_upload(request: web.Request) -> web.Response:
    """Answer ``POST …/multipart-upload/complete``; a repeat finds it done, or waits for nobody."""
    wanted = await received(request, UploadComplete)
    try:
        await _complete(request, wanted)
    except Problem:
        if not _expected(request, wanted.upload_id)[1]:
            raise
    return answered({"status": "completed"})


async def _complete(request: web.Request, wanted: UploadComplete) -> None:
    upload_id = wanted.upload_id
    hashes, done = _expected(request, upload_id)
    if done:
        return
    parts = parts_of(request.app, upload_id)
    uploads.check(hashes, wanted.parts)
    uploads.check_arrived(hashes, wanted.parts, parts)
    blob = await _assembled(request.app, parts)
    await request.app[DATABASE].write(lambda db: uploads.finish(db, upload_id, blob))
    if len(parts) > 1:
        await forget_parts(request.app, [upload_id])


def _expected(request: web.Request, upload_id: str) -> tuple[list[str], bool]:
    caller, key = caller_of(request), request.match_info["entry"]
    return request.app[DATABASE].look(lambda db: uploads.expected(db, caller, key, upload_id))


def _with_objects(connection: sqlite3.Connection, row: sqlite3.Row) -> Found:
    return row, entries.objects_of(connection, row["id"])


def _response(request: web.Request, found: Found) -> dict[str, Any]:
    row, objects = found
    return renderer_for(request).response(row, objects, content=row["content"])


async def _assembled(app: web.Application, parts: list[Part]) -> Blob:
    limit = app[SETTINGS].max_file_size
    if limit is not None and sum(part.size for part in parts) > limit:
        raise Problem(413, "The file is larger than this server accepts.")
    try:
        return await assemble(app, parts)
    except FileNotFoundError:
        raise Problem(400, "A part has expired; send it again.") from None
