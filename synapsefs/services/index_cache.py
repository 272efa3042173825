"""The indexes of containers: read when first needed, remembered for a while."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, Generic, Self, TypeVar

from synapsefs.concurrency import Locks
from synapsefs.services.catalog import Container
from synapsefs.services.shared import NEVER, Expiry, RecentChanges

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")
LARGE = 1000
"""Items from which on a listing is arranged in a thread."""


class Index(ABC, Generic[K, R]):
    """What one container holds, arranged by path.

    Attributes
    ----------
    loaded_at
        When the whole listing was asked for that is held (monotonic seconds); None without one.
    read_at
        When the service was asked last what is there.
    load_seconds
        How long the listing took.
    changes
        What was written or removed here of late.
    """

    undecided: Mapping[K, R] = {}
    """What may be a file or a directory, by id."""

    def __init__(self, identifier: K) -> None:
        self.identifier = identifier
        self.loaded_at: float | None = None
        self.read_at = NEVER
        self.load_seconds = 0.0
        self.changes: RecentChanges[K, R] = RecentChanges()

    @property
    def may_be_gone(self) -> bool:
        """Whether this may be what is left of a container that is no more."""
        return False

    @abstractmethod
    def item(self, segments: tuple[str, ...]) -> Any:
        """Find the directory node or file record at a path; None where nothing is."""

    @abstractmethod
    def arranged(self, listing: Collection[Any], began: float) -> Self:
        """Arrange a listing in a new index; a thread may do it, as nothing is changed here."""

    def fill(self, fresh: Self, began: float) -> None:
        """Take a listing that was begun at ``began``; what was changed here since is kept."""
        changes = self.changes.since(began)
        vars(self).update({**vars(fresh), "changes": self.changes})
        self._replay(changes)
        self.loaded_at = self.read_at = began
        self.load_seconds = time.monotonic() - began

    @abstractmethod
    def _replay(self, changes: Mapping[K, R | None]) -> None:
        """Write and remove what was written and removed meanwhile."""


C = TypeVar("C", bound=Container[Any])
I = TypeVar("I", bound=Index[Any, Any])  # noqa: E741 - an index


class IndexCache(ABC, Generic[K, C, I]):
    """Gives the index of a container, as fresh as it must be."""

    def __init__(self, make: Callable[[K], I], expiry: Expiry) -> None:
        self._make = make
        self._expiry = expiry
        self.changes = expiry.changes
        self._by_id: dict[K, I] = {}
        self._reading: Locks[K] = Locks()

    def held(self, identifier: K) -> I:
        """Give an index as it is, be it empty or old."""
        index = self._by_id.get(identifier)
        if index is None:
            index = self._by_id[identifier] = self._make(identifier)
        return index

    async def get(self, container: C, *, newer_than: float | None = None) -> I:
        """Give a container's index, listed anew where it must be.

        Parameters
        ----------
        newer_than
            A moment (monotonic seconds), mostly that at which a call began: what is decided on the
            index is what the service said since then. Left out, the expiry decides.
        """
        index = self._by_id.get(container.identifier)
        if index is None or not self._is_current(index, newer_than):
            called = time.monotonic() if newer_than is None else newer_than
            async with self._reading.get(container.identifier):
                index = self.held(container.identifier)
                if not self._is_current(index, newer_than) and not self._is_current(index, called):
                    await self._read(container, index)
        return index

    async def latest(self, container: C, *, newer_than: float | None = None) -> I:
        """Give an index that tells which files there are as of this call, or since a moment."""
        moment = time.monotonic() if newer_than is None else newer_than
        return await self.get(container, newer_than=moment)

    def _is_current(self, index: I, newer_than: float | None) -> bool:
        if index.loaded_at is None:
            return False
        if newer_than is not None:
            return index.loaded_at >= newer_than
        return self._expiry.is_current(index.identifier, index.loaded_at, index.load_seconds)

    async def _read(self, container: C, index: I) -> None:
        with index.changes.reading() as called:
            listing, began = await self._list(container, called)
            if len(listing) < LARGE:
                fresh = index.arranged(listing, began)
            else:
                fresh = await asyncio.to_thread(index.arranged, listing, began)
            index.fill(fresh, began)

    @abstractmethod
    async def _list(self, container: C, began: float) -> tuple[Collection[Any], float]:
        """List everything that a container holds; give when that listing was begun, too."""

    def as_of(self, identifier: K) -> float:
        """Give the moment (monotonic seconds) at which the service was asked last what is there."""
        index = self._by_id.get(identifier)
        return NEVER if index is None or index.loaded_at is None else index.read_at

    def drop(self, identifier: K) -> None:
        """Forget a container that is gone."""
        self._by_id.pop(identifier, None)
