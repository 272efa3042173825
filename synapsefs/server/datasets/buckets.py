"""Objects of buckets: what a registration finds, and the signed URLs that read them.

A bucket is a folder of any filesystem that fsspec knows. Nothing of it is kept: an object is read
where it is, whenever somebody asks for it.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import fsspec
from aiohttp import web
from fsspec.implementations.local import LocalFileSystem

from synapsefs.server.datasets.configured import bucket_source
from synapsefs.server.datasets.entries import ObjectInSource
from synapsefs.server.datasets.faults import not_found
from synapsefs.server.objects import (
    HARMLESS,
    byte_range,
    check_signature,
    content_disposition,
    safe_name,
    signed_url,
)
from synapsefs.server.settings import SETTINGS
from synapsefs.wire import BLOB_PREFIX

if TYPE_CHECKING:
    from synapsefs.server.settings import ServerSettings

BLOCK: Final = 4 * 1024 * 1024
"""Bytes that are read of an object and sent at a time."""

PREFIX: Final = f"{BLOB_PREFIX}/sources"


@dataclass(frozen=True, slots=True)
class Bucket:
    """A named folder of some filesystem.

    Parameters
    ----------
    filesystem
        From fsspec.
    root
        The folder in it, without a slash at the end.
    """

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
            return self._is_plain(key)
        root = os.path.realpath(self.root)
        return os.path.commonpath([root, os.path.realpath(f"{root}/{key}")]) == root

    def _is_plain(self, key: str) -> bool:
        """Whether a server of files reads `key` as the name of one below a folder."""
        text, plain = "", key
        while text != plain:
            text, plain = plain, unquote(plain)
        if {".", ".."} & set(text.replace("\\", "/").split("/")):
            return False
        protocols = self.filesystem.protocol
        names = (protocols,) if isinstance(protocols, str) else protocols
        return not ({"http", "https"} & set(names) and {"?", "#"} & set(key))

    def measure(self, key: str) -> tuple[int, str]:
        """Return the size of an object in bytes, and its ETag; it blocks.

        Raises
        ------
        OSError
            It is not there, or is no file.
        """
        path = self.path(key)
        info = self.filesystem.info(path)
        if info["type"] != "file" or info["size"] is None:
            raise FileNotFoundError(key)
        return int(info["size"]), f'"{self.filesystem.ukey(path)}"'

    def objects(self, prefix: str) -> list[ObjectInSource]:
        """Return the objects whose key begins with `prefix`, by key; it blocks.

        Raises
        ------
        OSError
            The bucket is not there.
        """
        folder = self.path(prefix.rpartition("/")[0]) if "/" in prefix else self.root
        strip = len(self.filesystem._strip_protocol(self.root).rstrip("/")) + 1  # noqa: SLF001
        if folder == self.root and not self.filesystem.exists(self.root):
            raise FileNotFoundError(prefix)
        found = self.filesystem.find(folder, detail=True)
        sizes = {path[strip:]: int(info["size"]) for path, info in found.items()}
        return [
            ObjectInSource(key, sizes[key])
            for key in sorted(sizes)
            if key.startswith(prefix) and self.holds(key)
        ]


def open_bucket(settings: ServerSettings, name: str) -> Bucket:
    """Open a configured bucket; it blocks.

    Raises
    ------
    OSError, ValueError, ImportError
        There is none of this name, or its filesystem cannot be had.
    """
    source = bucket_source(settings, name)
    options = {"use_listings_cache": False, **source.options}
    filesystem, path = fsspec.core.url_to_fs(source.url, **options)
    return Bucket(filesystem, path.rstrip("/"))


def object_url(request: web.Request, bucket: str, key: str) -> str:
    """Return a signed URL that reads the object `key` of a bucket."""
    expires = int(time.time() + request.app[SETTINGS].url_lifetime)
    return signed_url(request, "GET", f"{PREFIX}/{bucket}/{key}", expires, {})


async def get_source_object(request: web.Request) -> web.StreamResponse:
    """Answer ``GET`` of a signed URL of an object in a bucket."""
    check_signature(request)
    name, key = request.match_info["bucket"], request.match_info["key"]
    settings = request.app[SETTINGS]

    def look() -> tuple[Bucket, int, str]:
        bucket = open_bucket(settings, name)
        return bucket, *bucket.measure(key)

    try:
        bucket, size, etag = await asyncio.to_thread(look)
    except (OSError, ValueError, ImportError):
        raise not_found("The object does not exist.") from None
    wanted = None
    if request.headers.get("If-Range", etag) == etag:
        wanted = byte_range(request.headers.get("Range"), size)
    start, stop = wanted or (0, size)
    shown = safe_name(key)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Type": mimetypes.guess_type(shown)[0] or "application/octet-stream",
        "Content-Disposition": content_disposition(shown),
        "Content-Length": str(stop - start),
        "ETag": etag,
        **HARMLESS,
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
    bucket: Bucket, key: str, response: web.StreamResponse, start: int, stop: int
) -> None:
    """Send bytes of an object; one that became shorter ends the connection."""
    file = await asyncio.to_thread(
        bucket.filesystem.open, bucket.path(key), "rb", cache_type="none"
    )
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
