"""Second generation: collections, their groups, and data files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from synapsefs.server.auth import identity
from synapsefs.server.bodies import answer_data, read_model
from synapsefs.server.collections import catalogue, files, views
from synapsefs.server.collections.models import GroupToCreate
from synapsefs.server.collections.validation import check_schema
from synapsefs.server.database import DATABASE
from synapsefs.server.paging import cursor
from synapsefs.server.problems import invalid, not_found
from synapsefs.server.settings import SETTINGS
from synapsefs.wire.collections.v2 import CollectionChanges, CollectionToCreate

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.paging import Cursor

SORTABLE = {"id": "id", "created": "created"}


async def list_collections(request: web.Request) -> web.Response:
    """Answer ``GET v2/data-collections/``."""
    begin = cursor(request, {**SORTABLE, "name": "name"})
    filters = ["tenant = ?"]
    values: list[Any] = [identity(request).tenant]
    if category := request.query.get("category"):
        filters.append("category = ?")
        values.append(category)
    rows = await select(request, begin, "collections", filters, values)
    data, pagination = begin.page(request, rows, views.collection_item)
    return answer_data(data, pagination=pagination)


async def create_collection(request: web.Request) -> web.Response:
    """Answer ``POST v2/data-collections/``."""
    wanted = await read_model(request, CollectionToCreate)
    await check_schema(wanted)
    tenant = identity(request).tenant
    key = await request.app[DATABASE].write(
        lambda connection: catalogue.create(connection, tenant, wanted)
    )
    return answer_data(await _detail(request, key), 201)


async def get_collection(request: web.Request) -> web.Response:
    """Answer ``GET v2/data-collections/{id}/``."""
    return answer_data(await _detail(request, key_of(request)))


async def change_collection(request: web.Request) -> web.Response:
    """Answer ``PUT`` and ``PATCH v2/data-collections/{id}/``."""
    whole = request.method == "PUT"
    wanted: CollectionChanges = await read_model(
        request, CollectionToCreate if whole else CollectionChanges
    )
    await check_schema(wanted)
    tenant, key = identity(request).tenant, key_of(request)
    await request.app[DATABASE].write(
        lambda connection: catalogue.update(connection, tenant, key, wanted)
    )
    return answer_data(await _detail(request, key))


async def delete_collection(request: web.Request) -> web.Response:
    """Answer ``DELETE v2/data-collections/{id}/``."""
    tenant, key = identity(request).tenant, key_of(request)
    await request.app[DATABASE].write(lambda connection: catalogue.delete(connection, tenant, key))
    return web.Response(status=204)


async def list_groups(request: web.Request) -> web.Response:
    """Answer ``GET v2/data-collections/{id}/groups/``."""
    begin = cursor(request, {"id": "id", "name": "name"})
    tenant, key = identity(request).tenant, key_of(request)
    await request.app[DATABASE].read(lambda connection: catalogue.get(connection, tenant, key))
    rows = await select(request, begin, "groups", ["collection_id = ?"], [key])
    data, pagination = begin.page(request, rows, _group_item)
    return answer_data(data, pagination=pagination)


async def create_group(request: web.Request) -> web.Response:
    """Answer ``POST v2/data-collections/{id}/groups/``."""
    wanted = await read_model(request, GroupToCreate)
    tenant, collection = identity(request).tenant, key_of(request)

    def create(connection: sqlite3.Connection) -> sqlite3.Row:
        catalogue.get(connection, tenant, collection)
        key = catalogue.group(connection, collection, [wanted.name])
        return catalogue.get_group(connection, collection, key or 0)

    return answer_data(_group(await request.app[DATABASE].write(create)), 201)


async def get_group(request: web.Request) -> web.Response:
    """Answer ``GET v2/data-collections/{id}/groups/{group}/``."""
    tenant, collection = identity(request).tenant, key_of(request)
    key = int(request.match_info["group"])

    def look(connection: sqlite3.Connection) -> sqlite3.Row:
        catalogue.get(connection, tenant, collection)
        return catalogue.get_group(connection, collection, key)

    return answer_data(_group(await request.app[DATABASE].read(look)))


async def delete_group(request: web.Request) -> web.Response:
    """Answer ``DELETE v2/data-collections/{id}/groups/{group}/``."""
    tenant, collection = identity(request).tenant, key_of(request)
    key = int(request.match_info["group"])

    def delete(connection: sqlite3.Connection) -> None:
        catalogue.get(connection, tenant, collection)
        catalogue.delete_group(connection, collection, key)

    await request.app[DATABASE].write(delete)
    return web.Response(status=204)


async def list_data_files(request: web.Request) -> web.Response:
    """Answer ``GET v2/data-files/``; ``checksum`` may name several, separated by commas."""
    begin = cursor(request, SORTABLE)
    tenant = identity(request).tenant
    filters, values = ["tenant = ?"], [tenant]
    asked = [one for value in request.query.getall("checksum", []) for one in value.split(",")]
    if asked:
        known = await request.app[DATABASE].read(
            lambda connection: files.by_checksum(connection, tenant, asked)
        )
        keys = sorted({row["id"] for row in known.values()})
        filters.append(f"id IN ({', '.join(map(str, keys))})")
    if collection := request.query.get("data_collection"):
        filters.append(
            """id IN (SELECT data_file_id FROM unit_files JOIN units ON units.id = unit_id
                      WHERE collection_id = ?)"""
        )
        values.append(collection)
    rows = await select(request, begin, "data_files", filters, values)
    data, pagination = begin.page(request, rows, views.data_file_v2)
    return answer_data(data, pagination=pagination)


async def get_data_file(request: web.Request) -> web.Response:
    """Answer ``GET v2/data-files/{id}/``."""
    key = (key_of(request), identity(request).tenant)
    row = await request.app[DATABASE].read(
        lambda connection: connection.execute(
            "SELECT * FROM data_files WHERE id = ? AND tenant = ?", key
        ).fetchone()
    )
    if row is None:
        raise not_found()
    shown = {**views.data_file_v2(row), "meta": {}, "storage_id": views.STORAGE_ID}
    return answer_data(shown)


def setup(app: web.Application) -> None:
    """Register the routes."""
    route = app.router.add_route
    collections = "/v2/data-collections/"
    one = collections + r"{id:\d{1,18}}/"
    groups = one + "groups/"
    group = groups + r"{group:\d{1,18}}/"
    route("GET", collections, list_collections)
    route("POST", collections, create_collection)
    route("GET", one, get_collection)
    route("PUT", one, change_collection)
    route("PATCH", one, change_collection)
    route("DELETE", one, delete_collection)
    route("GET", groups, list_groups)
    route("POST", groups, create_group)
    route("GET", group, get_group)
    route("DELETE", group, delete_group)
    route("GET", "/v2/data-files/", list_data_files)
    route("GET", r"/v2/data-files/{id:\d{1,18}}/", get_data_file)


def key_of(request: web.Request) -> int:
    """Return the id in the path."""
    return int(request.match_info["id"])


def boolean(request: web.Request, name: str) -> bool | None:
    """Return a boolean of the query, or None when it is not there.

    Raises
    ------
    Problem
        400, when it is something else.
    """
    text = request.query.get(name, "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise invalid(name, "Must be true or false.")
    return text in ("true", "1") if text else None


async def select(
    request: web.Request, begin: Cursor, table: str, filters: list[str], values: list[Any]
) -> list[sqlite3.Row]:
    """Return the rows of a page, and one more when there is more."""
    condition, order, position = begin.clauses()
    where = " AND ".join([*filters, condition])
    statement = f"SELECT * FROM {table} WHERE {where} {order}"  # noqa: S608 - our own names
    return await request.app[DATABASE].read(
        lambda connection: connection.execute(statement, [*values, *position]).fetchall()
    )


async def _detail(request: web.Request, key: int) -> dict[str, Any]:
    tenant = identity(request).tenant

    def look(connection: sqlite3.Connection) -> tuple[sqlite3.Row, list[sqlite3.Row]]:
        row = catalogue.get(connection, tenant, key)
        return row, catalogue.specifications(connection, [key])[key]

    row, specifications = await request.app[DATABASE].read(look)
    return views.collection_detail(row, specifications, strict=request.app[SETTINGS].strict)


def _group(row: sqlite3.Row) -> dict[str, Any]:
    return {**_group_item(row), "data_collection_id": row["collection_id"]}


def _group_item(row: sqlite3.Row) -> dict[str, Any]:
    return {"id": row["id"], "name": row["name"]}
