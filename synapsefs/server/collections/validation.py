"""Metadata of units is checked against the schema of its collection before it is written.

Checking takes as long as a schema wants, within bounds. So it runs in a thread of its own, and not
in a transaction, where it would hold up every other writer. The transaction only sees to it that
the schema is still the one that was checked.
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, TypeVar

from synapsefs.server.auth import identity
from synapsefs.server.database import DATABASE
from synapsefs.server.problems import Problem, invalid
from synapsefs.wire.collections.metadata import metadata_checker, schema_in, schema_problem

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Mapping, Sequence

    from aiohttp import web

    from synapsefs.wire.collections.v2 import CollectionChanges

T = TypeVar("T")

ATTEMPTS = 5
"""How often metadata is checked anew because the schema has changed meanwhile."""


class SchemaChangedError(Exception):
    """The schema is no longer the one that metadata was checked against."""


class Checked:
    """What has been checked: by collection, the text of its ``meta``.

    Parameters
    ----------
    texts
        None for a collection that is not there.
    """

    def __init__(self, texts: Mapping[int, str | None]) -> None:
        self._texts = texts

    def require(self, collection: sqlite3.Row) -> None:
        """See that metadata of this collection was checked against what it asks for now.

        Raises
        ------
        SchemaChangedError
            It was not.
        """
        if self._texts.get(collection["id"]) != collection["meta"]:
            raise SchemaChangedError


async def write_checked(
    request: web.Request,
    metadata: Callable[[sqlite3.Connection], Mapping[int, Sequence[Mapping[str, Any] | None]]],
    work: Callable[[sqlite3.Connection, Checked], T],
    *,
    dry: bool = False,
) -> T:
    """Check metadata, then run `work` in a transaction.

    Parameters
    ----------
    request
        The request that is being answered.
    metadata
        Looks up which metadata goes to which collection.
    work
        Writes it, and calls :meth:`Checked.require` for each collection.
    dry
        Run `work` on a connection that only reads.

    Returns
    -------
    object
        What `work` returned.

    Raises
    ------
    Problem
        400, when the metadata breaks a schema; 409, when that never stays the same.
    """
    database = request.app[DATABASE]
    for _ in range(ATTEMPTS):
        checked = Checked(await _check(request, metadata))

        def run(connection: sqlite3.Connection, checked: Checked = checked) -> T:
            return work(connection, checked)

        try:
            return await (database.read(run) if dry else database.write(run))
        except SchemaChangedError:
            continue
    raise Problem(409, "The schema for metadata keeps changing.")


async def check_schema(wanted: CollectionChanges) -> None:
    """Refuse a schema for metadata that is none, or cannot be checked in bounded time.

    Raises
    ------
    Problem
        400, when it is refused.
    """
    schema = schema_in(wanted.meta) if "meta" in wanted.model_fields_set else None
    if schema is not None and (problem := await asyncio.to_thread(schema_problem, schema)):
        raise invalid("meta", problem)


async def _check(
    request: web.Request,
    metadata: Callable[[sqlite3.Connection], Mapping[int, Sequence[Mapping[str, Any] | None]]],
) -> dict[int, str | None]:
    """Check metadata and return the ``meta`` of the collections that it goes to."""
    tenant = identity(request).tenant

    def look(
        connection: sqlite3.Connection,
    ) -> tuple[Mapping[int, Sequence[Mapping[str, Any] | None]], dict[int, str | None]]:
        wanted, texts = metadata(connection), dict[int, str | None]()
        for collection in wanted:
            row = connection.execute(
                "SELECT meta FROM collections WHERE id = ? AND tenant = ?", (collection, tenant)
            ).fetchone()
            texts[collection] = row["meta"] if row else None
        return wanted, texts

    wanted, texts = request.app[DATABASE].look(look)
    for collection, text in texts.items():
        schema = schema_in(json.loads(text)) if text is not None else None
        if schema is not None:
            await asyncio.to_thread(_obey, schema, wanted[collection])
    return texts


def _obey(schema: dict[str, Any], metadata: Sequence[Mapping[str, Any] | None]) -> None:
    """Refuse metadata that breaks a schema; it blocks."""
    problems = metadata_checker(schema)
    for meta in metadata:
        if found := problems(meta):
            raise invalid("meta", "; ".join(found))
