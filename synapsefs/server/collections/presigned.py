"""Uploads to signed URLs, in the words of both generations.

Files up to a threshold get one URL, larger ones a URL for each part. Confirming verifies what
came and makes it a data file; it may be repeated.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

from synapsefs.server import parts
from synapsefs.server.auth import identity
from synapsefs.server.bodies import answer_data, answer_json, read_model
from synapsefs.server.collections import catalogue, files, views
from synapsefs.server.collections.models import FinaliseQuery, UploadQuery
from synapsefs.server.collections.units import base_name
from synapsefs.server.database import DATABASE
from synapsefs.server.objects import check_name
from synapsefs.server.problems import Problem
from synapsefs.server.settings import SETTINGS
from synapsefs.wire.collections.v1 import ConfirmQuery, PresignQuery

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from aiohttp import web

    from synapsefs.server.digests import Blob
    from synapsefs.server.parts import Part
    from synapsefs.server.settings import ServerSettings
    from synapsefs.wire.collections.v1 import FileToConfirm, FileToPresign

KEPT = 2
"""Upload lifetimes for which a confirmation may be repeated."""

MAX_URLS = 10_000
"""Most URLs that one request is answered with, but for one a file; files that would need more get
larger parts."""

LARGEST_PART = 5 * 1024**3
"""Most bytes of a part, as in S3."""

URLS_AT_ONCE = 500
"""URLs that are signed before other requests have their turn."""


async def presign(request: web.Request) -> web.Response:
    """Answer ``POST data_files/presigned_upload/upload/``."""
    wanted = await read_model(request, PresignQuery)
    return answer_json(await _presigned(request, wanted.files, wanted.expiration))


async def confirm(request: web.Request) -> web.Response:
    """Answer ``POST data_files/presigned_upload/confirm_upload/``."""
    wanted = await read_model(request, ConfirmQuery)
    return answer_json(await _confirmed(request, wanted.files))


async def presign_v2(request: web.Request) -> web.Response:
    """Answer ``POST v2/data-collections/{id}/upload-urls/``."""
    wanted = await read_model(request, UploadQuery)
    await _require_collection(request)
    return answer_data(await _presigned(request, wanted.files, wanted.expiration))


async def confirm_v2(request: web.Request) -> web.Response:
    """Answer ``POST v2/data-collections/{id}/finalize-upload/``."""
    wanted = await read_model(request, FinaliseQuery)
    await _require_collection(request)
    return answer_data(await _confirmed(request, wanted.files))


def sweep(connection: sqlite3.Connection, lifetime: float) -> None:
    """Forget files that were presigned or confirmed long ago, and have no parts on their way."""
    connection.execute(
        """DELETE FROM presigned_files WHERE created < ? AND NOT EXISTS (
               SELECT 1 FROM parts WHERE parts.upload_id = presigned_files.upload_id
           )""",
        (time.time() - KEPT * lifetime,),
    )


def setup(app: web.Application) -> None:
    """Register the routes."""
    app[parts.OPEN].append(
        """EXISTS (SELECT 1 FROM presigned_files
                   WHERE upload_id = :upload_id AND data_file_id IS NULL)"""
    )
    first, second = "/data_files/presigned_upload", r"/v2/data-collections/{id:\d{1,18}}"
    app.router.add_route("POST", f"{first}/upload/", presign)
    app.router.add_route("POST", f"{first}/confirm_upload/", confirm)
    app.router.add_route("POST", f"{second}/upload-urls/", presign_v2)
    app.router.add_route("POST", f"{second}/finalize-upload/", confirm_v2)


async def _require_collection(request: web.Request) -> None:
    tenant, key = identity(request).tenant, int(request.match_info["id"])
    await request.app[DATABASE].read(lambda connection: catalogue.get(connection, tenant, key))


def _is_dry(request: web.Request) -> bool:
    return request.query.get("dry_run", "").lower() in ("true", "1")


async def _presigned(
    request: web.Request, wanted: Sequence[FileToPresign], expiration: int
) -> dict[str, Any]:
    """Return where each file goes, in the order asked.

    One that is larger than is accepted gets one URL, which refuses it: the others are stored.

    Raises
    ------
    Problem
        413, when a file is larger than any can be or its name longer than a URL can hold.
    """
    settings, tenant, now = request.app[SETTINGS], identity(request).tenant, time.time()
    lifetime = min(expiration, settings.url_lifetime) if settings.strict else expiration
    shown: list[dict[str, Any]] = []
    rows: list[tuple[Any, ...]] = []
    part_size = _part_size(settings, wanted)
    most = MAX_URLS * part_size if settings.max_file_size is None else settings.max_file_size
    for file in wanted:
        key, upload_id = uuid.uuid4().hex, uuid.uuid4().hex
        count = 1
        if settings.presign_threshold < file.size <= most:
            count = -(-file.size // part_size)
        name = base_name(file.filename) or "file"
        check_name(name)
        answer = {"filename": file.filename, "file_key": views.file_key(key, name)}
        targets = await _targets(request, upload_id, count, part_size, file, lifetime)
        shown.append(answer | targets)
        rows.append((answer["file_key"], tenant, upload_id, name, count, now))
    if not _is_dry(request):
        await request.app[DATABASE].write(
            lambda connection: connection.executemany(
                "INSERT INTO presigned_files VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)", rows
            )
        )
    return {"files": shown, "expires_at": views.moment(now + lifetime)}


def _part_size(settings: ServerSettings, wanted: Sequence[FileToPresign]) -> int:
    """Return the bytes of a part, so large that `MAX_URLS` are enough.

    Raises
    ------
    Problem
        413, when a file is larger than any that can be stored.
    """
    if any(file.size > MAX_URLS * LARGEST_PART for file in wanted):
        raise Problem(413, "The file is larger than this server accepts.")
    total = sum(file.size for file in wanted)
    return max(settings.presign_part_size, -(-total // MAX_URLS))


async def _targets(
    request: web.Request,
    upload_id: str,
    count: int,
    part_size: int,
    file: FileToPresign,
    lifetime: float,
) -> dict[str, Any]:
    """Return one URL for a file, or one for each of its parts."""

    def url(number: int) -> str:
        before = (number - 1) * part_size
        return parts.part_url(
            request,
            upload_id,
            number,
            whole=count == 1,
            content_type=file.content_type if count == 1 else None,
            lifetime=lifetime,
            size=file.size if count == 1 else min(part_size, file.size - before),
        )

    if count == 1:
        return {"presigned_url": url(1), "multipart": None}
    listed = []
    for number in range(1, count + 1):
        listed.append({"part_number": number, "presigned_url": url(number)})
        if number % URLS_AT_ONCE == 0:
            await asyncio.sleep(0)
    multipart = {"upload_id": upload_id, "part_size": part_size, "parts": listed}
    return {"presigned_url": None, "multipart": multipart}


async def _confirmed(request: web.Request, wanted: Sequence[FileToConfirm]) -> dict[str, Any]:
    """Verify files and return what became of each, in the order asked."""
    app, tenant = request.app, identity(request).tenant
    rows = await app[DATABASE].read(
        lambda connection: _rows(connection, tenant, [file.file_key for file in wanted])
    )
    arrived = await parts.uploaded_parts(app, [row["upload_id"] for row in rows.values()])
    outcomes: list[Blob | str] = []
    for file in wanted:
        row = rows.get(file.file_key)
        if row is None:
            outcomes.append("Unknown file key.")
        elif row["data_file_id"] is not None:
            outcomes.append(_check(file, files.blob_of(row)))
        else:
            outcomes.append(await _collect(app, file, row, arrived.get(row["upload_id"], [])))
    if _is_dry(request):
        results = [
            _result(file, outcome, None) for file, outcome in zip(wanted, outcomes, strict=True)
        ]
    else:
        results = await _register(app, tenant, wanted, outcomes)
    good = sum(result["success"] for result in results)
    return {"results": results, "created_count": good, "failed_count": len(results) - good}


async def _collect(
    app: web.Application, file: FileToConfirm, row: sqlite3.Row, arrived: list[Part]
) -> Blob | str:
    """Return the object that the parts of a file make, or why they make none."""
    by_number = {part.number: part for part in arrived}
    if sorted(by_number) != list(range(1, row["parts"] + 1)):
        return "The file has not been uploaded completely."
    if row["parts"] > 1:
        if file.multipart is None:
            return "The parts of the upload are missing: multipart is required."
        sent = {part.part_number: part.etag.strip('"') for part in file.multipart.parts}
        if file.multipart.upload_id != row["upload_id"] or sent != {
            number: part.md5 for number, part in by_number.items()
        }:
            return "The parts are not those that were uploaded."
    if sum(part.size for part in arrived) != file.size:
        return "The size does not match what was uploaded."
    try:
        return _check(file, await parts.assemble(app, arrived))
    except FileNotFoundError:
        return "A part is not there any more."


def _check(file: FileToConfirm, blob: Blob) -> Blob | str:
    if blob.size != file.size:
        return "The size does not match what was uploaded."
    if not files.matches(blob, file.checksum):
        return "The checksum does not match what was uploaded."
    return blob


async def _register(
    app: web.Application,
    tenant: str,
    wanted: Sequence[FileToConfirm],
    outcomes: Sequence[Blob | str],
) -> list[dict[str, Any]]:
    """Make data files of what is in order, in one transaction."""

    def register(connection: sqlite3.Connection) -> tuple[list[dict[str, Any]], list[str]]:
        results, done = [], []
        for file, found in zip(wanted, outcomes, strict=True):
            outcome, settled = found, None
            if (row := _rows(connection, tenant, [file.file_key]).get(file.file_key)) is not None:
                outcome, settled = _settle(connection, tenant, row, file, found)
            if settled is not None and row is not None:
                done.append(row["upload_id"])
            results.append(_result(file, outcome, settled))
        return results, parts.delete_parts(connection, done)

    results, leftover = await app[DATABASE].write(register)
    await parts.remove_files(app, leftover)
    return results


def _settle(
    connection: sqlite3.Connection,
    tenant: str,
    row: sqlite3.Row,
    file: FileToConfirm,
    found: Blob | str,
) -> tuple[Blob | str, tuple[int, bool] | None]:
    """Make a data file of what was found, unless another request has done so meanwhile.

    Returns
    -------
    tuple
        The content, or what is wrong; id of the data file, and whether confirming created it.
    """
    if row["data_file_id"] is not None:
        outcome = _check(file, files.blob_of(row))
        good = not isinstance(outcome, str)
        return outcome, (row["data_file_id"], bool(row["is_new"])) if good else None
    if isinstance(found, str):
        return found, None
    try:
        stored, created = files.find_or_create(
            connection, tenant, found, row["filename"], file.checksum.lower()
        )
    except Problem as refusal:
        return refusal.detail, None
    connection.execute(
        "UPDATE presigned_files SET data_file_id = ?, is_new = ?, created = ? WHERE file_key = ?",
        (stored["id"], created, time.time(), file.file_key),
    )
    return found, (stored["id"], created)


def _result(
    file: FileToConfirm, outcome: Blob | str, settled: tuple[int, bool] | None
) -> dict[str, Any]:
    data_file, created = settled or (None, False)
    failed = isinstance(outcome, str)
    return {
        "file_key": file.file_key,
        "checksum": file.checksum,
        "data_file_id": data_file,
        "success": not failed,
        "created": created,
        "error": outcome if failed else None,
    }


def _rows(
    connection: sqlite3.Connection, tenant: str, keys: Sequence[str]
) -> dict[str, sqlite3.Row]:
    """Return presigned files by key, with the content of those that are data files already."""
    found: dict[str, sqlite3.Row] = {}
    for key in keys:
        row = connection.execute(
            """SELECT presigned_files.*, sha256, sha1, md5, size FROM presigned_files
               LEFT JOIN data_files ON data_files.id = data_file_id
               WHERE file_key = ? AND presigned_files.tenant = ?""",
            (key, tenant),
        ).fetchone()
        if row is not None:
            found[key] = row
    return found
