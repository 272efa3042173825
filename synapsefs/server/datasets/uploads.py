"""Multipart uploads of entries, as the catalogue sees them."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

from synapsefs.server.datasets import entries
from synapsefs.server.datasets.faults import conflict, not_found
from synapsefs.server.datasets.records import decoded, encoded, insert, now, update
from synapsefs.server.parts import touch_parts
from synapsefs.server.problems import Problem
from synapsefs.wire.datasets.constants import Status

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.datasets.access import Caller
    from synapsefs.server.digests import Blob
    from synapsefs.server.parts import Part
    from synapsefs.wire.datasets.requests import PartDone

KEPT = 7
"""Upload lifetimes for which a part may be sent to its URL, as in object storage: a week."""


def initiate(
    connection: sqlite3.Connection,
    caller: Caller,
    key: str,
    part_hashes: list[str],
    *,
    strict: bool,
) -> str:
    """Begin an upload for a pending entry, or give the one that was begun for the same parts.

    Parameters
    ----------
    connection
        Inside a transaction.
    caller
        Who asks.
    key
        Id or short alias of the entry.
    part_hashes
        Base64 MD5 of every part, in order.
    strict
        Begin a new upload each time.

    Returns
    -------
    str
        Id of the upload. Asked again about the same parts, a client has lost the URLs, not the
        parts: what has arrived still counts.

    Raises
    ------
    Problem
        403 or 404 when the caller may not, 409 when the entry does not wait for bytes.
    """
    entry = entries.editable(connection, caller, key)
    if entry["status"] != Status.PENDING:
        raise conflict("This data storage entry does not wait for an upload")
    if not strict:
        begun = connection.execute(
            """SELECT id FROM ds_uploads WHERE entry_id = ? AND part_hashes = ? AND sha256 IS NULL
               ORDER BY rowid DESC LIMIT 1""",
            (entry["id"], encoded(part_hashes)),
        ).fetchone()
        if begun is not None:
            touch_parts(connection, begun["id"])
            update(connection, "ds_uploads", begun["id"], {"created_at": now()})
            return str(begun["id"])
    upload_id = secrets.token_hex(16)
    values = {
        "id": upload_id,
        "entry_id": entry["id"],
        "part_hashes": encoded(part_hashes),
        "created_at": now(),
    }
    insert(connection, "ds_uploads", values)
    return upload_id


def expected(
    connection: sqlite3.Connection, caller: Caller, key: str, upload_id: str
) -> tuple[list[str], bool]:
    """Return the part hashes of an upload, and whether it is complete already.

    Raises
    ------
    Problem
        403 or 404 when the caller may not, or the upload is not one of this entry.
    """
    entry = entries.editable(connection, caller, key)
    row = connection.execute(
        "SELECT part_hashes, sha256 FROM ds_uploads WHERE id = ? AND entry_id = ?",
        (upload_id, entry["id"]),
    ).fetchone()
    if row is None:
        raise not_found("Upload not found")
    return decoded(row["part_hashes"]), row["sha256"] is not None


def check(part_hashes: list[str], parts: list[PartDone]) -> None:
    """Check that a completion names every part once, with the checksums announced.

    Raises
    ------
    Problem
        400 when it does not.
    """
    numbers = sorted(part.part_number for part in parts)
    if numbers != list(range(1, len(part_hashes) + 1)):
        raise Problem(400, f"The upload has {len(part_hashes)} parts; name each of them once")
    for part in parts:
        if part.checksum not in (None, part_hashes[part.part_number - 1]):
            raise Problem(400, f"Part {part.part_number} has another checksum than announced")


def check_arrived(part_hashes: list[str], named: list[PartDone], arrived: list[Part]) -> None:
    """Check that the storage has every part as it was announced.

    Parameters
    ----------
    part_hashes
        Base64 MD5 of every part, in order.
    named
        The parts as the client names them; an empty ETag is not compared.
    arrived
        The parts as the storage has them, in order.

    Raises
    ------
    Problem
        400 when a part is missing or other than announced.
    """
    etags = {part.part_number: part.etag.strip('"') for part in named}
    have = {part.number: part for part in arrived}
    if len(have) != len(part_hashes):
        raise Problem(400, f"Only {len(have)} of {len(part_hashes)} parts have arrived")
    for number, announced in enumerate(part_hashes, 1):
        part = have.get(number)
        if part is None:
            raise Problem(400, f"Part {number} has not arrived")
        if _base64(part.md5) != announced or etags[number] not in ("", part.md5):
            raise Problem(400, f"Part {number} is not what was announced")


def _base64(md5: str) -> str:
    return base64.b64encode(bytes.fromhex(md5)).decode()


def finish(connection: sqlite3.Connection, upload_id: str, blob: Blob) -> None:
    """Note that an upload is complete and what its bytes are.

    Raises
    ------
    Problem
        404, when its entry was deleted while its bytes were put together.
    """
    if connection.execute("SELECT 1 FROM ds_uploads WHERE id = ?", (upload_id,)).fetchone() is None:
        raise not_found(entries.NOT_FOUND)
    columns = {"sha256": blob.sha256, "sha1": blob.sha1, "md5": blob.md5, "size": blob.size}
    update(connection, "ds_uploads", upload_id, {**columns, "created_at": now()})


def completed(connection: sqlite3.Connection, key: str) -> dict[str, Any] | None:
    """Return the blob columns of the last complete upload of the entry `key`, None without one."""
    row = connection.execute(
        """SELECT sha256, sha1, md5, size FROM ds_uploads
           WHERE entry_id = ? AND sha256 IS NOT NULL ORDER BY rowid DESC LIMIT 1""",
        (key,),
    ).fetchone()
    return None if row is None else dict(row)
