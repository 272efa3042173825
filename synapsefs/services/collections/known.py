"""Content that the service has already, which is bound again and not sent again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from synapsefs import integrity, limits
from synapsefs.errors import SynapseError
from synapsefs.location import Location
from synapsefs.services.base import Staged
from synapsefs.services.collections.api import CollectionsApi
from synapsefs.services.collections.plan import StagedFile, Wish
from synapsefs.wire import collections as wire

logger = logging.getLogger("synapsefs")
HASHED_AT_A_TIME = 2


@dataclass(frozen=True, slots=True)
class LocalContent:
    """A local file that is to be bound at a place."""

    path: str
    location: Location
    exclusive: bool
    wish: Wish | None = None


class KnownContent:
    """Asks the service which files need not be sent.

    Parameters
    ----------
    api
        The service.
    """

    def __init__(self, api: CollectionsApi) -> None:
        self._api = api

    async def staged(self, wanted: Sequence[LocalContent]) -> dict[Location, Staged]:
        """Give those files whose content is there, ready to be published.

        Where the service does not tell, that is none of them.
        """
        hashed = await limits.gather(map(_hashed, wanted), HASHED_AT_A_TIME)
        known = await self._known(sorted({md5 for md5, _ in hashed}), wanted[0].location.path)
        return {
            item.location: Staged(item.location, size, item.exclusive, StagedFile(md5, item.wish))
            for item, (md5, size) in zip(wanted, hashed, strict=True)
            if md5 in known
        }

    async def _known(self, checksums: Sequence[str], about: str) -> set[str]:
        known: set[str] = set()
        try:
            for start in range(0, len(checksums), wire.CHECKSUM_BATCH):
                batch = checksums[start : start + wire.CHECKSUM_BATCH]
                known.update(await self._api.existing_checksums(batch, about))
        except SynapseError as error:
            logger.info("%s: the service does not tell what it has: %s", about, error)
        return known


async def _hashed(item: LocalContent) -> tuple[str, int]:
    """Give a local file's MD5 in hexadecimal digits, and the number of bytes that have it."""

    def read() -> tuple[str, int]:
        digest = hashlib.md5(usedforsecurity=False)
        with open(item.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            integrity.hash_range(file, digest, 0, size)
        return digest.hexdigest(), size

    return await asyncio.to_thread(read)
