"""The collections service's routes, one method each: credentials, pages, both generations."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, TypeAdapter

from synapsefs.config import Endpoint
from synapsefs.errors import IntegrityError, NotFoundError
from synapsefs.http import Body, Reply, Transport, body_of
from synapsefs.services.collections.pages import Pager
from synapsefs.services.wireio import parsed
from synapsefs.wire.collections import constants, v1, v2

UNITS_PER_PAGE = 1000
CHUNKED_ROUTE = "chunked_upload/"
PRESIGNED_ROUTE = "data_files/presigned_upload/"
JSON_HEADERS = {"Content-Type": "application/json"}
_FORM_ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}

_COLLECTIONS = TypeAdapter(v1.CollectionPage)
_COLLECTION = TypeAdapter(v1.Collection)
_UNITS = TypeAdapter(v1.UnitPage)
_UNIT = TypeAdapter(v1.Unit)
_CREATED_UNITS = TypeAdapter(list[v1.Unit])
_DATA_FILE = TypeAdapter(v1.DataFile)
_CHUNKED = TypeAdapter(v1.ChunkedUpload)
_STORAGES = TypeAdapter(v1.StoragePage)
_PRESIGNED = TypeAdapter(v1.PresignAnswer)
_CONFIRMED = TypeAdapter(v1.ConfirmAnswer)
_CHECKSUMS = TypeAdapter(v1.ChecksumAnswer)
_STORED_FILES = TypeAdapter(v2.ListEnvelope[v2.StoredFile])
_GROUPS = TypeAdapter(v2.ListEnvelope[v2.Group])
_DETAIL = TypeAdapter(v2.Envelope[v2.CollectionDetail])
_ANY = TypeAdapter(Any)


class AccessToken:
    """Credentials of the collections service: they do not expire, so they are never renewed."""

    def __init__(self, endpoint: Endpoint, *, second_generation: bool) -> None:
        prefix = "" if second_generation else "Token "
        self.missing = "" if endpoint.secret else "token"
        self._headers: dict[str, str] = {}
        if endpoint.secret:
            self._headers[constants.ACCESS_TOKEN_HEADER] = prefix + endpoint.secret
        if endpoint.tenant:
            self._headers[constants.TENANT_HEADER] = prefix + endpoint.tenant

    async def headers(self) -> Mapping[str, str]:
        """Give the token, in the form of the generation asked."""
        return self._headers

    async def renew(self, refused: Mapping[str, str], status: int) -> bool:  # noqa: ARG002
        """Say no: there is only this token."""
        return False


class CollectionsClient:
    """Typed calls to one collections service, which also follow its pages."""

    def __init__(self, transport: Transport, endpoint: Endpoint) -> None:
        self._transport = transport
        self._base = endpoint.url
        self.once = transport.send_once
        self._pager = Pager(
            lambda route, path, params: self._call("GET", route, path, params=params)
        )
        self._v1 = AccessToken(endpoint, second_generation=False)
        self._v2 = AccessToken(endpoint, second_generation=True)

    # --- collections and units --------------------------------------------------------------

    async def collections(self) -> list[v1.Collection]:
        """List all collections the token may see (v1)."""
        collections: dict[int, v1.Collection] = {}
        params = {"page_size": str(UNITS_PER_PAGE), "expand": "file_specifications"}
        async for page in self._pager.numbered(
            "data_collections/", params, _COLLECTIONS, "collections"
        ):
            collections.update((item.id, item) for item in page.results)
        return list(collections.values())

    async def collection(self, identifier: int, path: str) -> v1.Collection:
        """Get one collection with its specifications (v1)."""
        route = f"data_collections/{identifier}/"
        reply = await self._call("GET", route, path, params={"expand": "file_specifications"})
        return parsed(_COLLECTION, reply, path)

    async def create_collection(
        self, settings: Mapping[str, Any], path: str
    ) -> v2.CollectionDetail:
        """Create a collection (v2)."""
        body = v2.CollectionToCreate.model_validate(settings)
        reply = await self._call("POST", "v2/data-collections/", path, body, replay=False)
        return parsed(_DETAIL, reply, path).data

    async def detail(self, identifier: int, path: str) -> v2.CollectionDetail:
        """Get what the second generation tells of a collection."""
        return parsed(_DETAIL, await self._call("GET", _collection(identifier), path), path).data

    async def change_collection(
        self, identifier: int, changes: Mapping[str, Any], path: str
    ) -> None:
        """Change what is named of a collection (v2)."""
        body = v2.CollectionChanges.model_validate(changes)
        content = body.model_dump_json(exclude_unset=True).encode()
        await self._call("PATCH", _collection(identifier), path, content)

    async def delete_collection(self, identifier: int, path: str) -> None:
        """Delete a collection with everything in it (v2)."""
        await self._call("DELETE", _collection(identifier), path)

    async def unit_pages(self, collection: int, path: str) -> AsyncIterator[v1.Page[v1.Unit]]:
        """Go through a collection's units, page by page in no certain order (v1).

        A unit may be on two pages.
        """
        params = {"data_collection": str(collection), "page_size": str(UNITS_PER_PAGE)}
        async for page in self._pager.numbered("data_units/", params, _UNITS, path):
            yield page

    async def newest_units(self, collection: int, path: str, most: int) -> v1.Page[v1.Unit]:
        """Get a collection's newest units, newest first where the service can do that (v1)."""
        params = {"data_collection": str(collection), "ordering": "-id", "page_size": str(most)}
        return parsed(_UNITS, await self._call("GET", "data_units/", path, params=params), path)

    async def unit(self, identifier: int, path: str) -> v1.Unit:
        """Get one unit with its files and fresh signed URLs (v1)."""
        reply = await self._call(
            "GET", f"data_units/{identifier}/", path, params={"expand": "files"}
        )
        return parsed(_UNIT, reply, path)

    async def create_units(self, units: Sequence[v1.UnitToCreate], path: str) -> list[v1.Unit]:
        """Create at most a thousand units, all or none (v1).

        Raises
        ------
        SynapseError
            With ``outcome_unknown`` where they may exist although the answer was lost.
        """
        content = _ANY.dump_json(
            [unit.model_dump(mode="json", exclude_none=True) for unit in units]
        )
        reply = await self._call("POST", "data_units/", path, content, replay=False)
        if reply.body.lstrip().startswith(b"{"):
            return [parsed(_UNIT, reply, path)]
        return parsed(_CREATED_UNITS, reply, path)

    async def set_metadata(self, identifier: int, meta: Mapping[str, Any], path: str) -> None:
        """Replace a unit's metadata (v2); its files stay as they are."""
        body = _ANY.dump_json({"meta": meta})
        await self._call("PATCH", f"v2/data-units/{identifier}/", path, body)

    async def delete_unit(self, identifier: int, path: str) -> bool:
        """Delete a unit (v2); False where it seems to have been gone already."""
        try:
            await self._call("DELETE", f"v2/data-units/{identifier}/", path)
        except NotFoundError:
            return False
        return True

    async def stored_sizes(self, collection: int, path: str) -> dict[str, int]:
        """Learn the sizes in bytes of a collection's files, by checksum (v2)."""
        params = {"data_collection": str(collection)}
        sizes: dict[str, int] = {}
        async for page in self._pager.by_cursor("v2/data-files/", params, _STORED_FILES, path):
            sizes.update(
                (item.checksum, item.file_size) for item in page if item.file_size is not None
            )
        return sizes

    async def group_names(self, collection: int, path: str) -> dict[int, str]:
        """Learn the names of a collection's groups, by id (v2)."""
        route = f"v2/data-collections/{collection}/groups/"
        pages = self._pager.by_cursor(route, {}, _GROUPS, path)
        return {item.id: item.name async for page in pages for item in page}

    async def announces_extras(self) -> bool:
        """Say whether the server is an embedded one, which serves datasets as well."""
        try:
            reply = await self._call("GET", "health/", None)
        except NotFoundError:
            return False
        return "X-Synapsefs-Server" in reply.headers

    # --- file content -----------------------------------------------------------------------

    async def storages(self, path: str) -> list[v1.Storage]:
        """List the storages that files go to (v1)."""
        reply = await self._call("GET", "storages/", path, params={"category": "internal"})
        return parsed(_STORAGES, reply, path).results

    async def presign(
        self,
        files: Sequence[v1.FileToPresign],
        path: str,
        *,
        lifetime: int = constants.EXPIRATION_DEFAULT,
    ) -> v1.PresignAnswer:
        """Ask for signed URLs that take at most a thousand files, in their order (v1).

        They are good for ``lifetime`` seconds, or what the service grants of it.
        """
        body = v1.PresignQuery(files=list(files), expiration=lifetime).model_dump_json().encode()
        reply = await self._call("POST", f"{PRESIGNED_ROUTE}upload/", path, body)
        answer = parsed(_PRESIGNED, reply, path)
        keys = {target.file_key for target in answer.files}
        if not len(keys) == len(answer.files) == len(files):
            raise IntegrityError("the service gave no place for each file", path)
        return answer

    async def confirm(
        self, files: Sequence[v1.FileToConfirm], path: str
    ) -> dict[str, v1.ConfirmedFile]:
        """Say that files have arrived in the storage (v1); twice gives the same answer.

        The answer is by key; it may refuse some.
        """
        if not files:
            return {}
        body = v1.ConfirmQuery.model_construct(files=list(files))
        reply = await self._call("POST", f"{PRESIGNED_ROUTE}confirm_upload/", path, body)
        answer = parsed(_CONFIRMED, reply, path)
        results = {result.file_key: result for result in answer.results}
        if results.keys() != {file.file_key for file in files}:
            raise IntegrityError("the service did not confirm the files", path)
        return results

    async def existing_checksums(self, checksums: Sequence[str], path: str) -> list[str]:
        """Ask which of at most a thousand MD5 checksums the service has files of (v1)."""
        body = v1.ChecksumQuery(checksums=list(checksums))
        reply = await self._call("POST", "data_files/verify_checksums/", path, body)
        return parsed(_CHECKSUMS, reply, path).existing_checksums

    async def create_data_file(
        self, content: bytes | memoryview | v1.DataFileFromChunks, name: str, path: str
    ) -> v1.DataFile:
        """Send a whole file as a form, or turn a finished chunked upload into a file (v1).

        Twice gives the same content-addressed file.
        """
        body = content if isinstance(content, BaseModel) else file_form(content, name)
        return parsed(_DATA_FILE, await self._call("POST", "data_files/", path, body), path)

    async def put_chunk(
        self, url: str, chunk: bytes | memoryview, name: str, first: int, total: int, path: str
    ) -> v1.ChunkedUpload:
        """Send the chunk that begins at byte ``first``; not sent again by itself.

        At :data:`CHUNKED_ROUTE` a new upload begins; its answer has the URL of the next chunks.
        """
        headers = {"Content-Range": f"bytes {first}-{first + len(chunk) - 1}/{total}"}
        form = file_form(chunk, "file", filename=name)
        reply = await self._call("PUT", url, path, form, replay=False, headers=headers)
        return parsed(_CHUNKED, reply, path)

    async def chunk_state(self, upload: int | str, path: str) -> v1.ChunkedUpload:
        """Ask how far a chunked upload has come."""
        reply = await self._call("GET", f"{CHUNKED_ROUTE}{upload}/", path)
        return parsed(_CHUNKED, reply, path)

    async def finalise_chunks(self, url: str, md5: str, path: str) -> v1.ChunkedUpload:
        """Finish a chunked upload with the MD5 of the whole file, in hex."""
        reply = await self._call("POST", url, path, v1.Finalise(md5=md5), replay=False)
        return parsed(_CHUNKED, reply, path)

    # --- requests --------------------------------------------------------------------------

    async def _call(
        self,
        method: str,
        route: str,
        path: str | None,
        body: BaseModel | bytes | Body | None = None,
        *,
        replay: bool = True,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send one request; what is not a form is JSON, without what is None in a model."""
        if isinstance(body, BaseModel):
            body = body.model_dump_json(exclude_none=True).encode()
        url = own_url(self._base, route)
        return await self._transport.send(
            method,
            url,
            auth=self._v2 if "/v2/" in url[len(self._base) :] else self._v1,
            path=path,
            replay=replay,
            params=params,
            body=body,
            headers=JSON_HEADERS if isinstance(body, bytes) else headers,
        )


def own_url(base: str, route: str) -> str:
    """Make a URL on our own endpoint, even of an absolute one that a service handed out."""
    parts = urlsplit(route)
    path = quote(parts.path, safe="/%:@") if parts.netloc else parts.path
    base_path = urlsplit(base).path
    if parts.netloc and base_path and path.startswith(base_path + "/"):
        path = path[len(base_path) :]
    query = f"?{parts.query}" if parts.query else ""
    return f"{base}/{path.lstrip('/')}{query}"


def _collection(identifier: int) -> str:
    return f"v2/data-collections/{identifier}/"


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
