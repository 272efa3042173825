"""Content that the service has already, which is bound again and not sent again."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

from synapsefs import concurrency, integrity
from synapsefs.errors import SynapseError
from synapsefs.location import Location
from synapsefs.services.base import Staged
from synapsefs.services.collections.client import CollectionsClient
from synapsefs.services.collections.composition import StagedFile, UnitOptions
from synapsefs.wire.collections import constants

logger = logging.getLogger("synapsefs")
HASHED_AT_A_TIME = 2
PARCEL, PARCEL_FILES = 8 * 2**20, 32
"""Bytes and files that one visit to a thread hashes."""


@dataclass(frozen=True, slots=True)
class LocalContent:
    """A local file that is to be bound at a place."""

    path: str
    location: Location
    size: int
    exclusive: bool
    wish: UnitOptions | None = None


class ContentLookup:
    """Asks the service which files need not be sent.

    Parameters
    ----------
    api
        The service.
    """

    def __init__(self, api: CollectionsClient) -> None:
        self._api = api

    async def staged(self, wanted: Sequence[LocalContent]) -> dict[Location, Staged]:
        """Give those files whose content is there, ready to be published.

        Where the service does not tell, that is none of them.
        """
        batched = concurrency.batched(
            wanted, lambda item: item.size, most=PARCEL, count=PARCEL_FILES
        )
        work = (asyncio.to_thread(_hashed, parcel) for parcel in batched)
        hashed = [
            pair for some in await concurrency.gather(work, HASHED_AT_A_TIME) for pair in some
        ]
        known = await self.existing(sorted({md5 for md5, _ in hashed}), wanted[0].location.path)
        return {
            item.location: Staged(
                item.location, size, item.exclusive, StagedFile(md5, item.wish, "known")
            )
            for item, (md5, size) in zip(wanted, hashed, strict=True)
            if md5 in known
        }

    async def existing(self, checksums: Sequence[str], about: str) -> set[str]:
        """Give those of MD5 checksums of which the service has files."""
        known: set[str] = set()
        try:
            for start in range(0, len(checksums), constants.CHECKSUM_BATCH):
                batch = checksums[start : start + constants.CHECKSUM_BATCH]
                known.update(await self._api.existing_checksums(batch, about))
        except SynapseError as error:
            logger.info("%s: the service does not tell what it has: %s", about, error)
        return known


def _hashed(items: Sequence[LocalContent]) -> list[tuple[str, int]]:
    """Give each file's MD5 in hexadecimal digits, and the number of bytes that have it."""
    found = []
    for item in items:
        digest = hashlib.md5(usedforsecurity=False)
        with open(item.path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            integrity.hash_range(file, digest, 0, size)
        found.append((digest.hexdigest(), size))
    return found
