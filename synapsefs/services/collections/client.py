"""The collections service's routes, one method each; both generations of its protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from synapsefs.errors import NotFoundError
from synapsefs.services.collections.calls import JSON_HEADERS
from synapsefs.services.collections.sending import SendingApi
from synapsefs.services.wireio import parsed
from synapsefs.wire.collections import v1, v2

UNITS_PER_PAGE = 1000

_COLLECTIONS = TypeAdapter(v1.CollectionPage)
_UNITS = TypeAdapter(v1.UnitPage)
_CREATED_UNITS = TypeAdapter(list[v1.Unit])
_STORED_FILES = TypeAdapter(v2.ListEnvelope[v2.StoredFile])
_GROUPS = TypeAdapter(v2.ListEnvelope[v2.Group])
_DETAIL = TypeAdapter(v2.Envelope[v2.CollectionDetail])


class CollectionsClient(SendingApi):
    """Typed calls to one collections service."""

    async def collections(self) -> list[v1.Collection]:
        """List all collections the token may see (v1)."""
        found: dict[int, v1.Collection] = {}
        params = {"page_size": str(UNITS_PER_PAGE), "expand": "file_specifications"}
        async for page in self._pages("data_collections/", params, _COLLECTIONS, "collections"):
            found.update((item.id, item) for item in page.results)
        return list(found.values())

    async def collection(self, identifier: int, about: str) -> v1.Collection:
        """Get one collection with its specifications (v1)."""
        route = f"data_collections/{identifier}/"
        reply = await self._get(route, about, {"expand": "file_specifications"})
        return parsed(TypeAdapter(v1.Collection), reply, about)

    async def create_collection(
        self, settings: Mapping[str, Any], about: str
    ) -> v2.CollectionDetail:
        """Create a collection (v2)."""
        body = v2.CollectionToCreate.model_validate(settings)
        reply = await self._send("POST", "v2/data-collections/", about, body, replay=False)
        return parsed(_DETAIL, reply, about).data

    async def detail(self, identifier: int, about: str) -> v2.CollectionDetail:
        """Get what the second generation tells of a collection."""
        return parsed(_DETAIL, await self._get(_collection(identifier), about, {}), about).data

    async def change_collection(
        self, identifier: int, changes: Mapping[str, Any], about: str
    ) -> None:
        """Change what is named of a collection (v2)."""
        body = v2.CollectionChanges.model_validate(changes)
        content = body.model_dump_json(exclude_unset=True).encode()
        await self._call("PATCH", _collection(identifier), about, content, headers=JSON_HEADERS)

    async def delete_collection(self, identifier: int, about: str) -> None:
        """Delete a collection with everything in it (v2)."""
        await self._send("DELETE", _collection(identifier), about, replay=True)

    async def unit_pages(self, collection: int, about: str) -> AsyncIterator[v1.Page[v1.Unit]]:
        """Go through a collection's units, page by page in no certain order (v1).

        A unit may be on two pages.
        """
        params = {"data_collection": str(collection), "page_size": str(UNITS_PER_PAGE)}
        async for page in self._pages("data_units/", params, _UNITS, about):
            yield page

    async def newest_units(self, collection: int, about: str, most: int) -> v1.Page[v1.Unit]:
        """Get a collection's newest units, newest first where the service can do that (v1)."""
        params = {"data_collection": str(collection), "ordering": "-id", "page_size": str(most)}
        return parsed(_UNITS, await self._get("data_units/", about, params), about)

    async def unit(self, identifier: int, about: str) -> v1.Unit:
        """Get one unit with its files and fresh signed URLs (v1)."""
        reply = await self._get(f"data_units/{identifier}/", about, {"expand": "files"})
        return parsed(TypeAdapter(v1.Unit), reply, about)

    async def create_units(self, units: Sequence[v1.UnitToCreate], about: str) -> list[v1.Unit]:
        """Create at most a thousand units, all or none (v1).

        Raises
        ------
        SynapseError
            With ``outcome_unknown`` where they may exist although the answer was lost.
        """
        content = _json([unit.model_dump(mode="json", exclude_none=True) for unit in units])
        reply = await self._call(
            "POST", "data_units/", about, content, replay=False, headers=JSON_HEADERS
        )
        if reply.body.lstrip().startswith(b"{"):
            return [parsed(TypeAdapter(v1.Unit), reply, about)]
        return parsed(_CREATED_UNITS, reply, about)

    async def set_metadata(self, identifier: int, meta: Mapping[str, Any], about: str) -> None:
        """Replace a unit's metadata (v2); its files stay as they are."""
        body = _json({"meta": meta})
        await self._call("PATCH", f"v2/data-units/{identifier}/", about, body, headers=JSON_HEADERS)

    async def delete_unit(self, identifier: int, about: str) -> bool:
        """Delete a unit (v2); False where it seems to have been gone already."""
        try:
            await self._send("DELETE", f"v2/data-units/{identifier}/", about, replay=True)
        except NotFoundError:
            return False
        return True

    async def stored_sizes(self, collection: int, about: str) -> dict[str, int]:
        """Learn the sizes in bytes of a collection's files, by checksum (v2)."""
        params = {"data_collection": str(collection)}
        found: dict[str, int] = {}
        async for page in self._cursor_pages("v2/data-files/", params, _STORED_FILES, about):
            found.update(
                (item.checksum, item.file_size) for item in page if item.file_size is not None
            )
        return found

    async def group_names(self, collection: int, about: str) -> dict[int, str]:
        """Learn the names of a collection's groups, by id (v2)."""
        route = f"v2/data-collections/{collection}/groups/"
        pages = self._cursor_pages(route, {}, _GROUPS, about)
        return {item.id: item.name async for page in pages for item in page}

    async def announces_extras(self) -> bool:
        """Say whether the server is an embedded one, which serves datasets as well."""
        try:
            reply = await self._call("GET", "health/", None, None)
        except NotFoundError:
            return False
        return "X-Synapsefs-Server" in reply.headers


def _collection(identifier: int) -> str:
    return f"v2/data-collections/{identifier}/"


def _json(value: Any) -> bytes:
    return TypeAdapter(Any).dump_json(value)
