"""Sizes of a collection's files, where its listing does not tell them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

from synapsefs import concurrency
from synapsefs.errors import SynapseError
from synapsefs.http import Transport
from synapsefs.remote_object import RemoteObject
from synapsefs.services.base import Entry
from synapsefs.services.collections.catalog import CollectionCatalog
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.unit import UnitFile

logger = logging.getLogger("synapsefs")
MOST_KNOWN = 200_000
"""Checksums whose sizes are kept, some 30 MB."""


class Sizes:
    """Finds out sizes in bulk: from the service's list of stored files, else by reading a byte.

    Parameters
    ----------
    transport, api
        The storage and the service.
    directory
        Which collections there are.
    """

    def __init__(
        self,
        transport: Transport,
        api: CollectionsClient,
        directory: CollectionCatalog,
    ) -> None:
        self._transport = transport
        self._api = api
        self._directory = directory
        self._known: dict[str, int] = {}

    def of(self, file: UnitFile) -> int | None:
        """Give a file's size in bytes if it is known, from a listing or of the same content."""
        return self._known.get(file.checksum) if file.size is None else file.size

    async def learn(
        self, entries: Sequence[Entry], content: Callable[[Entry], Awaitable[RemoteObject]]
    ) -> None:
        """Note the sizes that are missing in the records of files; ``content`` opens one."""
        unknown = self._without_size(entries)
        for collection in {entry.location.container for entry in unknown}:
            await self._ask([e for e in unknown if e.location.container == collection])
        left = self._without_size(unknown)

        async def probe(entry: Entry) -> None:
            file: UnitFile = entry.record
            file.size = await (await content(entry)).learn_size()
            self._remember({file.checksum: file.size})

        await concurrency.gather(map(probe, left), self._transport.options.max_concurrency)

    def _without_size(self, entries: Sequence[Entry]) -> list[Entry]:
        """Note the sizes that are known of files; give those whose size is not."""
        files = [entry for entry in entries if entry.kind == "file" and entry.size is None]
        for entry in files:
            entry.record.size = self.of(entry.record)
        return [entry for entry in files if entry.record.size is None]

    def _remember(self, sizes: Mapping[str, int]) -> None:
        """Keep sizes by checksum: what has the same content has the same size, in every listing."""
        if len(self._known) + len(sizes) > MOST_KNOWN:
            self._known.clear()
        self._known.update((checksum, size) for checksum, size in sizes.items() if checksum)

    async def _ask(self, entries: Sequence[Entry]) -> None:
        """Take what the service's list of stored files tells, for the whole collection at once."""
        if len(entries) < 2:
            return
        collection = await self._directory.find(entries[0].location)
        about = collection.location.path
        try:
            sizes = await self._api.stored_sizes(collection.identifier, about)
        except SynapseError as error:
            logger.info("%s: no list of stored files: %s", about, error)
            return
        self._remember(sizes)
        for entry in entries:
            entry.record.size = sizes.get(entry.record.checksum)
