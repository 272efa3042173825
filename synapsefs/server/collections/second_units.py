"""Second generation: data units."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from synapsefs.server.auth import identity
from synapsefs.server.bodies import answer_data, read_model
from synapsefs.server.collections import catalogue, units, views
from synapsefs.server.collections.models import BareUnit, BulkQuery, UnitChanges
from synapsefs.server.collections.second import SORTABLE, boolean, key_of, select
from synapsefs.server.collections.validation import write_checked
from synapsefs.server.database import DATABASE
from synapsefs.server.paging import cursor
from synapsefs.server.problems import Problem, invalid

if TYPE_CHECKING:
    import sqlite3

    from synapsefs.server.collections.validation import Checked


async def list_units(request: web.Request) -> web.Response:
    """Answer ``GET v2/data-units/``."""
    begin = cursor(request, SORTABLE)
    filters = ["collection_id IN (SELECT id FROM collections WHERE tenant = ?)"]
    values: list[Any] = [identity(request).tenant]
    if collection := request.query.get("data_collection"):
        filters.append("collection_id = ?")
        values.append(collection)
    if boolean(request, "is_discarded") or boolean(request, "is_confirmed"):
        filters.append("0")
    rows = await select(request, begin, "units", filters, values)
    data, pagination = begin.page(request, rows, views.unit_item)
    return answer_data(data, pagination=pagination)


async def create_unit(request: web.Request) -> web.Response:
    """Answer ``POST v2/data-units/``: a unit without files."""
    wanted = await read_model(request, BareUnit)
    tenant = identity(request).tenant

    def create(connection: sqlite3.Connection, checked: Checked) -> sqlite3.Row:
        parent = _check_parents(connection, tenant, wanted.data_collection, wanted.group)
        checked.require(parent)
        key = units.insert_bare(connection, wanted.data_collection, wanted.group, wanted.meta)
        return units.get(connection, tenant, key)

    row = await write_checked(request, lambda _: {wanted.data_collection: [wanted.meta]}, create)
    return answer_data(views.unit_detail(row), 201)


async def get_unit(request: web.Request) -> web.Response:
    """Answer ``GET v2/data-units/{id}/``."""
    tenant, key = identity(request).tenant, key_of(request)
    row = await request.app[DATABASE].read(lambda connection: units.get(connection, tenant, key))
    return answer_data(views.unit_detail(row))


async def change_unit(request: web.Request) -> web.Response:
    """Answer ``PUT`` and ``PATCH v2/data-units/{id}/``; files stay as they are."""
    whole = request.method == "PUT"
    wanted: UnitChanges = await read_model(request, BareUnit if whole else UnitChanges)
    sent = {"data_collection", "group", "meta"} if whole else wanted.model_fields_set
    tenant, key = identity(request).tenant, key_of(request)

    def metadata(connection: sqlite3.Connection) -> dict[int, list[Any]]:
        if "meta" not in sent:
            return {}
        row = units.get(connection, tenant, key)
        moved = "data_collection" in sent
        return {(moved and wanted.data_collection) or row["collection_id"]: [wanted.meta]}

    def change(connection: sqlite3.Connection, checked: Checked) -> sqlite3.Row:
        row = units.get(connection, tenant, key)
        moved = "data_collection" in sent and wanted.data_collection != row["collection_id"]
        if moved and units.files_of(connection, [key])[key]:
            raise Problem(409, "A data unit with files cannot change its data collection.")
        collection = wanted.data_collection if moved else row["collection_id"]
        group = wanted.group if "group" in sent else (None if moved else row["group_id"])
        parent = _check_parents(connection, tenant, collection or 0, group)
        values = {"collection_id": collection, "group_id": group}
        if "meta" in sent:
            checked.require(parent)
            values["meta"] = wanted.meta
        units.update(connection, key, values)
        return units.get(connection, tenant, key)

    return answer_data(views.unit_detail(await write_checked(request, metadata, change)))


async def delete_unit(request: web.Request) -> web.Response:
    """Answer ``DELETE v2/data-units/{id}/``."""
    tenant, key = identity(request).tenant, key_of(request)
    await request.app[DATABASE].write(lambda connection: units.delete(connection, tenant, key))
    return web.Response(status=204)


async def bulk_create(request: web.Request) -> web.Response:
    """Answer ``POST v2/data-units/bulk-create/``: equal units are used again, all or none."""
    wanted = await read_model(request, BulkQuery)
    tenant = identity(request).tenant
    dry = boolean(request, "dry_run") or False
    metadata = {wanted.data_collection: [unit.meta for unit in wanted.units]}

    def create(connection: sqlite3.Connection, checked: Checked) -> list[dict[str, Any]]:
        return _create_all(connection, tenant, wanted, checked, dry=dry)

    results = await write_checked(request, lambda _: metadata, create, dry=dry)
    created = sum(result["created"] for result in results)
    counts = {"created_count": created, "reused_count": len(results) - created}
    return answer_data({"results": results, **counts}, 200 if dry else 201)


def setup(app: web.Application) -> None:
    """Register the routes."""
    route = app.router.add_route
    one = r"/v2/data-units/{id:\d{1,18}}/"
    route("GET", "/v2/data-units/", list_units)
    route("POST", "/v2/data-units/", create_unit)
    route("POST", "/v2/data-units/bulk-create/", bulk_create)
    route("GET", one, get_unit)
    route("PUT", one, change_unit)
    route("PATCH", one, change_unit)
    route("DELETE", one, delete_unit)


def _create_all(
    connection: sqlite3.Connection,
    tenant: str,
    wanted: BulkQuery,
    checked: Checked,
    *,
    dry: bool,
) -> list[dict[str, Any]]:
    """Create or find each unit; a dry run only checks."""
    _check_parents(connection, tenant, wanted.data_collection, None)
    creation = units.Creation(connection, tenant, wanted.data_collection, checked)
    creation.learn(wanted.units)
    results, fresh = [], set[str]()
    for unit in wanted.units:
        bound = creation.check(unit)
        checksum = units.composition(bound)
        existing = creation.existing(bound)
        created = existing is None and checksum not in fresh
        fresh.add(checksum)
        key = existing or 0
        if created and not dry:
            key = creation.insert(unit, bound)
        shown = 0 if dry else key
        results.append({"data_unit_id": shown, "checksum": checksum, "created": created})
    return results


def _check_parents(
    connection: sqlite3.Connection, tenant: str, collection: int, group: int | None
) -> sqlite3.Row:
    """Return the collection: 422 when it is not there, 400 when it has no such group."""
    try:
        found = catalogue.get(connection, tenant, collection)
    except Problem:
        raise Problem(422, f"There is no data collection {collection}.") from None
    if group is not None:
        try:
            catalogue.get_group(connection, collection, group)
        except Problem:
            raise invalid("group", "The data collection has no such group.") from None
    return found
