"""How rows of the catalogue look on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import from_json

from synapsefs.server.collections.units import extension
from synapsefs.server.objects import object_url
from synapsefs.server.settings import SETTINGS

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from aiohttp import web

TENANT_ID = 1
STORAGE_ID = 1
STORAGE = {
    "id": STORAGE_ID,
    "name": "embedded",
    "category": "internal",
    "provider": "minio",
    "configuration": {},
    "is_default": True,
}


def moment(stamp: float | None) -> str | None:
    """Return a Unix time in seconds as ISO 8601 in UTC."""
    return None if stamp is None else datetime.fromtimestamp(stamp, UTC).isoformat()


def specification_v1(row: sqlite3.Row) -> dict[str, Any]:
    """Return a file specification; only extensions that it was created with are listed."""
    return {**_specification(row), "extensions": from_json(row["extensions"]) or []}


def specification_v2(row: sqlite3.Row, *, strict: bool) -> dict[str, Any]:
    """Return a file specification of the second generation."""
    shown = _specification(row)
    shown["file_type_display"] = row["file_type"].capitalize()
    if not strict and (own := from_json(row["extensions"])):
        shown["extensions"] = own
    return shown


def _specification(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "id": row["id"],
        "name": row["name"],
        "file_type": row["file_type"],
        "description": row["description"] or "",
        "configuration": from_json(row["configuration"]),
        "is_sequential": bool(row["is_sequential"]),
        "is_required": bool(row["is_required"]),
        "is_primary": bool(row["is_primary"]),
        "function_type": row["function_type"] or "",
        "index": row["index"],
    }


def collection_v1(
    row: sqlite3.Row, specifications: Sequence[sqlite3.Row], *, expanded: bool
) -> dict[str, Any]:
    """Return a collection of the first generation."""
    shown = [specification_v1(each) if expanded else each["id"] for each in specifications]
    return {
        "id": row["id"],
        "name": row["name"],
        "description": row["description"],
        "category": row["category"],
        "project": None,
        "meta": from_json(row["meta"]),
        "file_specifications": shown,
        "created_at": moment(row["created"]),
    }


def collection_item(row: sqlite3.Row) -> dict[str, Any]:
    """Return a collection as it stands in a list of the second generation."""
    return {
        "id": row["id"],
        "name": row["name"],
        "category": row["category"],
        "category_display": row["category"].capitalize(),
        "access_level": row["access_level"],
        "is_archived": False,
        "created": moment(row["created"]),
        "count_projects": 0,
    }


def collection_detail(
    row: sqlite3.Row, specifications: Sequence[sqlite3.Row], *, strict: bool
) -> dict[str, Any]:
    """Return a whole collection of the second generation."""
    shown = {
        **collection_item(row),
        "tenant_id": TENANT_ID,
        "description": row["description"],
        "meta": from_json(row["meta"]),
        "caution": "sensitive_content",
        "file_specifications": [specification_v2(each, strict=strict) for each in specifications],
    }
    return shown if strict else {**shown, "caution_value": row["caution"]}


def data_file_v1(request: web.Request, row: sqlite3.Row) -> dict[str, Any]:
    """Return a data file as the upload routes of the first generation do."""
    return {
        "id": row["id"],
        "checksum": row["md5"],
        "file": object_url(request, row["sha256"], row["name"]),
        "size": row["size"],
        "created_at": moment(row["created"]),
        "updated_at": moment(row["created"]),
    }


def data_file_v2(row: sqlite3.Row) -> dict[str, Any]:
    """Return a data file as it stands in a list of the second generation."""
    return {
        "id": row["id"],
        "checksum": row["checksum"],
        "file_size": row["size"],
        "created": moment(row["created"]),
    }


def unit_v1(request: web.Request, row: sqlite3.Row, files: Sequence[sqlite3.Row]) -> dict[str, Any]:
    """Return a unit of the first generation with its files."""
    return {
        "id": row["id"],
        "data_collection": row["collection_id"],
        "files": {file["specification"]: _unit_file(request, file) for file in files},
        "meta": from_json(row["meta"]),
        "checksum": row["checksum"],
        "group": row["group_id"],
        "created_at": moment(row["created"]),
    }


def _unit_file(request: web.Request, row: sqlite3.Row) -> dict[str, Any]:
    shown = {
        "url": object_url(request, row["sha256"], row["name"]),
        "checksum": row["checksum"],
        "file_name_original": row["name"],
        "is_primary": bool(row["is_primary"]),
        "file_type": row["file_type"],
        "meta": from_json(row["meta"]),
    }
    if not request.app[SETTINGS].strict:
        shown |= {"id": row["data_file_id"], "size": row["size"]}
    return shown


def unit_item(row: sqlite3.Row) -> dict[str, Any]:
    """Return a unit as it stands in a list of the second generation."""
    return {
        "id": row["id"],
        "data_collection_id": row["collection_id"],
        "checksum": row["checksum"],
        "created": moment(row["created"]),
    }


def unit_detail(row: sqlite3.Row) -> dict[str, Any]:
    """Return a unit of the second generation; no group is 0, since it must be a number."""
    return {
        **unit_item(row),
        "group_id": row["group_id"] or 0,
        "meta": from_json(row["meta"]),
    }


def file_key(unique: str, filename: str) -> str:
    """Return the storage key of a file, which keeps the extension."""
    suffix = extension(filename)
    folders = "/".join(unique[at : at + 2] for at in range(0, 8, 2))
    return f"tenants/{TENANT_ID}/files/{folders}/{unique}{'.' + suffix if suffix else ''}"
