"""Objects that nothing needs any more: noted first, removed when they have been so for a while.

What is deleted may still be read through URLs that were handed out, and what was uploaded may
still be waiting for the request that binds it. So an object goes when two things have held for a
whole upload lifetime: nothing in the catalogue needed it, and nobody stored it or asked for it.

An object is stored first and then written into the catalogue, by any process. To remove one, its
folder is locked against storing, its age and the catalogue are looked at once more, and only then
the catalogue forgets it and the file goes. A crash in between leaves a file that the next round
finds.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING

from synapsefs.server import collections, datasets, parts
from synapsefs.server.blobs import BLOBS
from synapsefs.server.database import DATABASE
from synapsefs.server.settings import SETTINGS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from aiohttp import web

SCHEMA = """
CREATE TABLE IF NOT EXISTS garbage (
    sha256 TEXT PRIMARY KEY,
    since REAL NOT NULL
) WITHOUT ROWID;
"""

_IN_USE = " OR ".join((*parts.IN_USE, *collections.IN_USE, *datasets.IN_USE))
_UNUSED_OF = f"""
SELECT value FROM json_each(:names) WHERE NOT ({_IN_USE.replace(":sha256", "value")})
"""  # noqa: S608 - constants


LEAST = 3600.0
"""Seconds that an object is kept at least; between storing and binding it may be needed by none."""


async def collect(app: web.Application, grace: float | None = None) -> int:
    """Note what is not needed, and remove what has not been needed for long.

    Parameters
    ----------
    app
        The server.
    grace
        Seconds for which an object is kept that nothing needs; by default the lifetime of an
        upload, and not less than :data:`LEAST`.

    Returns
    -------
    int
        How many objects were removed.
    """
    removed, moment = 0, time.time()
    oldest = moment - (max(app[SETTINGS].upload_lifetime, LEAST) if grace is None else grace)
    for shard in await app[BLOBS].run(app[BLOBS].shards):
        removed += await _collect_shard(app, shard, moment, oldest)
    return removed


async def _collect_shard(app: web.Application, shard: str, moment: float, oldest: float) -> int:
    """Do it for the objects of one folder, so that little is held in memory."""
    blobs, database = app[BLOBS], app[DATABASE]
    old = await blobs.run(lambda: blobs.untouched(shard, oldest))
    unused = await database.read(lambda connection: _unused_of(connection, old))
    doomed = await database.write(
        lambda connection: _note(connection, shard, unused, moment, oldest)
    )

    def remove(sha256: str) -> bool:
        forgetting = partial(_forget, sha256)
        return blobs.remove(sha256, oldest, lambda: database.submit(forgetting).result())

    return sum([await blobs.run(partial(remove, sha256)) for sha256 in doomed])


def _unused_of(connection: sqlite3.Connection, names: Sequence[str]) -> list[str]:
    rows = connection.execute(_UNUSED_OF, {"names": json.dumps(names)})
    return [row["value"] for row in rows]


def _note(
    connection: sqlite3.Connection, shard: str, unused: Sequence[str], moment: float, oldest: float
) -> list[str]:
    """Write down since when objects are not needed, and return those that may go."""
    names = json.dumps(unused)
    connection.execute(
        """DELETE FROM garbage WHERE sha256 >= ? AND sha256 < ? || 'g'
           AND sha256 NOT IN (SELECT value FROM json_each(?))""",
        (shard, shard, names),
    )
    connection.execute(
        "INSERT OR IGNORE INTO garbage SELECT value, ? FROM json_each(?)", (moment, names)
    )
    rows = connection.execute(
        "SELECT sha256 FROM garbage WHERE sha256 >= ? AND sha256 < ? || 'g' AND since <= ?",
        (shard, shard, oldest),
    )
    return [row["sha256"] for row in rows]


def _forget(sha256: str, connection: sqlite3.Connection) -> bool:
    """Let the catalogue forget an object, and say so, unless it is needed again."""
    if not _unused_of(connection, [sha256]):
        return False
    collections.forget(connection, sha256)
    connection.execute("DELETE FROM garbage WHERE sha256 = ?", (sha256,))
    return True
