"""What all verbs share: the services, the transport, and the event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

from fsspec.asyn import AsyncFileSystem, get_loop

from synapsefs.cache import TailCache
from synapsefs.checkpoint import TransferKey
from synapsefs.config import Endpoint, Settings
from synapsefs.errors import (
    FolderError,
    SynapseError,
    UnsupportedError,
    error_path,
)
from synapsefs.http import Transport
from synapsefs.location import PROTOCOL, Location, Root, strip_protocol
from synapsefs.options import Options
from synapsefs.services.base import Entry, Service, directory

if TYPE_CHECKING:
    from synapsefs.services.collections.service import CollectionsService
    from synapsefs.services.datasets.service import DatasetsService

T = TypeVar("T")
NO_VERSIONS = "the service keeps no older versions"
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
    options: Options
    _pid: int
    _loop: asyncio.AbstractEventLoop

    def _prepare(self, settings: Settings, options: Options) -> None:
        self.settings = settings
        self.options = options
        self.transport = Transport(options)
        self.tails = TailCache()
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

    async def _collections(self, location: Location) -> CollectionsService:
        """Give the collections service, for what only that one does."""
        service = await self._service(location)
        if location.root is not Root.COLLECTIONS:
            raise UnsupportedError("datasets do not offer this", location.path)
        return cast("CollectionsService", service)

    async def _datasets(
        self, location: Location, rule: str = "collections do not offer this"
    ) -> DatasetsService:
        """Give the datasets service, for what only that one does.

        Parameters
        ----------
        rule
            Why a path of the other service is refused.
        """
        service = await self._service(location)
        if location.root is not Root.DATASETS:
            raise UnsupportedError(rule, location.path)
        return cast("DatasetsService", service)

    def _connect(self) -> None:
        """Make the services, starting the embedded server where that is the one to use."""
        from synapsefs.services.collections.service import (  # noqa: PLC0415 - when first needed
            CollectionsService,
        )
        from synapsefs.services.datasets.service import DatasetsService  # noqa: PLC0415 - as above

        collections, datasets = self._endpoints()
        given = self.options.listings_expiry
        expiry, chosen = DEFAULT_EXPIRY if given is None else given, given is not None
        made: dict[Root, Service] = {}
        if collections is not None:
            made[Root.COLLECTIONS] = CollectionsService(
                self.transport, collections, expiry, chosen_expiry=chosen
            )
        if datasets is not None:
            made[Root.DATASETS] = DatasetsService(
                self.transport, datasets, self.options.datasets or {}, expiry, chosen_expiry=chosen
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
        service = await self._collections(Location((Root.COLLECTIONS.value,)))
        return bool(await service.api.announces_extras())

    async def _entry(self, path: str, *, refresh: bool = False) -> Entry:
        location = Location.parse(path)
        if location.root is None:
            return Entry(location, "directory", size=0)
        with error_path(location.path):
            return await (await self._service(location)).resolve(location, refresh=refresh)

    async def _renewed(self, location: Location, since: float) -> bool:
        """List anew what shows a place, unless that was done since then; say whether it was."""
        if location.root is None:
            return False
        with error_path(location.path):
            return await (await self._service(location)).refresh(location, since)

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
        if entry.location.root is None:
            raise UnsupportedError(NO_VERSIONS, entry.location.path)
        datasets = await self._datasets(entry.location, NO_VERSIONS)
        with error_path(entry.location.path):
            return await datasets.at_version(entry, version)

    async def _resolved(
        self, locations: Iterable[Location], *, refresh: bool = False
    ) -> dict[Location, Entry | None]:
        """Resolve paths, all with an identity; None for what is not there.

        With ``refresh`` from a listing of each collection or dataset that is read anew, otherwise
        from the one that is there.
        """
        resolved: dict[Location, Entry | None] = {}
        for group in by_root(dict.fromkeys(locations), lambda location: location):
            if group[0].root is None:
                resolved |= {location: directory(location) for location in group}
                continue
            with error_path(group[0].path):
                service = await self._service(group[0])
                entries = await service.resolve_many(group, refresh=refresh)
            resolved |= zip(group, entries, strict=True)
        return resolved

    async def _refresh(self, paths: Iterable[str]) -> None:
        """List the collections and datasets that paths lie in anew, each of them once."""
        locations = [Location.parse(self._strip_protocol(path)) for path in paths]
        await self._resolved([one for one in locations if one.container], refresh=True)

    async def _require(self, paths: Sequence[str], *, refresh: bool = False) -> list[Entry]:
        """Resolve paths.

        Raises
        ------
        NotFoundError
            When one of them is not there.
        """
        locations = [Location.parse(path) for path in paths]
        resolved = await self._resolved(locations, refresh=refresh)
        return [resolved[one] or await self._entry(one.path) for one in locations]

    async def _with_sizes(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Fill in the sizes of entries of any service, in their order."""
        if all(entry.size is not None for entry in entries):
            return entries
        sized: dict[Location, Entry] = {}
        for group in by_root(entries, lambda entry: entry.location):
            if any(entry.size is None for entry in group):
                service = await self._service(group[0].location)
                sized.update((entry.location, entry) for entry in await service.with_sizes(group))
        return [sized.get(entry.location, entry) for entry in entries]

    def _transfer_key(self, location: Location, resume: bool | None) -> TransferKey | None:
        """Name a transfer for a later process; None where none shall continue it.

        Parameters
        ----------
        resume
            As the call has it; None for what the instance was made with.
        """
        if not (self.options.resume if resume is None else resume):
            return None
        settings = self.settings
        if settings.embedded is not None:
            return TransferKey(settings.embedded.absolute().as_uri(), location.path)
        here = settings.collections if location.root is Root.COLLECTIONS else settings.datasets
        return TransferKey(f"{here.url} {here.tenant}" if here else "", location.path)


def by_root(items: Iterable[T], location: Callable[[T], Location]) -> list[list[T]]:
    """Group items by the service that they belong to, collections first."""
    groups: dict[Root | None, list[T]] = {}
    for item in items:
        groups.setdefault(location(item).root, []).append(item)
    return [groups[root] for root in (None, *Root) if root in groups]
