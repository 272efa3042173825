"""Which collections or datasets there are: known by name and by id, remembered for a while."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Generic, Self, TypeVar

from synapsefs.concurrency import Locks
from synapsefs.errors import NotFoundError
from synapsefs.location import Location, Root, escape, id_of, unescape, with_id
from synapsefs.services.base import Entry
from synapsefs.services.shared import CATALOG, NEVER, Expiry, RecentChanges

K = TypeVar("K", bound=Hashable)

EXPIRY_WITHIN = 5.0
"""Seconds for which a collection or dataset is believed to be there in paths that lead into it,
unless the caller chose: whether it still is shows from what it holds."""


@dataclass(slots=True, eq=False)
class Container(Generic[K]):
    """A collection or dataset.

    Attributes
    ----------
    segment
        Its name in paths.
    as_of, load_seconds
        When the service was asked that told of it (monotonic seconds), and how long that took.
    directories
        The paths of those that it has whatever lies in them; none where they are as listed.
    is_whole
        Whether all is known of it that paths depend on.
    """

    root: ClassVar[Root]
    kind: ClassVar[str]

    identifier: K
    name: str
    created: datetime | None = None
    segment: str = ""
    as_of: float = NEVER
    load_seconds: float = 0.0
    directories: tuple[tuple[str, ...], ...] = ()
    is_whole: bool = True

    def __post_init__(self) -> None:
        self.segment = self.segment or self.plain_segment

    @property
    def plain_segment(self) -> str:
        """Its name in paths where no newer one has the same."""
        return escape(self.name, self.root) or f"@{escape(str(self.identifier))}"

    @property
    def key(self) -> tuple[str, K]:
        """What tells it from all others, whatever it is called."""
        return self.kind, self.identifier

    @property
    def location(self) -> Location:
        """Its canonical path."""
        return Location((self.root.value, self.segment))

    @property
    def details(self) -> dict[str, Any]:
        """The further keys of ``info``."""
        raise NotImplementedError

    def keep_known(self, known: Self) -> None:
        """Take from an earlier record what a listing leaves out."""

    def entry(self, location: Location | None = None) -> Entry:
        """Describe it as a directory, at its canonical path or as it was asked for."""
        return Entry(
            location or self.location,
            "directory",
            size=0,
            created=self.created,
            record=self,
            details=self.details,
            identity=self.key,
            is_container=True,
        )


C = TypeVar("C", bound=Container[Any])


class Catalog(ABC, Generic[K, C]):
    """Finds collections or datasets by name or ``@id``.

    Of several with one name the newest has it; the others are ``name@id``.
    """

    record: type[C]

    def __init__(self, expiry: Expiry) -> None:
        self._expiry = expiry
        self._changes = expiry.changes
        self._by_id: dict[K, C] = {}
        self._by_segment: dict[str, C] = {}
        self._own_changes: RecentChanges[K, C] = RecentChanges()
        self._locks: Locks[str] = Locks()
        self.as_of, self._load_seconds = NEVER, 0.0

    def known(self, segment: str) -> C | None:
        """Give a container by its segment in paths, without asking for it."""
        identifier = id_of(segment, self.record.root)
        if identifier is not None:
            return self._by_id.get(self._key(identifier))
        written = escape(unescape(segment), self.record.root)
        return self._by_segment.get(segment) or self._by_segment.get(written)

    async def all(self, *, refresh: bool = False) -> list[C]:
        """List all that are known."""
        await self._list(time.monotonic() if refresh else None)
        return list(self._by_segment.values())

    async def find(
        self, location: Location, *, newer_than: float | None = None, patient: bool = True
    ) -> C:
        """Find what a path lies in.

        Parameters
        ----------
        newer_than
            Ask the service, unless that was done since (monotonic seconds).
        patient
            Wait for a service that finds late what was made before a name counts as absent.

        Raises
        ------
        NotFoundError
            When there is none.
        """
        segment = location.container
        container = self._by_segment.get(segment) or self.known(segment)
        if container is None or not self._is_current(container, location, newer_than):
            identifier = id_of(segment, self.record.root)
            if identifier is not None:
                container = await self._find_by_id(self._key(identifier), location)
            else:
                container = await self._find_by_name(location, newer_than, patient=patient)
        if container is None:
            name = unescape(segment)
            raise NotFoundError(f"there is no {self.record.kind} {name!r}", location.path)
        if not container.is_whole:
            await self._complete(container, location.path)
        return container

    async def is_replaced(
        self, container: C, location: Location, newer_than: float | None = None
    ) -> bool:
        """Ask whether another container has the name by now; one known since then suffices.

        Raises
        ------
        NotFoundError
            When none has.
        """
        moment = time.monotonic() if newer_than is None else newer_than
        now = await self.find(location, newer_than=moment)
        return bool(now.identifier != container.identifier)

    def invalidate(self) -> None:
        """Ask anew for everything at its next use."""
        self.as_of = NEVER
        for container in (*self._by_id.values(), *self._by_segment.values()):
            container.as_of = NEVER

    def _is_current(self, container: C, location: Location, newer_than: float | None) -> bool:
        if newer_than is not None:
            return container.as_of >= newer_than
        shortest = EXPIRY_WITHIN if location.inner else 0.0
        return self._expiry.is_current(CATALOG, container.as_of, container.load_seconds, shortest)

    async def _list(self, newer_than: float | None) -> None:
        """List all containers; without ``newer_than`` only where the listing has expired."""
        async with self._locks.get("list"):
            if newer_than is not None:
                current = self.as_of >= newer_than
            else:
                current = self._expiry.is_current(CATALOG, self.as_of, self._load_seconds)
            if current:
                return
            with self._own_changes.reading() as began:
                listed = await self._fetch_all()
            self.as_of, self._load_seconds = began, time.monotonic() - began
            records = {container.identifier: container for container in listed}
            for container in records.values():
                container.as_of, container.load_seconds = began, self._load_seconds
                if (known := self._by_id.get(container.identifier)) is not None:
                    container.keep_known(known)
            self._replay(records, began)
            self._arrange(records.values())

    def _replay(self, records: dict[K, C], began: float) -> None:
        """Keep what was made or deleted here after a listing was begun."""
        for identifier, made in self._own_changes.since(began).items():
            records.pop(identifier, None)
            if made is not None:
                records[identifier] = made

    def _arrange(self, containers: Iterable[C]) -> None:
        """Give names to containers, of which the newest has the plain one."""
        newest_first = sorted(containers, key=self._age_of)
        self._by_id, self._by_segment = {}, {}
        for container in newest_first:
            container.segment = container.plain_segment
            while container.segment in self._by_segment:
                container.segment = with_id(container.segment, str(container.identifier))
            self._by_segment[container.segment] = self._by_id[container.identifier] = container

    def _add(self, container: C) -> None:
        """Remember a container that was made just now; it takes its name."""
        container.as_of = time.monotonic()
        self._own_changes.note(container.identifier, container)
        self._own_changes.pop_excess()
        self._changes.note(CATALOG)
        self._arrange({**self._by_id, container.identifier: container}.values())

    def _discard(self, identifier: K) -> None:
        """Forget a container that was deleted."""
        self._own_changes.note(identifier, None)
        self._own_changes.pop_excess()
        self._arrange([one for i, one in self._by_id.items() if i != identifier])

    async def _find_by_id(self, identifier: K, location: Location) -> C:
        """Ask for one container; it keeps the name that a listing gave it."""
        began = time.monotonic()
        container = await self._fetch(identifier, location.path)
        known = self._by_id.get(container.identifier)
        container.as_of, container.segment = began, f"@{container.identifier}"
        if known is not None and known.name == container.name:
            container.segment = known.segment
            if known.segment in self._by_segment:
                self._by_segment[known.segment] = container
        self._by_id[container.identifier] = container
        return container

    @abstractmethod
    def _key(self, identifier: str) -> K:
        """Read an id as a path has it."""

    @abstractmethod
    def _age_of(self, container: C) -> Any:
        """Order containers, the newest first."""

    @abstractmethod
    async def _fetch_all(self) -> Iterable[C]:
        """Ask for all containers."""

    @abstractmethod
    async def _fetch(self, identifier: K, path: str) -> C:
        """Ask for one by its id."""

    async def _find_by_name(
        self,
        location: Location,
        newer_than: float | None,
        *,
        patient: bool,  # noqa: ARG002 - most services tell at once of what was made
    ) -> C | None:
        """Ask for one by its name; that there is none is not believed of an earlier listing."""
        began = time.monotonic()
        await self._list(newer_than)
        container = self.known(location.container)
        if container is None and self.as_of < began:
            await self._list(began)
            container = self.known(location.container)
        return container

    async def _complete(self, container: C, path: str) -> None:
        """Ask for what listings leave out."""
