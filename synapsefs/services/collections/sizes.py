"""Sizes of a collection's files, where its listing does not tell them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence

from synapsefs import limits
from synapsefs.errors import SynapseError
from synapsefs.objects import Content, object_size
from synapsefs.services.base import Entry
from synapsefs.services.collections.api import CollectionsApi
from synapsefs.services.collections.directory import CollectionDirectory
from synapsefs.services.collections.indexes import Indexes
from synapsefs.transport import Transport

logger = logging.getLogger("synapsefs")


class Sizes:
    """Finds out sizes in bulk: from the service's list of stored files, else by reading a byte.

    Parameters
    ----------
    transport, api
        The storage and the service.
    directory, indexes
        Which collections there are, and what they hold.
    """

    def __init__(
        self,
        transport: Transport,
        api: CollectionsApi,
        directory: CollectionDirectory,
        indexes: Indexes,
    ) -> None:
        self._transport = transport
        self._api = api
        self._directory = directory
        self._indexes = indexes

    async def learn(
        self, entries: Sequence[Entry], content: Callable[[Entry], Awaitable[Content]]
    ) -> None:
        """Note the sizes that are missing in the records of files; ``content`` opens one."""
        unknown = [entry for entry in entries if entry.kind == "file" and entry.size is None]
        for collection in {entry.location.container for entry in unknown}:
            await self._ask([e for e in unknown if e.location.container == collection])
        left = [entry for entry in unknown if entry.record.size is None]

        async def probe(entry: Entry) -> None:
            entry.record.size = await object_size(self._transport, await content(entry))

        await limits.gather(map(probe, left), self._transport.options.max_concurrency)

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
        held = self._indexes.held(collection.identifier).units.values()
        for file in (
            *(entry.record for entry in entries),
            *(file for unit in held for file in unit.files.values()),
        ):
            if file.size is None:
                file.size = sizes.get(file.checksum)
