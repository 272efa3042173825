"""The indexes of containers: read when first needed, remembered for a while."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable
from typing import Any, Generic, Protocol, TypeVar

from synapsefs.concurrency import Locks
from synapsefs.services.catalog import Container
from synapsefs.services.shared import NEVER, Expiry, RecentChanges

K = TypeVar("K", bound=Hashable)


class Index(Protocol):
    """What one container holds, as it was listed."""

    loaded_at: float | None
    """When the whole listing was asked for that is held (monotonic seconds); None without one."""
    read_at: float
    """When the service was asked last what is there."""
    load_seconds: float
    changes: RecentChanges[Any, Any]


C = TypeVar("C", bound=Container[Any])
I = TypeVar("I", bound=Index)  # noqa: E741 - an index


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
        index = self.held(container.identifier)
        if not self._is_current(container.identifier, index, newer_than):
            began = time.monotonic() if newer_than is None else newer_than
            async with self._reading.get(container.identifier):
                index = self.held(container.identifier)
                loaded = index.loaded_at is not None and index.loaded_at >= began
                if not loaded and not self._is_current(container.identifier, index, newer_than):
                    index.changes.reading_since = time.monotonic()
                    try:
                        await self._load(container, index)
                    finally:
                        index.changes.reading_since = float("inf")
        return index

    async def latest(self, container: C, *, newer_than: float | None = None) -> I:
        """Give an index as of this call or ``newer_than``, complete as to which files there are."""
        return await self.get(
            container, newer_than=time.monotonic() if newer_than is None else newer_than
        )

    def _is_current(self, identifier: K, index: I, newer_than: float | None) -> bool:
        if index.loaded_at is None:
            return False
        if newer_than is not None:
            return index.loaded_at >= newer_than
        return self._expiry.is_current(identifier, index.loaded_at, index.load_seconds)

    @abstractmethod
    async def _load(self, container: C, index: I) -> None:
        """List everything that a container holds."""

    def as_of(self, identifier: K) -> float:
        """Give the moment (monotonic seconds) at which the service was asked last what is there."""
        index = self._by_id.get(identifier)
        return NEVER if index is None or index.loaded_at is None else index.read_at

    def drop(self, identifier: K) -> None:
        """Forget a container that is gone."""
        self._by_id.pop(identifier, None)
