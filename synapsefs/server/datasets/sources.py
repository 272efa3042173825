"""What entries may be registered from: buckets, table rows, warehouses, links."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from synapsefs.server.datasets.buckets import open_bucket
from synapsefs.server.datasets.configured import table_source
from synapsefs.server.datasets.entries import ObjectInSource, Registered
from synapsefs.server.datasets.faults import unprocessable
from synapsefs.server.datasets.tables import RowNotFoundError, read_row
from synapsefs.server.settings import SETTINGS
from synapsefs.wire.datasets.constants import ContentType, StorageType

if TYPE_CHECKING:
    from aiohttp import web

    from synapsefs.server.settings import ServerSettings
    from synapsefs.wire.datasets.requests import EntryCreate

log = logging.getLogger(__name__)

REQUIRED: Final = {
    StorageType.GCS: ("bucket_name",),
    StorageType.PG_TABLE: ("table_name", "row_id"),
    StorageType.BIGQUERY: ("project_id", "dataset_id", "table_id"),
}

MAX_OBJECTS: Final = 100_000
"""Most objects of a bucket that one entry registers."""

ACTIVE_SCHEMES: Final = frozenset({"javascript", "vbscript", "data"})
"""Schemes of URLs that are programs or pages of their own, not the address of one."""


async def inspect(app: web.Application, request: EntryCreate) -> Registered | None:
    """Look at what a new entry registers.

    Parameters
    ----------
    app
        The server.
    request
        The entry that is to be created.

    Returns
    -------
    Registered or None
        None when the entry names no existing location.

    Raises
    ------
    Problem
        422 when required metadata is missing or the source cannot be read.
    """
    place = request.existing_location
    if place is None:
        return None
    if place.storage_type not in set(StorageType) or place.content_type not in set(ContentType):
        raise unprocessable(f"Unknown type: {place.storage_type} of {place.content_type}")
    metadata = place.metadata if isinstance(place.metadata, dict) else {}
    for name in REQUIRED.get(place.storage_type, ()):  # type: ignore[call-overload]
        if metadata.get(name) in (None, ""):
            raise unprocessable(f"{name} is required in the metadata of {place.storage_type}")
    settings = app[SETTINGS]
    if place.storage_type == StorageType.LINK:
        if not place.location:
            raise unprocessable("location is required for a link")
        if _is_active(place.location):
            raise unprocessable("A link cannot be of a scheme that browsers run")
        return Registered(content=place.location)
    if place.storage_type == StorageType.GCS:
        return await _inspect_bucket(settings, request, metadata)
    if place.storage_type == StorageType.PG_TABLE:
        return await _inspect_table(settings, metadata)
    return Registered(content=request.content)


def _is_active(url: str) -> bool:
    """Say whether a browser runs what a URL holds; it ignores blanks and control characters."""
    scheme = "".join(char for char in url.partition(":")[0] if char > " ").lower()
    return scheme in ACTIVE_SCHEMES


async def _inspect_bucket(
    settings: ServerSettings, request: EntryCreate, metadata: dict[str, Any]
) -> Registered:
    place = request.existing_location
    prefix, location = metadata.get("prefix"), place and place.location
    if not request.is_collection and prefix:
        raise unprocessable("Prefix is not allowed for single file GCS storage")
    if not request.is_collection and not location:
        raise unprocessable("location is required for single file GCS storage")
    name = str(metadata["bucket_name"])

    def look() -> list[ObjectInSource]:
        bucket = open_bucket(settings, name)
        if request.is_collection or not location:
            return bucket.objects(str(prefix or ""))
        return [ObjectInSource(location, bucket.measure(location)[0])]

    try:
        found = await asyncio.to_thread(look)
    except (OSError, ValueError, ImportError) as error:
        log.info("Bucket %s cannot be read: %s", name, type(error).__name__)
        raise unprocessable(f"Cannot access bucket {name}") from None
    if len(found) > MAX_OBJECTS:
        raise unprocessable(f"Bucket {name} has more than {MAX_OBJECTS} objects there")
    return Registered(objects=tuple(found))


async def _inspect_table(settings: ServerSettings, metadata: dict[str, Any]) -> Registered:
    name, row_id = str(metadata["table_name"]), str(metadata["row_id"])
    try:
        return Registered(content=await read_row(table_source(settings, name), row_id))
    except (OSError, ValueError, ImportError, TimeoutError, RowNotFoundError) as error:
        log.info("Table %s cannot be read: %s", name, type(error).__name__)
        raise unprocessable(f"Cannot access row {row_id} of table {name}") from None
