"""Routes of datasets."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from aiohttp import web

from synapsefs.server.database import DATABASE
from synapsefs.server.datasets import datasets, entries, rendering, search
from synapsefs.server.datasets.context import (
    answered,
    caller_of,
    is_strict,
    received,
    renderer_for,
)
from synapsefs.server.datasets.faults import unprocessable
from synapsefs.server.parts import remove_files
from synapsefs.server.problems import not_found
from synapsefs.wire.datasets.answers import DatasetCreated
from synapsefs.wire.datasets.requests import DatasetCreate

if TYPE_CHECKING:
    import sqlite3

BATCH: Final = 1000
"""Entries that are deleted in one transaction."""

Listed = list[tuple["sqlite3.Row", str | None]]


async def create_dataset(request: web.Request) -> web.Response:
    """Answer ``POST`` of a dataset."""
    caller, wanted = caller_of(request), await received(request, DatasetCreate)
    chosen = None if wanted.id is None else _uuid(wanted.id)
    key = await request.app[DATABASE].write(
        lambda db: datasets.create(db, caller, wanted.name, wanted.description, chosen)
    )
    created = DatasetCreated(id=key, name=wanted.name, description=wanted.description)
    return answered(created, 201)


async def get_dataset(request: web.Request) -> web.Response:
    """Answer ``GET`` of a dataset with its entries of every depth."""
    caller, key = caller_of(request), request.match_info["dataset"]

    def work(connection: sqlite3.Connection) -> tuple[sqlite3.Row, Listed]:
        row = datasets.find(connection, caller, key)
        return row, search.in_dataset(connection, caller, row["id"])

    row, found = await request.app[DATABASE].read(work)
    renderer, described = renderer_for(request), rendering.dataset(row)
    return answered(
        {
            **({} if is_strict(request) else described),
            "dataset": described,
            "data_storage_entries": [renderer.listed(entry, content=text) for entry, text in found],
        }
    )


async def delete_dataset(request: web.Request) -> web.Response:
    """Answer ``DELETE`` of a dataset; its entries go with it.

    It is gone at once. Its entries go in batches, between which others may write, and the next
    sweep goes on where this process ends.
    """
    caller, key = caller_of(request), request.match_info["dataset"]

    def work(connection: sqlite3.Connection) -> str:
        row = datasets.editable(connection, caller, key)
        connection.execute("DELETE FROM ds_datasets WHERE id = ?", (row["id"],))
        return str(row["id"])

    await delete_entries(request.app, await request.app[DATABASE].write(work))
    return web.Response(status=204)


async def delete_entries(app: web.Application, key: str) -> None:
    """Delete the entries of a dataset that is not there any more."""

    def work(connection: sqlite3.Connection) -> tuple[list[str], bool]:
        keys = datasets.entry_ids(connection, key, BATCH)
        return entries.delete_all(connection, keys), len(keys) == BATCH

    more = True
    while more:
        files, more = await app[DATABASE].write(work)
        await remove_files(app, files)


async def sweep(app: web.Application) -> None:
    """Delete what is left of datasets whose deletion was interrupted."""
    for key in await app[DATABASE].read(datasets.deleted):
        await delete_entries(app, key)


async def list_datasets(request: web.Request) -> web.Response:
    """Answer ``GET`` of every dataset the caller may see, newest first."""
    if is_strict(request):
        raise not_found()
    caller, name = caller_of(request), request.query.get("name")
    rows = await request.app[DATABASE].read(lambda db: datasets.all_of(db, caller, name))
    return answered({"datasets": [rendering.dataset(row) for row in rows]})


def _uuid(text: str) -> str:
    """Return a UUID in its usual form.

    Raises
    ------
    Problem
        422, when it is none.
    """
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise unprocessable("The id of a dataset must be a UUID") from None
