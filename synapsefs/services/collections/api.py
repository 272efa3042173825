"""The collections service's routes, one method each; both generations of its protocol."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

from pydantic import BaseModel, TypeAdapter

from synapsefs import limits
from synapsefs.config import Endpoint
from synapsefs.errors import NotFoundError
from synapsefs.services.wireio import parsed
from synapsefs.transport import Body, Reply, Transport, body_of
from synapsefs.wire import collections as wire

UNITS_PER_PAGE = 1000
FILES_PER_PAGE = 200
PAGES_AT_A_TIME = 8
CHUNKED_ROUTE = "chunked_upload/"
_JSON_HEADERS = {"Content-Type": "application/json"}
_FORM_ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}

_COLLECTIONS = TypeAdapter(wire.CollectionPage)
_UNITS = TypeAdapter(wire.UnitPage)
_CREATED_UNITS = TypeAdapter(list[wire.Unit])
_STORED_FILES = TypeAdapter(wire.ListEnvelope[wire.StoredFile])
_DETAIL = TypeAdapter(wire.Envelope[wire.CollectionDetail])


class AccessToken:
    """Credentials of the collections service: they do not expire, so they are never renewed."""

    def __init__(self, endpoint: Endpoint, *, second_generation: bool) -> None:
        prefix = "" if second_generation else "Token "
        self._headers: dict[str, str] = {}
        if endpoint.secret:
            self._headers[wire.ACCESS_TOKEN_HEADER] = prefix + endpoint.secret
        if endpoint.tenant:
            self._headers[wire.TENANT_HEADER] = prefix + endpoint.tenant

    async def headers(self) -> Mapping[str, str]:
        """Give the token, in the form of the generation asked."""
        return self._headers

    async def renew(self, refused: Mapping[str, str], status: int) -> bool:  # noqa: ARG002
        """Say no: there is only this token."""
        return False


class CollectionsApi:
    """Typed calls to one collections service.

    Parameters
    ----------
    transport
        Sends the requests.
    endpoint
        Base URL and token.
    """

    def __init__(self, transport: Transport, endpoint: Endpoint) -> None:
        self._transport = transport
        self._base = endpoint.url
        self._v1 = AccessToken(endpoint, second_generation=False)
        self._v2 = AccessToken(endpoint, second_generation=True)

    async def collections(self) -> list[wire.Collection]:
        """List all collections the token may see (v1)."""
        found: list[wire.Collection] = []
        params = {"page_size": str(UNITS_PER_PAGE)}
        async for page in self._pages("data_collections/", params, _COLLECTIONS, "collections"):
            found += page.results
        return found

    async def collection(self, identifier: int, about: str) -> wire.Collection:
        """Get one collection with its specifications (v1)."""
        route = f"data_collections/{identifier}/"
        reply = await self._get(route, about, {"expand": "file_specifications"})
        return parsed(TypeAdapter(wire.Collection), reply, about)

    async def create_collection(
        self, settings: Mapping[str, Any], about: str
    ) -> wire.CollectionDetail:
        """Create a collection (v2)."""
        body = wire.CollectionToCreate.model_validate(settings)
        reply = await self._send("POST", "v2/data-collections/", about, body, replay=False)
        return parsed(_DETAIL, reply, about).data

    async def delete_collection(self, identifier: int, about: str) -> None:
        """Delete a collection with everything in it (v2)."""
        await self._send("DELETE", f"v2/data-collections/{identifier}/", about, replay=True)

    async def unit_pages(self, collection: int, about: str) -> AsyncIterator[wire.Page[wire.Unit]]:
        """Go through a collection's units, page by page in no certain order (v1)."""
        params = {"data_collection": str(collection), "page_size": str(UNITS_PER_PAGE)}
        async for page in self._pages("data_units/", params, _UNITS, about):
            yield page

    async def unit(self, identifier: int, about: str) -> wire.Unit:
        """Get one unit with its files and fresh signed URLs (v1)."""
        reply = await self._get(f"data_units/{identifier}/", about, {"expand": "files"})
        return parsed(TypeAdapter(wire.Unit), reply, about)

    async def create_units(self, units: Sequence[wire.UnitToCreate], about: str) -> list[wire.Unit]:
        """Create at most a thousand units, all or none (v1).

        Raises
        ------
        SynapseError
            With ``outcome_unknown`` where they may exist although the answer was lost.
        """
        content = _json([unit.model_dump(mode="json", exclude_none=True) for unit in units])
        reply = await self._call(
            "POST", "data_units/", about, content, replay=False, headers=_JSON_HEADERS
        )
        if reply.body.lstrip().startswith(b"{"):
            return [parsed(TypeAdapter(wire.Unit), reply, about)]
        return parsed(_CREATED_UNITS, reply, about)

    async def delete_unit(self, identifier: int, about: str) -> None:
        """Delete a unit (v2); one that is gone already is fine."""
        try:
            await self._send("DELETE", f"v2/data-units/{identifier}/", about, replay=True)
        except NotFoundError:
            return

    async def stored_sizes(self, collection: int, about: str) -> dict[str, int]:
        """Learn the sizes in bytes of a collection's files, by checksum (v2)."""
        found: dict[str, int] = {}
        params = {"data_collection": str(collection), "per_page": str(FILES_PER_PAGE)}
        seen: set[str] = set()
        while True:
            reply = await self._call("GET", "v2/data-files/", about, None, params=params)
            page = parsed(_STORED_FILES, reply, about)
            found.update(
                (item.checksum, item.file_size) for item in page.data if item.file_size is not None
            )
            cursor = page.meta.pagination.next_cursor if page.meta.pagination else None
            if not cursor or cursor in seen:
                return found
            seen.add(cursor)
            params = {**params, "cursor": _cursor_value(cursor)}

    async def upload_file(
        self, content: bytes | memoryview, name: str, about: str
    ) -> wire.DataFile:
        """Send a whole file as a form (v1); twice gives the same content-addressed file."""
        form = file_form(content, name)
        reply = await self._call("POST", "data_files/", about, form, replay=True)
        return parsed(TypeAdapter(wire.DataFile), reply, about)

    async def register_chunks(self, upload: int | str, about: str) -> wire.DataFile:
        """Turn a finished chunked upload into a data file (v1)."""
        body = wire.DataFileFromChunks(chunked_upload=upload)
        reply = await self._send("POST", "data_files/", about, body, replay=True)
        return parsed(TypeAdapter(wire.DataFile), reply, about)

    async def put_chunk(
        self, url: str, chunk: bytes | memoryview, name: str, first: int, total: int, about: str
    ) -> wire.ChunkedUpload:
        """Send the chunk that begins at byte ``first``; not sent again by itself.

        At :data:`CHUNKED_ROUTE` a new upload begins; its answer has the URL of the next chunks.
        """
        headers = {"Content-Range": f"bytes {first}-{first + len(chunk) - 1}/{total}"}
        form = file_form(chunk, "file", filename=name)
        reply = await self._call("PUT", url, about, form, replay=False, headers=headers)
        return parsed(TypeAdapter(wire.ChunkedUpload), reply, about)

    async def chunk_state(self, upload: int | str, about: str) -> wire.ChunkedUpload:
        """Ask how far a chunked upload has come."""
        reply = await self._get(f"chunked_upload/{upload}/", about, {})
        return parsed(TypeAdapter(wire.ChunkedUpload), reply, about)

    async def finalise_chunks(self, url: str, md5: str, about: str) -> wire.ChunkedUpload:
        """Finish a chunked upload with the MD5 of the whole file, in hex."""
        reply = await self._send("POST", url, about, wire.Finalise(md5=md5), replay=False)
        return parsed(TypeAdapter(wire.ChunkedUpload), reply, about)

    async def announces_extras(self) -> bool:
        """Say whether the server is an embedded one, which serves datasets as well."""
        reply = await self._call("GET", "health/", None, None)
        return "X-Synapsefs-Server" in reply.headers

    async def _pages(
        self, route: str, params: dict[str, str], adapter: TypeAdapter[Any], about: str
    ) -> AsyncIterator[Any]:
        page = parsed(adapter, await self._get(route, about, params), about)
        yield page
        query = _query_of(page.next)
        if query.get("page") == "2" and page.count is not None and page.results:
            numbers = range(2, -(-page.count // len(page.results)) + 1)
            async for page in self._numbered(route, query, numbers, adapter, about):
                yield page
            query = _query_of(page.next)
        seen: list[dict[str, str]] = []
        while query and query not in seen:
            seen.append(query)
            page = parsed(adapter, await self._get(route, about, query), about)
            yield page
            query = _query_of(page.next)

    async def _numbered(
        self,
        route: str,
        query: dict[str, str],
        numbers: range,
        adapter: TypeAdapter[Any],
        about: str,
    ) -> AsyncIterator[Any]:
        async def fetch(number: int) -> Any:
            try:
                reply = await self._get(route, about, {**query, "page": str(number)})
            except NotFoundError:
                return wire.Page[Any]()
            return parsed(adapter, reply, about)

        for start in range(0, len(numbers), PAGES_AT_A_TIME):
            batch = numbers[start : start + PAGES_AT_A_TIME]
            for page in await limits.gather(map(fetch, batch), PAGES_AT_A_TIME):
                yield page

    async def _get(self, route: str, about: str | None, params: Mapping[str, str]) -> Reply:
        return await self._call("GET", route, about, None, params=params)

    async def _send(
        self, method: str, route: str, about: str, body: BaseModel | None = None, *, replay: bool
    ) -> Reply:
        content = body.model_dump_json(exclude_none=True).encode() if body else None
        return await self._call(
            method, route, about, content, replay=replay, headers=_JSON_HEADERS if body else None
        )

    async def _call(
        self,
        method: str,
        route: str,
        about: str | None,
        body: bytes | Body | None,
        *,
        replay: bool = True,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        url = self._url(route)
        auth = self._v2 if "/v2/" in url[len(self._base) :] else self._v1
        return await self._transport.api(
            method,
            url,
            auth=auth,
            about=about,
            replay=replay,
            params=params,
            body=body,
            headers=headers,
        )

    def _url(self, route: str) -> str:
        """Make a URL on our own endpoint, even of an absolute one that a service handed out."""
        parts = urlsplit(route)
        path = quote(parts.path, safe="/%:@") if parts.netloc else parts.path
        base_path = urlsplit(self._base).path
        if parts.netloc and base_path and path.startswith(base_path + "/"):
            path = path[len(base_path) :]
        query = f"?{parts.query}" if parts.query else ""
        return f"{self._base}/{path.lstrip('/')}{query}"


def file_form(content: bytes | memoryview, name: str, *, filename: str | None = None) -> Body:
    """Make the form that carries a file, without copying its content.

    With ``filename`` that is a field of its own, as the chunked upload wants it.
    """
    boundary = secrets.token_hex(16)
    head = b""
    if filename is not None:
        disposition = 'Content-Disposition: form-data; name="filename"'
        head = f"--{boundary}\r\n{disposition}\r\n\r\n{filename}\r\n".encode()
    quoted = name.translate(_FORM_ESCAPES)
    disposition = f'Content-Disposition: form-data; name="file"; filename="{quoted}"'
    head += f"--{boundary}\r\n{disposition}\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    return body_of(head, content, tail, headers=kind)


def _query_of(url: str | None) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True)) if url else {}


def _cursor_value(cursor: str) -> str:
    return _query_of(cursor).get("cursor", cursor) if cursor.startswith("http") else cursor


def _json(value: Any) -> bytes:
    return TypeAdapter(Any).dump_json(value)
