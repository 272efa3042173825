"""Sizes of a collection's files, where its listing does not tell them."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from synapsefs import concurrency
from synapsefs.errors import SynapseError
from synapsefs.http import Transport
from synapsefs.remote_object import RemoteObject
from synapsefs.services.base import Entry
from synapsefs.services.collections.catalog import CollectionCatalog
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.unit import UnitFile
from synapsefs.services.shared import NEVER

logger = logging.getLogger("synapsefs")
MAX_SIZES = 200_000
"""Checksums whose sizes are kept, some 30 MB."""


class Sizes:
    """Finds out sizes in bulk: from the service's list of stored files, else by reading a byte."""

    def __init__(
        self, transport: Transport, api: CollectionsClient, catalog: CollectionCatalog
    ) -> None:
        self._transport = transport
        self._api = api
        self._catalog = catalog
        self._known: dict[str, int] = {}
        self._asked: dict[int, float] = {}
        """When the stored files of collections were listed last (monotonic seconds)."""

    def of(self, file: UnitFile) -> int | None:
        """Give a file's size in bytes if it is known, from a listing or of the same content."""
        return self._known.get(file.checksum) if file.size is None else file.size

    def note(self, file: UnitFile, size: int) -> None:
        """Note a size that an answer of the storage told."""
        file.size = size
        self._remember({file.checksum: size})

    async def learn(
        self, entries: Sequence[Entry], content: Callable[[Entry], Awaitable[RemoteObject]]
    ) -> None:
        """Note the sizes that are missing in the records of files; ``content`` opens one."""
        unknown = self._without_size(entries)
        groups: dict[str, list[Entry]] = {}
        for entry in unknown:
            groups.setdefault(entry.location.container, []).append(entry)
        for group in groups.values():
            if len(group) > 1:
                await self._ask(group)

        async def probe(entry: Entry) -> None:
            self.note(entry.record, await (await content(entry)).learn_size())

        left = self._without_size(unknown)
        await concurrency.gather(map(probe, left), self._transport.options.max_concurrency)

    def _without_size(self, entries: Sequence[Entry]) -> list[Entry]:
        """Note the sizes that are known of files; give those whose size is not."""
        files = [entry for entry in entries if entry.kind == "file" and entry.size is None]
        for entry in files:
            entry.record.size = self.of(entry.record)
        return [entry for entry in files if entry.record.size is None]

    def _remember(self, sizes: Mapping[str, int]) -> None:
        """Keep sizes by checksum: what has the same content has the same size, in every listing."""
        if len(self._known) + len(sizes) > MAX_SIZES:
            self._known.clear()
        self._known.update((checksum, size) for checksum, size in sizes.items() if checksum)

    async def _ask(self, entries: Sequence[Entry]) -> None:
        """List the stored files of a whole collection, unless that was done since these units."""
        collection = await self._catalog.find(entries[0].location)
        listed_at = max(entry.record.unit.seen for entry in entries)
        if self._asked.get(collection.identifier, NEVER) > listed_at:
            return
        self._asked[collection.identifier] = time.monotonic()
        path = collection.location.path
        try:
            self._remember(await self._api.stored_sizes(collection.identifier, path))
        except SynapseError as error:
            logger.info("%s: no list of stored files: %s", path, error)
