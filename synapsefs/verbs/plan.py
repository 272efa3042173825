"""Which files differ: what a content-aware ``put`` or ``get`` sends, and what it leaves alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from synapsefs import concurrency, integrity
from synapsefs.local.files import local_size
from synapsefs.location import Location
from synapsefs.verbs.resolving import ResolvingVerbs

CREATE, REPLACE, UNCHANGED = "create", "replace", "unchanged"
HASHED_AT_A_TIME = 4
SMALL = 10 * 2**20
"""Bytes up to which content without a checksum is read to be compared."""


@dataclass(frozen=True, slots=True)
class PlannedTransfer:
    """What is to be done about one file.

    Attributes
    ----------
    source, target
        From where to where: a local path and a remote one, or the other way round.
    action
        ``create``, ``replace`` or ``unchanged``.
    size
        Bytes of the source.
    """

    source: str
    target: str
    action: str
    size: int | None

    def shown(self) -> dict[str, Any]:
        """Give it as a dictionary, for a plan that people read."""
        return asdict(self)


class ComparingVerbs(ResolvingVerbs):
    """What the verbs that move whole files share to find out what differs."""

    async def _steps_to_put(
        self, pairs: Sequence[tuple[str, Location]], *, compare: bool
    ) -> list[PlannedTransfer]:
        """Plan what goes where, from one listing of each collection or dataset.

        Without ``compare`` everything goes.
        """
        there = await self._there([target for _, target in pairs])

        async def step(source: str, target: Location) -> PlannedTransfer:
            size = await asyncio.to_thread(local_size, source)
            info = there.get(target.path)
            action = CREATE if info is None else REPLACE
            if compare and info and size is not None and await self._same(source, size, info):
                action = UNCHANGED
            return PlannedTransfer(source, target.path, action, size)

        return await concurrency.gather((step(*pair) for pair in pairs), HASHED_AT_A_TIME)

    async def _steps_to_get(
        self, pairs: Iterable[tuple[Mapping[str, Any], str]], *, compare: bool
    ) -> list[PlannedTransfer]:
        """Plan what comes from where; ``pairs`` are infos of remote files and local paths."""

        async def step(info: Mapping[str, Any], target: str) -> PlannedTransfer:
            there = await asyncio.to_thread(os.path.isfile, target)
            action = REPLACE if there else CREATE
            if there and compare:
                size = await asyncio.to_thread(os.path.getsize, target)
                action = UNCHANGED if await self._same(target, size, info) else REPLACE
            return PlannedTransfer(str(info["name"]), target, action, info["size"])

        return await concurrency.gather((step(*pair) for pair in pairs), HASHED_AT_A_TIME)

    async def _there(self, places: Iterable[Location]) -> dict[str, Mapping[str, Any]]:
        """Give the infos of all files in the containers that places lie in, as listed now."""
        found: dict[str, Mapping[str, Any]] = {}
        for container in {Location(place.segments[:2]) for place in places}:
            self.invalidate_cache(container.path)
            found |= await self._find(container.path, detail=True)
        return found

    async def _same(self, path: str, size: int, info: Mapping[str, Any]) -> bool:
        """Compare a local file with a remote one: by size, then by content."""
        if info["type"] != "file" or info["size"] != size:
            return False
        checksum, _, in_parts = str(info.get("checksum") or "").partition("-")
        digest = integrity.hasher(checksum)
        if in_parts:
            digest = integrity.PartsHash(info["part_size"])
        if digest is not None:
            own = await asyncio.to_thread(file_checksum, path, digest)
            return bool(own == checksum.lower())
        if size > SMALL:
            return False
        remote = await self._cat_file(info["name"])
        return bool(remote == await asyncio.to_thread(_content, path))


def file_checksum(path: str, digest: Any) -> str:
    """Hash a local file; gives hexadecimal digits."""
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return str(digest.hexdigest())


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()
