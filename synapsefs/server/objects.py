"""Signed URLs, and the objects behind them.

A URL is good for one method, one path and a time. Its path names the content, so that a client
may cache by it, and ends in the extension of the file; what authorises it is in the query.
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import re
import time
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote, urlencode

from aiohttp import web

from synapsefs.server.blobs import BLOBS
from synapsefs.server.problems import Problem
from synapsefs.server.settings import SETTINGS
from synapsefs.server.signing import SIGNER, SignatureRefusedError
from synapsefs.wire import BLOB_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from synapsefs.server.digests import Blob

INLINE = 1024 * 1024
"""Largest answer in bytes that is read and sent at once; a larger one goes by sendfile."""

NAME_MAX = 3072
"""Most bytes of a file name, encoded as in a URL: it has to fit into the heads of requests and
answers."""

HARMLESS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
}
"""Headers by which a browser runs nothing that somebody has stored."""

CLAIMS = ("content_type", "disposition", "size", "whole")
"""Query parameters of a signed URL that its signature covers."""

_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\"]')


def origin(request: web.Request) -> str:
    """Return scheme and host that the client reached this server by."""
    return f"{request.scheme}://{request.host}"


def object_url(
    request: web.Request, sha256: str | Blob, filename: str, *, disposition: str | None = None
) -> str:
    """Return a signed URL that reads an object.

    Parameters
    ----------
    request
        The request that is being answered.
    sha256
        The object, or its SHA-256 in hex.
    filename
        Original name of the file; directories in it are ignored.
    disposition
        ``attachment`` to have it sent with a Content-Disposition that names the file.

    Returns
    -------
    str
        An absolute URL, good for ``url_lifetime`` seconds.
    """
    digest = sha256 if isinstance(sha256, str) else sha256.sha256
    resource = f"{BLOB_PREFIX}/{digest}/{safe_name(filename)}"
    expires = int(time.time() + request.app[SETTINGS].url_lifetime)
    claims = {"disposition": disposition} if disposition else {}
    return signed_url(request, "GET", resource, expires, claims)


def signed_url(
    request: web.Request, method: str, resource: str, expires: int, claims: dict[str, str]
) -> str:
    """Return the absolute URL of `resource`, signed for `method` until `expires`."""
    signature = request.app[SIGNER].sign(method, resource, expires, **claims)
    query = urlencode({**claims, "expires": expires, "signature": signature})
    return f"{origin(request)}{quote(resource)}?{query}"


def check_signature(request: web.Request) -> dict[str, str]:
    """Return the claims of a signed URL.

    Raises
    ------
    Problem
        403, when the URL was not signed for this method and path, or has expired.
    """
    query = request.query
    claims = {name: query[name] for name in CLAIMS if name in query}
    expires = query.get("expires", "")
    number = int(expires) if expires.isdecimal() and len(expires) < 16 else 0
    try:
        request.app[SIGNER].verify(
            query.get("signature", ""), request.method, request.path, number, **claims
        )
    except SignatureRefusedError as refused:
        code = "AccessDenied" if "expired" in str(refused) else "SignatureDoesNotMatch"
        raise Problem(403, str(refused), code=code) from None
    return claims


def check_name(filename: str) -> None:
    """Refuse a name that no signed URL can give back.

    Raises
    ------
    Problem
        413, when it is too long.
    """
    if len(quote(safe_name(filename))) > NAME_MAX:
        raise Problem(413, f"The file name has more than {NAME_MAX} bytes in a URL.")


def safe_name(filename: str) -> str:
    """Return the base name of `filename`, fit to be the last segment of a URL path."""
    base = filename.replace("\\", "/").rstrip("/").rpartition("/")[2]
    base = _UNSAFE.sub("_", base.encode("utf-8", "replace").decode())
    return "file" if base in ("", ".", "..") else base


def byte_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Read a Range header.

    Parameters
    ----------
    header
        Its value; several ranges at once and other units are ignored, as the standard allows.
    size
        Bytes of the whole.

    Returns
    -------
    tuple of int or None
        First byte and the one after the last, or None for the whole.

    Raises
    ------
    Problem
        416, when nothing of the range is there.
    """
    match = _RANGE.fullmatch(header or "")
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if first and last and int(last) < int(first):
        return None
    start = int(first) if first else max(0, size - int(last))
    stop = min(size, int(last) + 1) if first and last else size
    if start >= size or (not first and int(last) == 0):
        headers = {"Content-Range": f"bytes */{size}"}
        raise Problem(416, "The range lies beyond the object.", headers=headers)
    return start, stop


async def get_object(request: web.Request) -> web.StreamResponse:
    """Answer ``GET`` of a signed object URL."""
    check_signature(request)
    path = request.app[BLOBS].path(request.match_info["sha256"])
    name = request.path.rpartition("/")[2]
    try:
        file = _open(path)
    except FileNotFoundError:
        raise Problem(404, "The object does not exist.") from None
    with file:
        size = os.fstat(file.fileno()).st_size
        etag = f'"{path.name}"'
        condition = request.headers.get("If-Range", etag)
        wanted = byte_range(request.headers.get("Range"), size) if condition == etag else None
        start, stop = wanted or (0, size)
        headers = {
            "Accept-Ranges": "bytes",
            "Content-Type": mimetypes.guess_type(name)[0] or "application/octet-stream",
            "Content-Disposition": content_disposition(name),
            "ETag": etag,
            **HARMLESS,
        }
        if wanted:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        response = web.StreamResponse(status=206 if wanted else 200, headers=headers)
        return await _send(request, response, file, range(start, stop))


def content_disposition(name: str) -> str:
    """Return a Content-Disposition; its plain ``filename`` comes last, as clients expect it."""
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}; filename=\"{name}\""


def setup(app: web.Application) -> None:
    """Register the route of objects; any method but GET meets a signature it does not match."""
    app.router.add_route("*", f"{BLOB_PREFIX}/{{sha256:[0-9a-f]{{64}}}}/{{name:[^/]+}}", get_object)


def _open(path: Path) -> BinaryIO:
    return open(path, "rb", buffering=0)


async def _send(
    request: web.Request, response: web.StreamResponse, file: BinaryIO, span: range
) -> web.StreamResponse:
    """Send bytes of a file, small ones in one write with their headers."""
    length = len(span)
    if length <= INLINE:
        body = os.pread(file.fileno(), length, span.start)
        if len(body) != length:
            raise Problem(500, "The object is shorter than it was.")
        return web.Response(status=response.status, headers=response.headers, body=body)
    response.content_length = length
    await response.prepare(request)
    if (transport := request.transport) is None:
        raise ConnectionResetError("The client has gone.")
    try:
        loop = asyncio.get_running_loop()
        sent = await loop.sendfile(transport, file, span.start, length)
    except OSError as error:
        transport.abort()
        raise ConnectionResetError("Sending failed.") from error
    if sent != length:
        transport.abort()
        raise ConnectionResetError("The object is shorter than it was.")
    await response.write_eof()
    return response
