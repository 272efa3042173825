"""First generation: chunked uploads.

Where an upload stands is in the catalogue, its bytes are in a file. The checksums of a running
upload are kept in memory as well, by the offset they belong to; another process, or this one
after a restart, computes them again.
"""

from __future__ import annotations

import re
import time
import uuid
from collections import OrderedDict
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from synapsefs.server.auth import identity
from synapsefs.server.blobs import BLOBS
from synapsefs.server.bodies import answer_json, read_model
from synapsefs.server.collections import chunkfile, views
from synapsefs.server.collections.chunkfile import ChunkFile
from synapsefs.server.collections.intake import receive_form
from synapsefs.server.collections.units import base_name
from synapsefs.server.database import DATABASE
from synapsefs.server.digests import Blob, Digests
from synapsefs.server.formdata import form_parts, is_form
from synapsefs.server.objects import check_name, object_url, origin
from synapsefs.server.problems import Problem, invalid, not_found
from synapsefs.server.settings import SETTINGS
from synapsefs.wire.collections.constants import COMPLETE, EXPIRED, UPLOADING
from synapsefs.wire.collections.v1 import Finalise

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.formdata import FormPart
    from synapsefs.server.settings import ServerSettings

RUNNING: Final = web.AppKey("running", OrderedDict[str, Digests])
RUNNING_MOST = 256
REMEMBERED = 8
"""Lifetimes for which an expired upload still answers that it has expired."""

_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Span:
    """Where a chunk belongs: its first byte, the one after its last, and the announced total."""

    first: int
    stop: int
    total: int

    @property
    def length(self) -> int:
        """Bytes of the chunk."""
        return self.stop - self.first


async def put_chunk(request: web.Request) -> web.Response:
    """Answer ``PUT chunked_upload/`` and ``PUT chunked_upload/{id}/``."""
    span = _span(request)
    key = request.match_info.get("id")
    row: Any = None
    filename = ""
    async for part in form_parts(request, span.length):
        if part.name == "filename" and part.filename is None:
            filename = await part.text()
        elif part.name == "file":
            name = filename or part.filename or "file"
            row = await (
                _append(request, key, span, part) if key else _begin(request, name, span, part)
            )
    if row is None:
        raise Problem(400, "No chunk file was submitted")
    return answer_json(_state(request, row))


async def get_state(request: web.Request) -> web.Response:
    """Answer ``GET chunked_upload/{id}/``."""
    return answer_json(_state(request, _row(request, request.match_info["id"])))


async def finalise(request: web.Request) -> web.Response:
    """Answer ``POST chunked_upload/{id}/``: verify the MD5 and make the bytes an object."""
    key, wanted = request.match_info["id"], await _md5(request)
    row = _row(request, key)
    if row["completed"] is None:
        try:
            row = await _complete(request, key, wanted)
        except Problem:
            row = _row(request, key)
            if row["completed"] is None:
                raise
    if row["md5"] != wanted:
        raise Problem(400, "checksum does not match")
    request.app[RUNNING].pop(key, None)
    await request.app[BLOBS].run(lambda: chunkfile.remove(request.app[BLOBS], key))
    return answer_json(_state(request, row))


async def upload_whole(request: web.Request) -> web.Response:
    """Answer ``POST chunked_upload/``: a whole file in a form, or an empty one by its MD5."""
    if is_form(request):
        form = await receive_form(request)
        blob, name, wanted = form.blob, form.filename, form.fields.get("md5", "").lower()
    else:
        blob, name, wanted = None, "file", await _md5(request)
        if not request.app[SETTINGS].strict:
            blobs = request.app[BLOBS]
            blob = await blobs.commit(blobs.stage())
    if blob is None:
        raise Problem(400, "No chunk file was submitted")
    if blob.md5 != wanted:
        raise Problem(400, "checksum does not match")
    row = await _insert(request, str(uuid.uuid4()), name, Span(0, blob.size, blob.size), blob)
    return answer_json(_state(request, row))


async def finished(request: web.Request, key: str) -> tuple[Blob, str]:
    """Return what a finished upload holds, and its file name.

    Raises
    ------
    Problem
        400, when there is no such upload or it is not finished.
    """
    try:
        row = _row(request, key)
    except Problem:
        raise invalid("chunked_upload", f"Invalid pk {key!r} - object does not exist.") from None
    if row["completed"] is None:
        raise invalid("chunked_upload", "The upload is not complete.")
    return Blob(row["sha256"], row["sha1"], row["md5"], row["offset"]), row["filename"]


def sweep(connection: sqlite3.Connection, lifetime: float) -> None:
    """Forget uploads that are over: finished ones, and those that have long expired."""
    now = time.time()
    connection.execute(
        "DELETE FROM chunked_uploads WHERE touched < ? AND completed IS NOT NULL",
        (now - lifetime,),
    )
    connection.execute(
        "DELETE FROM chunked_uploads WHERE touched < ?", (now - REMEMBERED * lifetime,)
    )


def setup(app: web.Application) -> None:
    """Register the routes."""
    app[RUNNING] = OrderedDict()
    one = "/chunked_upload/{id:[0-9a-zA-Z-]{1,64}}/"
    app.router.add_route("PUT", "/chunked_upload/", put_chunk)
    app.router.add_route("POST", "/chunked_upload/", upload_whole)
    app.router.add_route("PUT", one, put_chunk)
    app.router.add_route("GET", one, get_state)
    app.router.add_route("POST", one, finalise)


async def _begin(request: web.Request, filename: str, span: Span, part: FormPart) -> sqlite3.Row:
    """Start an upload with its first chunk."""
    if span.first:
        raise _wrong_offset(0, span.first)
    check_name(base_name(filename))
    key, digests = str(uuid.uuid4()), request.app[BLOBS].digests()
    async with ChunkFile(request.app[BLOBS], key, create=True) as file:
        await file.append(0, digests, part.content, span.length)
        row = await _insert(request, key, base_name(filename) or "file", span)
    _remember(request.app, key, digests)
    return row


async def _append(request: web.Request, key: str, span: Span, part: FormPart) -> sqlite3.Row:
    """Add a chunk to an upload."""
    strict = request.app[SETTINGS].strict
    _require_open(_row(request, key))
    async with _open(request, key) as file:
        row = _row(request, key)
        _require_open(row)
        if strict and span.total != row["total"]:
            raise Problem(400, "File size doesn't match headers")
        if span.first == row["offset"]:
            digests = await _digests(request.app, key, file, span.first)
            await file.append(span.first, digests, part.content, span.length)
            row = await _advance(request, key, span)
            _remember(request.app, key, digests)
            return row
        repeated = span.stop == row["offset"] and not strict
        if repeated and await file.holds(span.first, part.content, span.length):
            return row
        raise _wrong_offset(row["offset"], span.first)


async def _complete(request: web.Request, key: str, wanted: str) -> sqlite3.Row:
    """Publish the bytes of an upload if they are those that were meant.

    The object is the same file as the upload's. So the checksums are written down first, and
    from then on the upload takes no more chunks, even if the server dies in between.
    """
    app = request.app
    async with _open(request, key) as file:
        row = _row(request, key)
        if row["completed"] is not None:
            return row
        blob = (await _digests(app, key, file, row["offset"])).blob()
        if blob.md5 != wanted:
            raise Problem(400, "checksum does not match")
        await _update(app, key, {"sha256": blob.sha256, "sha1": blob.sha1, "md5": blob.md5})
        await app[BLOBS].run(lambda: file.publish(blob))
        return await _update(app, key, {"completed": time.time()})


async def _digests(app: web.Application, key: str, file: ChunkFile, offset: int) -> Digests:
    """Return a copy of the checksums up to `offset`, computed again if need be."""
    known = app[RUNNING].get(key)
    if known is not None and known.size == offset:
        return copy(known)
    return await app[BLOBS].run(lambda: file.digest(offset))


def _remember(app: web.Application, key: str, digests: Digests) -> None:
    running = app[RUNNING]
    running[key] = digests
    running.move_to_end(key)
    while len(running) > RUNNING_MOST:
        running.popitem(last=False)


async def _insert(
    request: web.Request, key: str, filename: str, span: Span, blob: Blob | None = None
) -> sqlite3.Row:
    """Write down a new upload, which is finished when `blob` is given."""
    now = time.time()
    values: list[Any] = [key, identity(request).user, filename, span.total, span.stop, now, now]
    values += [now, blob.sha256, blob.sha1, blob.md5] if blob else [None] * 4

    def insert(connection: sqlite3.Connection) -> sqlite3.Row:
        connection.execute(
            "INSERT INTO chunked_uploads VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values
        )
        return _find(connection, key)

    return await request.app[DATABASE].write(insert)


async def _advance(request: web.Request, key: str, span: Span) -> sqlite3.Row:
    """Write down that a chunk has arrived."""
    changes = {"offset": span.stop, "total": span.total}
    return await _update(request.app, key, changes)


async def _update(app: web.Application, key: str, changes: dict[str, Any]) -> sqlite3.Row:
    """Change columns of an upload, and write down that it is in use."""
    columns = ", ".join(f'"{name}" = :{name}' for name in (*changes, "touched"))

    def update(connection: sqlite3.Connection) -> sqlite3.Row:
        connection.execute(
            f"UPDATE chunked_uploads SET {columns} WHERE id = :id",  # noqa: S608 - our own names
            {**changes, "touched": time.time(), "id": key},
        )
        return _find(connection, key)

    return await app[DATABASE].write(update)


def _row(request: web.Request, key: str) -> sqlite3.Row:
    """Return an upload of this user, or refuse with 404."""
    row = request.app[DATABASE].look(lambda connection: _find(connection, key))
    if not row or row["user"] != identity(request).user:
        raise not_found()
    if _status(row, request.app[SETTINGS]) == EXPIRED:
        raise Problem(410, "Upload has expired")
    return row


def _find(connection: sqlite3.Connection, key: str) -> sqlite3.Row:
    """Return an upload; only one that was never there is None."""
    row: sqlite3.Row = connection.execute(
        "SELECT * FROM chunked_uploads WHERE id = ?", (key,)
    ).fetchone()
    return row


def _open(request: web.Request, key: str) -> ChunkFile:
    try:
        return ChunkFile(request.app[BLOBS], key)
    except FileNotFoundError:
        raise Problem(410, "Upload has expired") from None


def _require_open(row: sqlite3.Row) -> None:
    """Refuse a chunk once the content is settled, which is before the upload is complete."""
    if row["completed"] is not None or row["sha256"] is not None:
        raise Problem(400, "Upload has already been marked as complete")


def _status(row: sqlite3.Row, settings: ServerSettings) -> int:
    if row["completed"] is not None:
        return COMPLETE
    since = row["created"] if settings.strict else row["touched"]
    return EXPIRED if since + settings.upload_lifetime <= time.time() else UPLOADING


def _state(request: web.Request, row: sqlite3.Row) -> dict[str, Any]:
    """Return an upload as it looks on the wire."""
    key, complete = row["id"], row["completed"] is not None
    return {
        "id": key,
        "url": f"{origin(request)}/chunked_upload/{key}/",
        "offset": row["offset"],
        "filename": row["filename"],
        "status": _status(row, request.app[SETTINGS]),
        "created_at": views.moment(row["created"]),
        "completed_at": views.moment(row["completed"]),
        "file": object_url(request, row["sha256"], row["filename"]) if complete else None,
        "checksum": row["md5"] if complete else None,
        "size": row["offset"] if complete else None,
    }


def _span(request: web.Request) -> Span:
    """Read the Content-Range of a chunk."""
    match = _CONTENT_RANGE.fullmatch(request.headers.get("Content-Range", ""))
    if match is None or not is_form(request):
        raise Problem(
            400, "Error in request headers" if match is None else "No chunk file was submitted"
        )
    first, last, total = map(int, match.groups())
    if not first <= last < total:
        raise Problem(400, "Error in request headers")
    limit = request.app[SETTINGS].max_file_size
    if limit is not None and last >= limit:
        raise Problem(413, "The file is larger than this server accepts.")
    return Span(first, last + 1, total)


async def _md5(request: web.Request) -> str:
    """Read the MD5 of a finalise request, sent as JSON or in a form."""
    if is_form(request):
        wanted = (await receive_form(request)).fields.get("md5", "")
    else:
        wanted = (await read_model(request, Finalise)).md5
    return wanted.lower()


def _wrong_offset(expected: int, provided: int) -> Problem:
    detail = "Offsets do not match"
    body = {"detail": detail, "expected_offset": expected, "provided_offset": provided}
    return Problem(400, detail, body=body)
