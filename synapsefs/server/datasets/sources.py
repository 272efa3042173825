"""External sources that entries can be registered from, and the objects they serve.

``sources.json`` in the server's root names them::

    {"buckets": {"<bucket>": "<folder or fsspec URL>"},
     "tables": {"<table>": "<JSON file of row id to row>"}}

The file is read whenever it is needed, so that it can change while servers run.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import fsspec
from aiohttp import web
from fsspec.implementations.local import LocalFileSystem

from synapsefs.server.datasets.entries import ObjectInSource, Registered
from synapsefs.server.datasets.faults import not_found, unprocessable
from synapsefs.server.objects import (
    byte_range,
    check_signature,
    content_disposition,
    safe_name,
    signed_url,
)
from synapsefs.server.settings import SETTINGS
from synapsefs.wire import BLOB_PREFIX
from synapsefs.wire.datasets import StorageType

if TYPE_CHECKING:
    from pathlib import Path

    from synapsefs.wire.datasets import EntryCreate

BLOCK: Final = 1024 * 1024
"""Bytes that are read and sent at a time."""

PREFIX: Final = f"{BLOB_PREFIX}/sources"
REQUIRED: Final = {
    StorageType.GCS: ("bucket_name",),
    StorageType.PG_TABLE: ("table_name", "row_id"),
    StorageType.BIGQUERY: ("project_id", "dataset_id", "table_id"),
}


@dataclass(frozen=True, slots=True)
class _Bucket:
    """A named folder of some filesystem."""

    filesystem: Any
    root: str

    def path(self, key: str) -> str:
        """Return where the object `key` is; it cannot lie outside.

        Raises
        ------
        FileNotFoundError
            It would.
        """
        if not self.holds(key):
            raise FileNotFoundError(key)
        return f"{self.root}/{key}"

    def holds(self, key: str) -> bool:
        """Whether `key` lies inside, links followed."""
        if {".", ".."} & set(key.split("/")):
            return False
        if not isinstance(self.filesystem, LocalFileSystem):
            return True
        root = os.path.realpath(self.root)
        return os.path.commonpath([root, os.path.realpath(f"{root}/{key}")]) == root


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
    metadata = place.metadata if isinstance(place.metadata, dict) else {}
    for name in REQUIRED.get(place.storage_type, ()):  # type: ignore[call-overload]
        if not metadata.get(name):
            raise unprocessable(f"{name} is required in the metadata of {place.storage_type}")
    root = app[SETTINGS].root
    if place.storage_type == StorageType.LINK:
        if not place.location:
            raise unprocessable("location is required for a link")
        return Registered(content=place.location)
    if place.storage_type == StorageType.GCS:
        return await asyncio.to_thread(_inspect_bucket, root, request, metadata)
    if place.storage_type == StorageType.PG_TABLE:
        return await asyncio.to_thread(_inspect_table, root, metadata)
    return Registered(content=request.content)


def object_url(request: web.Request, bucket: str, key: str) -> str:
    """Return a signed URL that reads the object `key` of a bucket."""
    expires = int(time.time() + request.app[SETTINGS].url_lifetime)
    return signed_url(request, "GET", f"{PREFIX}/{bucket}/{key}", expires, {})


async def get_source_object(request: web.Request) -> web.StreamResponse:
    """Answer ``GET`` of a signed URL of an object in a bucket."""
    check_signature(request)
    bucket_name, key = request.match_info["bucket"], request.match_info["key"]
    root = request.app[SETTINGS].root
    try:
        bucket, size, etag = await asyncio.to_thread(_stat, root, bucket_name, key)
    except (OSError, ValueError):
        raise not_found("The object does not exist.") from None
    wanted = None
    if request.headers.get("If-Range", etag) == etag:
        wanted = byte_range(request.headers.get("Range"), size)
    start, stop = wanted or (0, size)
    name = safe_name(key)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": mimetypes.guess_type(name)[0] or "application/octet-stream",
        "Content-Disposition": content_disposition(name),
        "Content-Length": str(stop - start),
        "ETag": etag,
    }
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    response = web.StreamResponse(status=206 if wanted else 200, headers=headers)
    await response.prepare(request)
    await _copy(bucket, key, response, start, stop)
    return response


def setup(app: web.Application) -> None:
    """Register the route of objects in buckets."""
    app.router.add_route("*", f"{PREFIX}/{{bucket}}/{{key:.+}}", get_source_object)


async def _copy(
    bucket: _Bucket, key: str, response: web.StreamResponse, start: int, stop: int
) -> None:
    """Send bytes of an object; one that became shorter ends the connection."""
    file = await asyncio.to_thread(bucket.filesystem.open, bucket.path(key), "rb")
    try:
        await asyncio.to_thread(file.seek, start)
        while start < stop:
            data = await asyncio.to_thread(file.read, min(BLOCK, stop - start))
            if not data:
                raise ConnectionResetError("The object is shorter than it was.")
            await response.write(data)
            start += len(data)
    finally:
        await asyncio.to_thread(file.close)
    await response.write_eof()


def _stat(root: Path, bucket_name: str, key: str) -> tuple[_Bucket, int, str]:
    bucket = _bucket(root, bucket_name)
    path = bucket.path(key)
    info = bucket.filesystem.info(path)
    if info["type"] != "file":
        raise FileNotFoundError(key)
    return bucket, int(info["size"]), f'"{bucket.filesystem.ukey(path)}"'


def _inspect_bucket(root: Path, request: EntryCreate, metadata: dict[str, Any]) -> Registered:
    place = request.existing_location
    prefix, location = metadata.get("prefix"), place and place.location
    if not request.is_collection and prefix:
        raise unprocessable("Prefix is not allowed for single file GCS storage")
    if not request.is_collection and not location:
        raise unprocessable("location is required for single file GCS storage")
    name = str(metadata["bucket_name"])
    try:
        if not request.is_collection and location:
            _, size, _ = _stat(root, name, location)
            return Registered(objects=(ObjectInSource(location, size),))
        return Registered(objects=tuple(_objects(_bucket(root, name), str(prefix or ""))))
    except (OSError, ValueError):
        raise unprocessable(f"Cannot access bucket {name}") from None


def _objects(bucket: _Bucket, prefix: str) -> list[ObjectInSource]:
    """Objects whose key begins with `prefix`, by key."""
    folder = bucket.path(prefix.rpartition("/")[0]) if "/" in prefix else bucket.root
    strip = len(bucket.filesystem._strip_protocol(bucket.root).rstrip("/")) + 1  # noqa: SLF001
    found = bucket.filesystem.find(folder, detail=True)
    keys = {path[strip:]: int(info["size"]) for path, info in found.items()}
    return [
        ObjectInSource(key, keys[key])
        for key in sorted(keys)
        if key.startswith(prefix) and bucket.holds(key)
    ]


def _inspect_table(root: Path, metadata: dict[str, Any]) -> Registered:
    name, row_id = str(metadata["table_name"]), str(metadata["row_id"])
    try:
        with fsspec.open(_configured(root, "tables", name), "rb") as file:
            row = json.load(file)[row_id]
    except (OSError, ValueError, KeyError, TypeError):
        raise unprocessable(f"Cannot access row {row_id} of table {name}") from None
    return Registered(content=json.dumps(row, ensure_ascii=False))


def _bucket(root: Path, name: str) -> _Bucket:
    filesystem, path = fsspec.core.url_to_fs(_configured(root, "buckets", name))
    return _Bucket(filesystem, path.rstrip("/"))


def _configured(root: Path, kind: str, name: str) -> str:
    """Return what ``sources.json`` says about `name`.

    Raises
    ------
    FileNotFoundError
        It says nothing.
    """
    known = json.loads((root / "sources.json").read_text())
    if not isinstance(known.get(kind, {}).get(name), str):
        raise FileNotFoundError(name)
    return str(known[kind][name])
