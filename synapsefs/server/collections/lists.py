"""First generation: collections, units and storages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, TypeAdapter

from synapsefs.server.auth import identity
from synapsefs.server.bodies import answer_json, read_json
from synapsefs.server.collections import catalogue, units, views
from synapsefs.server.collections.validation import write_checked
from synapsefs.server.database import DATABASE
from synapsefs.server.paging import numbered
from synapsefs.server.problems import invalid, not_found
from synapsefs.server.settings import SETTINGS
from synapsefs.wire.collections.constants import UNIT_BATCH
from synapsefs.wire.collections.v1 import UnitToCreate

if TYPE_CHECKING:
    import sqlite3

    from aiohttp import web

    from synapsefs.server.collections.validation import Checked

_UNITS: TypeAdapter[list[UnitToCreate]] = TypeAdapter(
    Annotated[list[UnitToCreate], Field(max_length=UNIT_BATCH)]
)

_ORDERS = {
    "id": "units.id",
    "-id": "units.id DESC",
    "created_at": "units.created, units.id",
    "-created_at": "units.created DESC, units.id DESC",
}


async def list_collections(request: web.Request) -> web.Response:
    """Answer ``GET data_collections/``."""
    tenant, page = identity(request).tenant, numbered(request)

    def look(connection: sqlite3.Connection) -> Any:
        count = connection.execute(
            "SELECT count(*) FROM collections WHERE tenant = ?", (tenant,)
        ).fetchone()[0]
        rows = connection.execute(
            "SELECT * FROM collections WHERE tenant = ? ORDER BY id LIMIT ? OFFSET ?",
            (tenant, page.size, page.offset),
        ).fetchall()
        return count, rows, catalogue.specifications(connection, [row["id"] for row in rows])

    count, rows, specifications = await request.app[DATABASE].read(look)
    expanded = _expanded(request)
    shown = [views.collection_v1(row, specifications[row["id"]], expanded=expanded) for row in rows]
    return answer_json(page.answer(request, count, shown))


async def get_collection(request: web.Request) -> web.Response:
    """Answer ``GET data_collections/{id}/``."""
    tenant, key = identity(request).tenant, int(request.match_info["id"])

    def look(connection: sqlite3.Connection) -> tuple[sqlite3.Row, list[sqlite3.Row]]:
        row = catalogue.get(connection, tenant, key)
        return row, catalogue.specifications(connection, [key])[key]

    row, specifications = request.app[DATABASE].look(look)
    return answer_json(views.collection_v1(row, specifications, expanded=_expanded(request)))


async def create_units(request: web.Request) -> web.Response:
    """Answer ``POST data_units/``: an array with an array, an object with an object."""
    body = await read_json(request)
    several = body.lstrip().startswith(b"[")
    batch = _UNITS.validate_json(body) if several else [UnitToCreate.model_validate_json(body)]
    tenant = identity(request).tenant

    def metadata(_: sqlite3.Connection) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {}
        for unit in batch:
            found.setdefault(unit.data_collection, []).append(unit.meta)
        return found

    def insert(connection: sqlite3.Connection, checked: Checked) -> Any:
        keys = _insert_units(connection, tenant, batch, checked)
        rows = [units.get(connection, tenant, key) for key in keys]
        return rows, units.files_of(connection, keys)

    rows, files = await write_checked(request, metadata, insert)
    shown = [views.unit_v1(request, row, files[row["id"]]) for row in rows]
    return answer_json(shown if several else shown[0], 201)


async def list_units(request: web.Request) -> web.Response:
    """Answer ``GET data_units/``."""
    page = numbered(request)
    conditions, values = _unit_filters(request)
    order = _ORDERS.get(request.query.get("ordering", "id"), "units.id")
    source = f"FROM units WHERE {' AND '.join(conditions)}"

    def look(connection: sqlite3.Connection) -> Any:
        count = connection.execute(f"SELECT count(*) {source}", values).fetchone()[0]
        rows = connection.execute(
            f"SELECT * {source} ORDER BY {order} LIMIT ? OFFSET ?",
            (*values, page.size, page.offset),
        ).fetchall()
        return count, rows, units.files_of(connection, [row["id"] for row in rows])

    count, rows, files = await request.app[DATABASE].read(look)
    shown = [views.unit_v1(request, row, files[row["id"]]) for row in rows]
    return answer_json(page.answer(request, count, shown))


async def get_unit(request: web.Request) -> web.Response:
    """Answer ``GET data_units/{id}/``."""
    tenant, key = identity(request).tenant, int(request.match_info["id"])

    def look(connection: sqlite3.Connection) -> tuple[sqlite3.Row, list[sqlite3.Row]]:
        return units.get(connection, tenant, key), units.files_of(connection, [key])[key]

    row, files = request.app[DATABASE].look(look)
    return answer_json(views.unit_v1(request, row, files))


async def list_storages(request: web.Request) -> web.Response:
    """Answer ``GET storages/``."""
    fits = request.query.get("category", "internal") == views.STORAGE["category"]
    shown = [views.STORAGE] if fits else []
    return answer_json(numbered(request).answer(request, len(shown), shown))


async def get_storage(request: web.Request) -> web.Response:
    """Answer ``GET storages/{id}/``."""
    if int(request.match_info["id"]) != views.STORAGE_ID:
        raise not_found()
    return answer_json(views.STORAGE)


def setup(app: web.Application) -> None:
    """Register the routes."""
    app.router.add_route("GET", "/data_collections/", list_collections)
    app.router.add_route("GET", r"/data_collections/{id:\d{1,18}}/", get_collection)
    app.router.add_route("POST", "/data_units/", create_units)
    app.router.add_route("GET", "/data_units/", list_units)
    app.router.add_route("GET", r"/data_units/{id:\d{1,18}}/", get_unit)
    app.router.add_route("GET", "/storages/", list_storages)
    app.router.add_route("GET", r"/storages/{id:\d{1,18}}/", get_storage)


def _expanded(request: web.Request) -> bool:
    asked = ",".join(request.query.getall("expand", []))
    return not request.app[SETTINGS].strict or "file_specifications" in asked.split(",")


def _insert_units(
    connection: sqlite3.Connection, tenant: str, batch: list[UnitToCreate], checked: Checked
) -> list[int]:
    """Create units of one or more collections, all or none, and return their ids in order."""
    creations: dict[int, units.Creation] = {}
    for collection in {unit.data_collection for unit in batch}:
        creations[collection] = units.Creation(connection, tenant, collection, checked)
        creations[collection].learn([u for u in batch if u.data_collection == collection])
    keys = []
    for unit in batch:
        creation = creations[unit.data_collection]
        keys.append(creation.insert(unit, creation.check(unit)))
    return keys


def _unit_filters(request: web.Request) -> tuple[list[str], list[Any]]:
    """Return SQL conditions on units, and their parameters."""
    conditions = ["collection_id IN (SELECT id FROM collections WHERE tenant = ?)"]
    values: list[Any] = [identity(request).tenant]
    if collection := request.query.get("data_collection"):
        if not collection.isdecimal() or len(collection) > 18:
            raise invalid("data_collection", "Select a valid choice.")
        conditions.append("collection_id = ?")
        values.append(int(collection))
    if text := request.query.get("search"):
        conditions.append(
            """(instr(lower(meta), lower(?)) OR EXISTS (SELECT 1 FROM unit_files
               WHERE unit_id = units.id AND instr(lower(name), lower(?))))"""
        )
        values += [text, text]
    return conditions, values
