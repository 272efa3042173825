"""The datasets service: datasets, data storage entries, their revisions and search."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from synapsefs.server.database import DATABASE
from synapsefs.server.datasets import (
    account_routes,
    buckets,
    dataset_routes,
    entries,
    entry_routes,
    owners,
    search_routes,
    workspace_routes,
)
from synapsefs.server.datasets.effort import SEARCHES, SEARCHES_AT_ONCE
from synapsefs.server.datasets.schema import IN_USE, SCHEMA
from synapsefs.server.parts import OPEN, remove_files
from synapsefs.server.settings import SETTINGS
from synapsefs.wire.datasets.constants import (
    DATASETS_PATH,
    ENTRIES_PATH,
    LISTING_PATH,
    LOGIN_PATH,
    ORGANIZATIONS_PATH,
    PROJECTS_PATH,
    PROVENANCE_PATH,
    SEARCH_PATH,
    SIMILARITY_PATH,
    WORKSPACES_PATH,
)

if TYPE_CHECKING:
    import sqlite3

    from aiohttp import web

__all__ = ["IN_USE", "SCHEMA", "setup", "sweep"]

_ENTRY: Final = f"{ENTRIES_PATH}/{{entry}}"
_WORKSPACE: Final = f"{WORKSPACES_PATH}/{{entry}}"
_DATASET: Final = f"{DATASETS_PATH}/{{dataset}}"


def setup(app: web.Application) -> None:
    """Register the routes of the datasets service.

    Parameters
    ----------
    app
        The server.
    """
    for method, path, handler in (
        ("POST", LOGIN_PATH, account_routes.login),
        ("GET", ORGANIZATIONS_PATH, account_routes.list_organizations),
        ("GET", PROJECTS_PATH, account_routes.list_projects),
        ("POST", PROJECTS_PATH, account_routes.create_project),
        ("POST", ENTRIES_PATH, entry_routes.create_entry),
        ("GET", _ENTRY, entry_routes.get_entry),
        ("PATCH", _ENTRY, entry_routes.patch_entry),
        ("DELETE", _ENTRY, entry_routes.delete_entry),
        ("GET", f"{_ENTRY}/status", entry_routes.get_status),
        ("GET", f"{_ENTRY}/revisions", entry_routes.list_revisions),
        ("POST", f"{_ENTRY}/multipart-upload/initiate", entry_routes.initiate_upload),
        ("POST", f"{_ENTRY}/multipart-upload/complete", entry_routes.complete_upload),
        ("POST", DATASETS_PATH, dataset_routes.create_dataset),
        ("GET", _DATASET, dataset_routes.get_dataset),
        ("DELETE", _DATASET, dataset_routes.delete_dataset),
        ("GET", LISTING_PATH, dataset_routes.list_datasets),
        ("POST", SEARCH_PATH, search_routes.search_entries),
        ("POST", SIMILARITY_PATH, search_routes.search_similar),
        ("POST", WORKSPACES_PATH, workspace_routes.create_workspace),
        ("GET", _WORKSPACE, workspace_routes.get_workspace),
        ("PATCH", _WORKSPACE, workspace_routes.update_workspace),
        ("DELETE", _WORKSPACE, workspace_routes.delete_workspace),
        ("GET", PROVENANCE_PATH, workspace_routes.list_provenance),
    ):
        app.router.add_route(method, path, handler)
    app[OPEN].append("EXISTS (SELECT 1 FROM ds_uploads WHERE id = :upload_id AND sha256 IS NULL)")
    buckets.setup(app)
    owners.setup(app)
    app[SEARCHES] = asyncio.Semaphore(SEARCHES_AT_ONCE)


async def sweep(app: web.Application) -> None:
    """Delete entries that wait for an upload which does not come, or have lost their dataset."""
    lifetime = app[SETTINGS].upload_lifetime

    def work(connection: sqlite3.Connection) -> list[str]:
        return entries.delete_all(connection, entries.abandoned(connection, lifetime))

    await remove_files(app, await app[DATABASE].write(work))
    await dataset_routes.sweep(app)
