"""What a transfer does: its options, and which files a content-aware one leaves alone."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs import concurrency, integrity
from synapsefs.errors import InvalidRequestError
from synapsefs.location import Location
from synapsefs.services.base import NewFile
from synapsefs.verbs.base import Core

CREATE, REPLACE, UNCHANGED = "create", "replace", "unchanged"
FAULTS = (OSError, ValueError)
HASHED_AT_A_TIME = 4
SMALL = 10 * 2**20
"""Bytes up to which content without a checksum is read to be compared."""


@dataclass(frozen=True, slots=True)
class TransferOptions:
    """How ``put`` or ``get`` goes about many files.

    Attributes
    ----------
    sync
        Leave files alone whose content is there already.
    dry_run
        Only give the plan.
    each
        Go on after failures, and give what became of each file.
    counter
        A callback that counts files.
    """

    sync: bool = False
    dry_run: bool = False
    each: bool = False
    counter: Any = DEFAULT_CALLBACK

    @classmethod
    def of(cls, options: dict[str, Any]) -> TransferOptions:
        """Take them out of a verb's options.

        Raises
        ------
        InvalidRequestError
            For an ``on_error`` that is neither ``raise`` nor ``return``.
        """
        on_error = options.pop("on_error", "raise")
        if on_error not in {"raise", "return"}:
            raise InvalidRequestError(f"on_error is 'raise' or 'return', not {on_error!r}")
        return cls(
            sync=bool(options.pop("sync", False)),
            dry_run=bool(options.pop("dry_run", False)),
            each=on_error == "return",
            counter=options.pop("files_callback", DEFAULT_CALLBACK),
        )


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


class Plans(Core):
    """Compares local files with remote ones."""

    async def _plan_put(self, files: Sequence[NewFile], *, compare: bool) -> list[PlannedTransfer]:
        """Plan what goes where, from one listing of each collection or dataset.

        Without ``compare`` everything goes.
        """
        infos: dict[str, Mapping[str, Any]] = {}
        for container in {Location(file.location.segments[:2]) for file in files}:
            infos |= await self._find(container.path, detail=True, refresh=True)

        async def plan(file: NewFile) -> PlannedTransfer:
            source, target = str(file.source), file.location.path
            info = infos.get(target)
            action = CREATE if info is None else REPLACE
            if compare and info and file.size >= 0 and await self._same(source, file.size, info):
                action = UNCHANGED
            return PlannedTransfer(source, target, action, file.size if file.size >= 0 else None)

        return await concurrency.gather(map(plan, files), HASHED_AT_A_TIME)

    async def _plan_get(
        self, pairs: Iterable[tuple[Mapping[str, Any], str]], *, compare: bool
    ) -> list[PlannedTransfer]:
        """Plan what comes from where; ``pairs`` are infos of remote files and local paths."""

        async def plan(info: Mapping[str, Any], target: str) -> PlannedTransfer:
            there = await asyncio.to_thread(os.path.isfile, target)
            action = REPLACE if there else CREATE
            if there and compare:
                size = await asyncio.to_thread(os.path.getsize, target)
                action = UNCHANGED if await self._same(target, size, info) else REPLACE
            return PlannedTransfer(str(info["name"]), target, action, info["size"])

        return await concurrency.gather((plan(*pair) for pair in pairs), HASHED_AT_A_TIME)

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
