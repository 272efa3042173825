"""The collections service: routes of both generations over one catalogue."""

from __future__ import annotations

from typing import TYPE_CHECKING

from synapsefs.server.collections import (
    account,
    chunked,
    datafiles,
    lists,
    presigned,
    schemas,
    second,
    second_units,
)
from synapsefs.server.collections.schema import IN_USE, SCHEMA
from synapsefs.server.database import DATABASE
from synapsefs.server.settings import SETTINGS

if TYPE_CHECKING:
    import sqlite3

    from aiohttp import web

__all__ = ["IN_USE", "SCHEMA", "forget", "setup", "sweep"]

_MODULES = (lists, datafiles, chunked, presigned, second, second_units, account, schemas)


def setup(app: web.Application) -> None:
    """Register all routes of the service."""
    for module in _MODULES:
        module.setup(app)


async def sweep(app: web.Application) -> None:
    """Forget uploads that are over."""
    lifetime = app[SETTINGS].upload_lifetime

    def forget(connection: sqlite3.Connection) -> None:
        chunked.sweep(connection, lifetime)
        presigned.sweep(connection, lifetime)

    await app[DATABASE].write(forget)


def forget(connection: sqlite3.Connection, sha256: str) -> None:
    """Forget the data files of an object that is removed."""
    connection.execute("DELETE FROM data_files WHERE sha256 = ?", (sha256,))
