"""Data files in the catalogue: content that a tenant has uploaded, once each."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from synapsefs.server.digests import Blob
from synapsefs.server.problems import Problem
from synapsefs.wire.collections.constants import CHECKSUM_ALGORITHMS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable


def find_or_create(
    connection: sqlite3.Connection, tenant: str, blob: Blob, name: str, checksum: str
) -> tuple[sqlite3.Row, bool]:
    """Return the data file that holds `blob`, and whether it is new.

    Parameters
    ----------
    connection
        Inside a transaction.
    tenant
        Whose it is.
    blob
        The content.
    name, checksum
        Original name, and the checksum to show; a data file that is there keeps its own.

    Returns
    -------
    tuple
        The row, and True when it was created.

    Raises
    ------
    Problem
        409, when another content has the same MD5 or SHA-1: clients know content by these.
    """
    collides = connection.execute(
        """SELECT 1 FROM data_files WHERE tenant = :tenant AND md5 = :md5 AND sha256 <> :sha256
           UNION ALL
           SELECT 1 FROM data_files WHERE tenant = :tenant AND sha1 = :sha1 AND sha256 <> :sha256
           LIMIT 1""",
        {"tenant": tenant, "md5": blob.md5, "sha1": blob.sha1, "sha256": blob.sha256},
    ).fetchone()
    if collides is not None:
        raise Problem(409, "Another data file has the same checksum but other content.")
    created = connection.execute(
        """INSERT INTO data_files (tenant, sha256, sha1, md5, checksum, size, name, created)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (tenant, sha256) DO NOTHING""",
        (tenant, blob.sha256, blob.sha1, blob.md5, checksum, blob.size, name, time.time()),
    )
    row: sqlite3.Row = connection.execute(
        "SELECT * FROM data_files WHERE tenant = ? AND sha256 = ?", (tenant, blob.sha256)
    ).fetchone()
    return row, created.rowcount == 1


def by_checksum(
    connection: sqlite3.Connection, tenant: str, checksums: Iterable[str]
) -> dict[str, sqlite3.Row]:
    """Find data files by checksum.

    Parameters
    ----------
    connection
        To read from.
    tenant
        Whose files to look at.
    checksums
        MD5, SHA-1 or SHA-256 in hex, told by their length; case does not matter.

    Returns
    -------
    dict
        Rows by the checksum as it was given; what is not known is left out, and so is what two
        contents have in common, as the first version allowed.
    """
    given = {checksum: checksum.lower() for checksum in checksums}
    found: dict[str, sqlite3.Row] = {}
    shared: set[str] = set()
    for length, algorithm in CHECKSUM_ALGORITHMS.items():
        wanted = json.dumps([value for value in given.values() if len(value) == length])
        rows = connection.execute(
            f"""SELECT * FROM data_files WHERE tenant = ?
                AND {algorithm} IN (SELECT value FROM json_each(?))""",  # noqa: S608
            (tenant, wanted),
        )
        for row in rows:
            shared |= {row[algorithm]} & found.keys()
            found[row[algorithm]] = row
    for value in shared:
        del found[value]
    return {checksum: found[value] for checksum, value in given.items() if value in found}


def blob_of(row: Any) -> Blob:
    """Return the content of a data file or a finished upload."""
    return Blob(row["sha256"], row["sha1"], row["md5"], row["size"])


def matches(blob: Blob, checksum: str) -> bool:
    """Return whether `checksum`, of whichever algorithm, is that of `blob`."""
    algorithm = CHECKSUM_ALGORITHMS.get(len(checksum))
    return algorithm is not None and getattr(blob, algorithm) == checksum.lower()
