"""Parts that clients send to signed URLs, and objects made of them.

Both services hand out part URLs. A part that is a whole object becomes one at once; other parts
wait in files of their own until :func:`assemble` joins them.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from synapsefs.server.blobs import BLOBS
from synapsefs.server.database import DATABASE
from synapsefs.server.digests import ALL_DIGESTS, Blob
from synapsefs.server.guard import proceed
from synapsefs.server.objects import check_signature, signed_url
from synapsefs.server.problems import Problem
from synapsefs.server.quota import QUOTA
from synapsefs.server.settings import SETTINGS
from synapsefs.wire import BLOB_PREFIX

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence
    from pathlib import Path

    from synapsefs.server.blobs import BlobStore, Staged

SCHEMA = """
CREATE TABLE IF NOT EXISTS parts (
    upload_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    md5 TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha1 TEXT,
    sha256 TEXT,
    file TEXT,
    created REAL NOT NULL,
    PRIMARY KEY (upload_id, number)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS parts_by_age ON parts (created);
CREATE INDEX IF NOT EXISTS parts_by_blob ON parts (sha256) WHERE sha256 IS NOT NULL;
"""

OPEN: Final = web.AppKey("open", list[str])
"""Conditions in SQL under which the upload ``:upload_id`` takes parts, one of each service."""

IN_USE = ("EXISTS (SELECT 1 FROM parts WHERE sha256 = :sha256)",)
"""Conditions in SQL under which an object is still needed."""

_KEEP = """
INSERT INTO parts (upload_id, number, md5, size, sha1, sha256, file, created)
VALUES (:upload_id, :number, :md5, :size, :sha1, :sha256, :file, :created)
ON CONFLICT (upload_id, number) DO UPDATE SET
    md5 = excluded.md5, size = excluded.size, sha1 = excluded.sha1,
    sha256 = excluded.sha256, file = excluded.file, created = excluded.created
"""


@dataclass(frozen=True, slots=True)
class Part:
    """A part that has arrived.

    Parameters
    ----------
    number
        Its place, from 1.
    md5
        Its MD5 in hex, which is also its ETag without quotes.
    size
        Bytes.
    blob
        The object, when the part is a whole one.
    file
        Name of the file it waits in otherwise.
    """

    number: int
    md5: str
    size: int
    blob: Blob | None
    file: str | None


def part_url(
    request: web.Request,
    upload_id: str,
    part_number: int,
    *,
    whole: bool = False,
    content_type: str | None = None,
    lifetime: float | None = None,
    size: int | None = None,
) -> str:
    """Return a signed URL that a part is sent to with PUT.

    Parameters
    ----------
    request
        The request that is being answered.
    upload_id
        Unguessable id of the upload, safe in a file name.
    part_number
        Place of the part, from 1.
    whole
        The part is all there is: it becomes an object when it arrives.
    content_type
        A strict server wants the part sent with this content type.
    lifetime
        Seconds the URL is good for; by default ``url_lifetime``.
    size
        Bytes that the part must have; None for any.

    Returns
    -------
    str
        An absolute URL.
    """
    settings = request.app[SETTINGS]
    claims = {"whole": "1"} if whole else {}
    if content_type is not None:
        claims["content_type"] = content_type
    if size is not None:
        claims["size"] = str(size)
    expires = int(time.time() + (settings.url_lifetime if lifetime is None else lifetime))
    return signed_url(
        request, "PUT", f"{BLOB_PREFIX}/uploads/{upload_id}/{part_number}", expires, claims
    )


async def uploaded_parts(app: web.Application, upload_ids: Sequence[str]) -> dict[str, list[Part]]:
    """Return the parts that have arrived, in order, of each upload that has any."""

    def look(connection: sqlite3.Connection) -> dict[str, list[Part]]:
        found = {upload_id: _parts_of(connection, upload_id) for upload_id in upload_ids}
        return {upload_id: parts for upload_id, parts in found.items() if parts}

    return await app[DATABASE].read(look)


def parts_of(app: web.Application, upload_id: str) -> list[Part]:
    """Return the parts of one upload that have arrived, in order."""
    return app[DATABASE].look(lambda connection: _parts_of(connection, upload_id))


async def assemble(app: web.Application, parts: Sequence[Part]) -> Blob:
    """Make one object of parts, in the order given.

    Parameters
    ----------
    app
        The server.
    parts
        From :func:`uploaded_parts`, at least one.

    Returns
    -------
    Blob
        The object, on disk.

    Raises
    ------
    FileNotFoundError
        A part was removed meanwhile.
    Problem
        507, when there is no room for it.
    """
    if len(parts) == 1 and parts[0].blob is not None:
        return parts[0].blob
    blobs = app[BLOBS]
    files = [_path(blobs, part) for part in parts]
    async with app[QUOTA].hold(sum(part.size for part in parts)):
        return await blobs.run(lambda: blobs.join(files))


async def forget_parts(app: web.Application, upload_ids: Sequence[str]) -> None:
    """Remove the parts of uploads; objects stay."""
    await remove_files(
        app, await app[DATABASE].write(lambda connection: delete_parts(connection, upload_ids))
    )


def delete_parts(connection: sqlite3.Connection, upload_ids: Sequence[str]) -> list[str]:
    """Delete the rows of parts and return the files to remove once that is committed."""
    files: list[str] = []
    for upload_id in upload_ids:
        rows = connection.execute(
            "DELETE FROM parts WHERE upload_id = ? RETURNING file", (upload_id,)
        ).fetchall()
        files.extend(row["file"] for row in rows if row["file"])
    return files


def touch_parts(connection: sqlite3.Connection, upload_id: str) -> None:
    """Keep the parts of an upload that goes on."""
    connection.execute("UPDATE parts SET created = ? WHERE upload_id = ?", (time.time(), upload_id))


async def sweep_parts(app: web.Application) -> None:
    """Remove the parts of uploads to which no part has come for long."""
    oldest = time.time() - app[SETTINGS].upload_lifetime

    def delete(connection: sqlite3.Connection) -> list[str]:
        rows = connection.execute(
            """DELETE FROM parts WHERE created < :oldest AND NOT EXISTS (
                   SELECT 1 FROM parts later
                   WHERE later.upload_id = parts.upload_id AND later.created >= :oldest
               ) RETURNING file""",
            {"oldest": oldest},
        ).fetchall()
        return [row["file"] for row in rows if row["file"]]

    await remove_files(app, await app[DATABASE].write(delete))


async def waiting_files(app: web.Application) -> set[str]:
    """Return the names of the files that parts wait in."""

    def look(connection: sqlite3.Connection) -> set[str]:
        rows = connection.execute("SELECT file FROM parts WHERE file IS NOT NULL")
        return {row["file"] for row in rows}

    return await app[DATABASE].read(look)


async def put_part(request: web.Request) -> web.Response:
    """Answer ``PUT`` of a signed part URL."""
    claims = check_signature(request)
    settings = request.app[SETTINGS]
    if settings.strict and claims.get("content_type", "") != request.headers.get(
        "Content-Type", ""
    ):
        raise Problem(403, "The content type was not signed.", code="SignatureDoesNotMatch")
    expected = _content_md5(request)
    size = int(claims["size"]) if "size" in claims else None
    limit = settings.max_file_size
    if limit is not None and (request.content_length or 0) > limit:
        raise Problem(413, "The object is larger than this server accepts.")
    if size is not None and request.content_length not in (None, size):
        raise _wrong_size()
    whole = "whole" in claims
    upload_id, number = request.match_info["upload"], int(request.match_info["number"])
    request.app[DATABASE].look(lambda connection: _require_open(request.app, connection, upload_id))
    await proceed(request)
    blobs = request.app[BLOBS]
    staged = await blobs.receive(
        request.content.iter_any(),
        digests=ALL_DIGESTS if whole else ("md5",),
        limit=min((most for most in (limit, size) if most is not None), default=None),
    )
    target = blobs.uploads / f"{upload_id}.{number}.{secrets.token_hex(4)}"
    part = await blobs.run(
        lambda: _store(staged, number, None if whole else target, expected, size)
    )
    await _record(request.app, upload_id, part)
    return web.Response(headers={"ETag": f'"{part.md5}"'})


def setup(app: web.Application) -> None:
    """Register the route of parts; any method but PUT meets a signature it does not match."""
    app[OPEN] = []
    path = f"{BLOB_PREFIX}/uploads/{{upload:[0-9A-Za-z-]{{1,64}}}}/{{number:\\d{{1,6}}}}"
    app.router.add_route("*", path, put_part)


def _wrong_size() -> Problem:
    return Problem(403, "The size is not the one that was signed.", code="SignatureDoesNotMatch")


def _content_md5(request: web.Request) -> str | None:
    """Return the MD5 in hex that the client says it sends."""
    header = request.headers.get("Content-MD5")
    if header is None:
        return None
    try:
        digest = base64.b64decode(header, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != 16:
        raise Problem(400, "The Content-MD5 is not valid.", code="InvalidDigest")
    return digest.hex()


def _store(
    staged: Staged, number: int, target: Path | None, expected: str | None, length: int | None
) -> Part:
    """Verify a part and put it where it belongs; it blocks."""
    with staged:
        staged.flush()
        md5, size = staged.digests.hex("md5"), staged.digests.size
        if length not in (None, size):
            raise _wrong_size()
        if expected not in (None, md5):
            raise Problem(400, "The Content-MD5 does not match what came.", code="BadDigest")
        if target is None:
            return Part(number, md5, size, staged.commit(), None)
        staged.keep_as(target)
        return Part(number, md5, size, None, target.name)


async def _record(app: web.Application, upload_id: str, part: Part) -> None:
    """Write down a part and remove the file of the one it replaces.

    Raises
    ------
    Problem
        404, when the upload was completed or given up while the part came. Nothing is left of it.
    """
    row = {
        "upload_id": upload_id,
        "number": part.number,
        "md5": part.md5,
        "size": part.size,
        "sha1": part.blob and part.blob.sha1,
        "sha256": part.blob and part.blob.sha256,
        "file": part.file,
        "created": time.time(),
    }

    def keep(connection: sqlite3.Connection) -> str | None:
        _require_open(app, connection, upload_id)
        key = (upload_id, part.number)
        old = connection.execute(
            "SELECT file FROM parts WHERE upload_id = ? AND number = ?", key
        ).fetchone()
        connection.execute(_KEEP, row)
        return old["file"] if old else None

    try:
        old = await app[DATABASE].write(keep)
    except BaseException:
        await remove_files(app, [part.file] if part.file else [])
        raise
    await remove_files(app, [old] if old else [])


def _require_open(app: web.Application, connection: sqlite3.Connection, upload_id: str) -> None:
    """Refuse a part of an upload that does not wait for any."""
    conditions: list[str] = app[OPEN]
    found = connection.execute(f"SELECT {' OR '.join(conditions)}", {"upload_id": upload_id})
    if not found.fetchone()[0]:
        raise Problem(404, "The upload does not exist or is complete.", code="NoSuchUpload")


async def remove_files(app: web.Application, files: Sequence[str]) -> None:
    """Remove files of parts."""
    if not files:
        return
    blobs = app[BLOBS]

    def unlink() -> None:
        for file in files:
            (blobs.uploads / file).unlink(missing_ok=True)

    await blobs.run(unlink)


def _parts_of(connection: sqlite3.Connection, upload_id: str) -> list[Part]:
    rows = connection.execute(
        "SELECT * FROM parts WHERE upload_id = ? ORDER BY number", (upload_id,)
    )
    return [_part(row) for row in rows]


def _part(row: sqlite3.Row) -> Part:
    blob = None
    if row["sha256"]:
        blob = Blob(row["sha256"], row["sha1"], row["md5"], row["size"])
    return Part(row["number"], row["md5"], row["size"], blob, row["file"])


def _path(blobs: BlobStore, part: Part) -> Path:
    return blobs.path(part.blob.sha256) if part.blob else blobs.uploads / (part.file or "")
