"""What all verbs share: the services, the transport, and the event loop."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from fsspec.asyn import AsyncFileSystem, get_loop

from synapsefs.cache import TailCache
from synapsefs.config import Endpoint, NetworkOptions, Settings
from synapsefs.errors import (
    ChangedError,
    FolderError,
    NotFoundError,
    SynapseError,
    UnsupportedError,
    error_path,
)
from synapsefs.http import Transport
from synapsefs.location import PROTOCOL, Location, Root, id_of, strip_protocol
from synapsefs.remote_object import RemoteObject
from synapsefs.resume import TransferKey, release_or_drop
from synapsefs.services.base import Entry, History, Service, Staged

T = TypeVar("T")
DEFAULT_EXPIRY = 0.3
"""Seconds for which a listing is believed unless it took long or the caller chose."""


class Core(AsyncFileSystem):
    """The state of an instance, without any verb.

    Services are made when first needed: that is when the embedded server starts, and when the
    wire models are imported.
    """

    protocol = PROTOCOL
    root_marker = ""
    settings: Settings
    options: NetworkOptions
    _pid: int
    _loop: asyncio.AbstractEventLoop

    def _prepare(
        self,
        settings: Settings,
        options: NetworkOptions,
        datasets: Mapping[str, str],
        expiry: float | None,
        *,
        resume: bool,
    ) -> None:
        self.settings = settings
        self.options = options
        self.transport = Transport(options)
        self.tails = TailCache()
        self._named_datasets = datasets
        self._expiry = expiry
        self._resume = resume
        self.ignored_options: set[tuple[str, str]] = set()
        self._services: dict[Root, Service] = {}
        self._services_pid = os.getpid()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that synchronous calls run on; a forked child gets its own.

        Raises
        ------
        RuntimeError
            On an asynchronous instance, whose methods are awaited.
        """
        if self.asynchronous:
            raise RuntimeError(
                "this filesystem is asynchronous: await its methods with an underscore, "
                "or make one without asynchronous=True"
            )
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._loop = get_loop()
        return self._loop

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(item) for item in path]
        return strip_protocol(os.fspath(path) if hasattr(path, "__fspath__") else str(path))

    @classmethod
    def _parent(cls, path: str) -> str:
        return strip_protocol(path).rpartition("/")[0]

    async def _service(self, location: Location) -> Service:
        """Give the service that a path belongs to.

        Raises
        ------
        UnsupportedError
            When that service is not configured.
        """
        root = location.root
        if root is None:
            raise FolderError("name a path below synapse://collections or datasets", "synapse://")
        if self._services_pid != os.getpid():
            self._services, self._services_pid = {}, os.getpid()
        found = self._services.get(root)
        if found is None:
            await asyncio.to_thread(self._connect)
            found = self._services.get(root)
        if found is None:
            raise UnsupportedError(f"the {root} service is not configured", location.path)
        return found

    def _connect(self) -> None:
        """Make the services, starting the embedded server where that is the one to use."""
        from synapsefs.services.collections.service import (  # noqa: PLC0415 - when first needed
            CollectionsService,
        )
        from synapsefs.services.datasets.service import DatasetsService  # noqa: PLC0415 - as above

        collections, datasets = self._endpoints()
        expiry = DEFAULT_EXPIRY if self._expiry is None else self._expiry
        chosen = self._expiry is not None
        made: dict[Root, Service] = {}
        if collections is not None:
            made[Root.COLLECTIONS] = CollectionsService(
                self.transport, collections, expiry, chosen_expiry=chosen
            )
        if datasets is not None:
            made[Root.DATASETS] = DatasetsService(
                self.transport, datasets, self._named_datasets, expiry, chosen_expiry=chosen
            )
        for root, service in made.items():
            self._services.setdefault(root, service)

    def _endpoints(self) -> tuple[Endpoint | None, Endpoint | None]:
        if self.settings.embedded is None:
            return self.settings.collections, self.settings.datasets
        from synapsefs.server.embedded import embedded  # noqa: PLC0415 - only where it is used

        server = embedded(self.settings.embedded)
        self.transport.names[server.url] = self.settings.embedded.as_uri()
        datasets = self.settings.datasets or Endpoint(server.url, server.api_key)
        return Endpoint(server.url, server.token), datasets

    def name_endpoint(self, error: OSError) -> None:
        """Add to an error which endpoint was asked about its path, unless it says so."""
        if not isinstance(error, SynapseError):
            return
        root = strip_protocol(str(error.filename or "")).partition("/")[0]
        settings = self.settings
        if root not in list(Root):
            return
        asked = settings.collections if root == Root.COLLECTIONS else settings.datasets
        if settings.embedded is not None and asked is None:
            error.name_endpoint(settings.embedded.as_uri())
        elif asked is not None:
            error.name_endpoint(asked.url)

    async def _roots(self) -> list[Location]:
        """Give the roots that are configured, and datasets where the endpoint serves both."""
        if self.settings.embedded is not None:
            return [Location((root.value,)) for root in Root]
        found = []
        if self.settings.collections is not None:
            found.append(Location((Root.COLLECTIONS.value,)))
        datasets = self.settings.datasets
        if datasets is not None and (not datasets.assumed or await self._serves_both()):
            found.append(Location((Root.DATASETS.value,)))
        return found

    async def _serves_both(self) -> bool:
        service: Any = await self._service(Location((Root.COLLECTIONS.value,)))
        return bool(await service.api.announces_extras())

    async def _entry(self, path: str, *, refresh: bool = False) -> Entry:
        location = Location.parse(path)
        if location.root is None:
            return Entry(location, "directory", size=0)
        with error_path(location.path):
            found = await (await self._service(location)).entry(location, refresh=refresh)
        if found.location.inner != location.inner:
            return found
        return rebase(location, found.location, [found])[0]

    async def _renewed(self, location: Location, since: float) -> bool:
        """List anew what shows a place, unless that was done since then; say whether it was."""
        if location.root is None:
            return False
        with error_path(location.path):
            return await (await self._service(location)).renewed(location, since)

    async def _below(self, location: Location, entries: Sequence[Entry]) -> list[Entry]:
        """Name what a service lists at or below a place as it was asked for."""
        place = location
        if any(id_of(segment, location.root) is not None for segment in location.segments):
            place = (await (await self._service(location)).entry(location)).location
        elif entries and location.container:
            place = Location((*entries[0].location.segments[:2], *location.inner))
        return rebase(location, place, entries)

    async def _entry_at(
        self, path: str, version: str | int | None, *, refresh: bool = False
    ) -> Entry:
        """Find what is at a path, as it was at a version.

        Raises
        ------
        NotFoundError
            When there is no such version.
        UnsupportedError
            Where the service keeps only the newest, and that is another.
        """
        entry = await self._entry(path, refresh=refresh)
        if version is None or version == entry.version:
            return entry
        with error_path(entry.location.path):
            return await (await self._history(entry)).at(entry, version)

    async def _history(self, entry: Entry) -> History:
        history = (await self._service(entry.location)).history if entry.location.root else None
        if history is None:
            raise UnsupportedError("the service keeps no older versions", entry.location.path)
        return history

    async def _content(
        self, path: str, version: str | int | None = None
    ) -> tuple[Entry, RemoteObject]:
        """Open a file's bytes."""
        entry = await self._entry_at(path, version)
        if entry.kind != "file":
            raise FolderError("this is a directory", entry.location.path)
        return entry, await (await self._service(entry.location)).content(entry)

    async def _read_content(
        self,
        path: str,
        version: str | int | None,
        use: Callable[[RemoteObject], Awaitable[T]],
    ) -> tuple[Entry, RemoteObject, T]:
        """Open a file's bytes and use them.

        A file that is gone or was replaced since it was listed is looked up once more.
        """
        began = time.monotonic()
        try:
            entry, content = await self._content(path, version)
            return entry, content, await use(content)
        except (ChangedError, FolderError, NotFoundError):
            if version is not None or not await self._renewed(Location.parse(path), began):
                raise
        entry, content = await self._content(path)
        return entry, content, await use(content)

    async def _sized_content(
        self, path: str, version: str | int | None = None
    ) -> tuple[Entry, RemoteObject]:
        """Open a file's bytes, their number known."""
        entry, remote, _ = await self._read_content(path, version, RemoteObject.probe)
        return entry, remote

    async def _measured(self, entries: Sequence[Entry]) -> list[Entry]:
        """Fill in the sizes of entries of one service."""
        if all(entry.size is not None for entry in entries):
            return list(entries)
        return await (await self._service(entries[0].location)).measured(entries)

    async def _measured_all(self, entries: Sequence[Entry]) -> list[Entry]:
        """Fill in the sizes of entries of any service, in their order."""
        measured: dict[Location, Entry] = {}
        for root in {entry.location.root for entry in entries}:
            group = [entry for entry in entries if entry.location.root == root]
            measured.update((entry.location, entry) for entry in await self._measured(group))
        return [measured[entry.location] for entry in entries]

    def _keeping(self, location: Location, resume: bool | None) -> TransferKey | None:
        """Name a transfer for a later process; None where none shall continue it.

        Parameters
        ----------
        resume
            As the call has it; None for what the instance was made with.
        """
        if not (self._resume if resume is None else resume):
            return None
        settings = self.settings
        if settings.embedded is not None:
            return TransferKey(settings.embedded.absolute().as_uri(), location.path)
        here = settings.collections if location.root is Root.COLLECTIONS else settings.datasets
        return TransferKey(f"{here.url} {here.tenant}" if here else "", location.path)

    async def publish(self, staged: list[Staged]) -> None:
        """Make finished files visible, those of one service together.

        Collections come first: their units go again when the datasets fail.
        """
        groups = [
            group
            for root in Root
            if (group := [item for item in staged if item.location.root is root])
        ]
        if groups:
            await self._publish_in_turn(*groups)
        for item in staged:
            if item.journal is not None:
                await asyncio.to_thread(item.journal.drop)

    async def _publish_in_turn(self, group: list[Staged], *later: list[Staged]) -> None:
        service = await self._service(group[0].location)
        with error_path(group[0].location.path):
            await service.publish(group, partial(self._publish_in_turn, *later) if later else None)

    async def discard(self, staged: Sequence[Staged], error: BaseException | None = None) -> None:
        """Clear away finished files that are not published, but what ``error`` lets continue."""
        for item in staged:
            kept = await asyncio.to_thread(release_or_drop, item.journal, error)
            if item.abandon is not None and not kept:
                await item.abandon()


def rebase(asked: Location, place: Location, entries: Sequence[Entry]) -> list[Entry]:
    """Name what lies at or below a place as it was asked for, by ``@id`` for instance.

    Callers take names apart by the path that they asked for.

    Parameters
    ----------
    asked, place
        What was asked for, and the canonical place that it means.
    """
    if asked == place:
        return list(entries)
    depth = len(place.segments)
    return [
        replace(entry, location=asked.child(*entry.location.segments[depth:])) for entry in entries
    ]
