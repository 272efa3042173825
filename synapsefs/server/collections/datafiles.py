"""First generation: direct upload of data files, and which checksums are known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapsefs.server.auth import identity
from synapsefs.server.blobs import BLOBS
from synapsefs.server.bodies import answer_json, read_model
from synapsefs.server.collections import chunked, files, views
from synapsefs.server.collections.intake import receive_form
from synapsefs.server.database import DATABASE
from synapsefs.server.formdata import is_form
from synapsefs.server.problems import invalid
from synapsefs.wire.collections.constants import CHECKSUM_BATCH
from synapsefs.wire.collections.v1 import ChecksumQuery, DataFileFromChunks

if TYPE_CHECKING:
    import sqlite3

    from aiohttp import web


async def create_data_file(request: web.Request) -> web.Response:
    """Answer ``POST data_files/``: a form with the file, or the id of a chunked upload."""
    if is_form(request):
        form = await receive_form(request)
        if form.blob is None:
            raise invalid("file", "No file was submitted.")
        blob, name = form.blob, form.filename
    else:
        wanted = await read_model(request, DataFileFromChunks)
        blob, name = await chunked.finished(request, str(wanted.chunked_upload))
    tenant = identity(request).tenant

    def register(connection: sqlite3.Connection) -> sqlite3.Row:
        return files.find_or_create(connection, tenant, blob, name, blob.md5)[0]

    row = await request.app[DATABASE].write(register)
    return answer_json(views.data_file_v1(request, row), 201)


async def verify_checksums(request: web.Request) -> web.Response:
    """Answer ``POST data_files/verify_checksums/``."""
    wanted = (await read_model(request, ChecksumQuery)).checksums
    if len(wanted) > CHECKSUM_BATCH:
        raise invalid("checksums", f"At most {CHECKSUM_BATCH} checksums at once.")
    tenant = identity(request).tenant
    known = await request.app[DATABASE].read(
        lambda connection: files.by_checksum(connection, tenant, wanted)
    )
    blobs = request.app[BLOBS]
    there = await blobs.run(
        lambda: {each for each, row in known.items() if blobs.touch(row["sha256"])}
    )
    return answer_json({"existing_checksums": [each for each in wanted if each in there]})


def setup(app: web.Application) -> None:
    """Register the routes."""
    app.router.add_route("POST", "/data_files/", create_data_file)
    app.router.add_route("POST", "/data_files/verify_checksums/", verify_checksums)
