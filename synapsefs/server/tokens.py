"""Access tokens that clients make: for one tenant, for a time, and taken back when wanted.

A token is good as long as the credential is configured that it was made with, and only where that
is so: one that was made while a server let everybody in is worth nothing to one that does not.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING, Any

from synapsefs.server.database import DATABASE
from synapsefs.server.problems import not_found
from synapsefs.server.settings import SETTINGS

if TYPE_CHECKING:
    import sqlite3

    from aiohttp import web

SCHEMA = """
CREATE TABLE IF NOT EXISTS made_tokens (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    digest TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    maker TEXT NOT NULL,
    description TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL NOT NULL
);
DROP TABLE IF EXISTS access_tokens;
"""


async def create(
    app: web.Application, maker: str, description: str, lifetime: float
) -> tuple[str, int]:
    """Make a token.

    Parameters
    ----------
    app
        The server.
    maker
        Id of the configured credential that it depends on.
    description
        What it is for.
    lifetime
        Seconds until it expires.

    Returns
    -------
    tuple
        The token, which is not stored and cannot be had again, and its id.
    """
    token, now = f"syn_{secrets.token_urlsafe(24)}", time.time()
    values = (_digest(token), app[SETTINGS].tenant, maker, description, now, now + lifetime)

    def insert(connection: sqlite3.Connection) -> int:
        connection.execute("DELETE FROM made_tokens WHERE expires < ?", (now,))
        key = connection.execute(
            """INSERT INTO made_tokens (digest, tenant, maker, description, created, expires)
               VALUES (?, ?, ?, ?, ?, ?)""",
            values,
        ).lastrowid
        return key or 0

    return token, await app[DATABASE].write(insert)


def maker_of(app: web.Application, token: str) -> str | None:
    """Return the id of the credential that a token was made with, None when it is not good."""
    asked = (_digest(token), app[SETTINGS].tenant, time.time())

    def look(connection: sqlite3.Connection) -> str | None:
        row = connection.execute(
            "SELECT maker FROM made_tokens WHERE digest = ? AND tenant = ? AND expires > ?", asked
        ).fetchone()
        return row["maker"] if row else None

    return app[DATABASE].look(look)


def listed(app: web.Application) -> list[sqlite3.Row]:
    """Return the tokens of the tenant, oldest first, without what opens anything."""

    def look(connection: sqlite3.Connection) -> list[Any]:
        return connection.execute(
            """SELECT id, description, created, expires FROM made_tokens
               WHERE tenant = ? AND expires > ? ORDER BY id LIMIT 1000""",
            (app[SETTINGS].tenant, time.time()),
        ).fetchall()

    return app[DATABASE].look(look)


async def revoke(app: web.Application, key: int) -> None:
    """Take a token back.

    Raises
    ------
    Problem
        404, when the tenant has no such token.
    """
    tenant = app[SETTINGS].tenant

    def delete(connection: sqlite3.Connection) -> int:
        return connection.execute(
            "DELETE FROM made_tokens WHERE id = ? AND tenant = ?", (key, tenant)
        ).rowcount

    if not await app[DATABASE].write(delete):
        raise not_found()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
