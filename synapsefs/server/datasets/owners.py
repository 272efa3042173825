"""Who owns what a root holds: its one owner, or else the user of an API key.

A root has one owner, whoever reads it, as long as no more than one API key is configured: the key
may change, be left out, or be that of the servers that clients start over the root themselves.
With several keys each user owns what it creates. A user whose key was once configured alone goes
on being the owner of the root.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from aiohttp import web

from synapsefs.server.auth import ANYBODY, user_of
from synapsefs.server.database import DATABASE
from synapsefs.server.settings import SETTINGS
from synapsefs.server.signing import load_secret

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

OWNER: Final = ANYBODY
"""User id of the owner of a root."""

OWNERS: Final = web.AppKey("owners", frozenset[str])
"""Users who are the owner of the root."""

_COLUMNS: Final = (
    ("ds_datasets", "user_id"),
    ("ds_projects", "user_id"),
    ("ds_entries", "user_id"),
    ("ds_revisions", "created_by"),
)


def setup(app: web.Application) -> None:
    """Note the users of the configured API keys, and let the owner have what is the owner's."""
    settings = app[SETTINGS]
    own = load_secret(settings.root).api_key
    alone = {own, *settings.api_keys} if len(settings.api_keys) <= 1 else {own}
    users = {user_of(app, key): _first_user_of(key) for key in (own, *settings.api_keys)}
    owners = {user_of(app, key) for key in alone}

    def settled(connection: sqlite3.Connection) -> bool:
        known = _known(connection)
        return known.keys() >= users.keys() and all(known[user] for user in owners)

    if not app[DATABASE].look(settled):
        many = len(settings.api_keys) > 1
        work = app[DATABASE].submit(lambda db: _settle(db, users, owners, many=many))
        work.result()
    known = app[DATABASE].look(_known)
    app[OWNERS] = frozenset(user for user, is_owner in known.items() if is_owner)


def _settle(
    connection: sqlite3.Connection,
    users: dict[str, str],
    owners: Collection[str],
    *,
    many: bool,
) -> None:
    """Write down users and owners, and rename those that what is stored names otherwise.

    Parameters
    ----------
    connection
        Inside a transaction.
    users
        Users of the configured keys, each with the id that it had in the first version.
    owners
        Those of them that are the owner of the root.
    many
        Whether others may have created what no known user has.
    """
    known = _known(connection)
    if not known and not many:
        strangers = _all_users(connection) - {OWNER, *users, *users.values()}
        for stranger in strangers if len(strangers) == 1 else ():
            _rename(connection, stranger, OWNER)
    for user, first in users.items():
        if user not in known:
            _rename(connection, first, user)
            connection.execute("INSERT INTO ds_users VALUES (?, 0)", (user,))
        if user in owners and not known.get(user):
            _rename(connection, user, OWNER)
            connection.execute("UPDATE ds_users SET is_owner = 1 WHERE id = ?", (user,))


def _rename(connection: sqlite3.Connection, old: str, new: str) -> None:
    """Give what a user has, and what is shared with that user, to another."""
    if old == new:
        return
    for table, column in _COLUMNS:
        connection.execute(
            f"UPDATE {table} SET {column} = ? WHERE {column} = ?",  # noqa: S608 - our own names
            (new, old),
        )
    connection.execute(
        "UPDATE ds_entries SET accessors = replace(accessors, :old, :new) WHERE accessors <> ''",
        {"old": f'"user:{old}"', "new": f'"user:{new}"'},
    )


def _known(connection: sqlite3.Connection) -> dict[str, bool]:
    """Users whose keys were configured at any time, and whether they are the owner."""
    rows = connection.execute("SELECT id, is_owner FROM ds_users")
    return {row["id"]: bool(row["is_owner"]) for row in rows}


def _all_users(connection: sqlite3.Connection) -> set[str]:
    found: set[str] = set()
    for table, column in _COLUMNS:
        rows = connection.execute(f"SELECT DISTINCT {column} FROM {table}")  # noqa: S608 - ours
        found.update(row[column] for row in rows)
    return found


def _first_user_of(credential: str) -> str:
    """Return the id that the user of a credential had in roots of the first version."""
    digest = hashlib.sha256(credential.encode("utf-8", "surrogateescape")).hexdigest()
    return f"user-{digest[:16]}"
