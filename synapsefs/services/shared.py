"""How long listings are remembered, and what the instances of a process tell each other of changes.

Instances with the same endpoint and credential keep listings of their own: they may run in other
threads and event loops. What one of them changes makes the others list again.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from synapsefs.config import Endpoint
from synapsefs.location import Root

K = TypeVar("K", bound=Hashable)
R = TypeVar("R")

CATALOG = None
"""Stands for the list of collections or datasets, as their ids stand for what they hold."""

NEVER = float("-inf")

SLOW = 0.5
"""Seconds of loading from which on a listing is slow."""

PER_LOAD, PER_SLOW_LOAD = 2.0, 10.0
"""For how many times as long as it took a listing is remembered, unless the caller chose."""


MAX_CHANGES = 1000
CHANGES_LAST = 60.0
"""How many changes are kept, and at least for how many seconds, while no listing is read."""


@dataclass(frozen=True, slots=True)
class _Change:
    """The last change of a container, and the last that another instance made before."""

    moment: float
    instance: object
    earlier: float


class _Lock:
    """A lock that a forked child finds open."""

    def __init__(self) -> None:
        self.now = threading.Lock()
        os.register_at_fork(after_in_child=self._open)

    def _open(self) -> None:
        self.now = threading.Lock()


_lock = _Lock()
_changes: dict[tuple[str, ...], dict[Hashable, _Change]] = {}


class SharedChanges:
    """When the instances of this process with one endpoint and credential changed what they list.

    A container is the id of a collection or dataset, or :data:`CATALOG`.
    """

    def __init__(self, root: Root, endpoint: Endpoint) -> None:
        secret = hashlib.sha256(endpoint.secret.encode()).hexdigest()
        key = (root.value, endpoint.url, endpoint.tenant, secret)
        with _lock.now:
            self._last = _changes.setdefault(key, {})
        self._invalidated_at = NEVER

    def note(self, container: Hashable) -> None:
        """Note that this instance changed a container just now, or may have."""
        with _lock.now:
            last = self._last.get(container)
            earlier = NEVER if last is None else last.moment
            if last is not None and last.instance is self:
                earlier = last.earlier
            self._last[container] = _Change(time.monotonic(), self, earlier)

    def note_deletion(self, container: Hashable) -> None:
        """Note that a collection or dataset is gone, or may be."""
        with _lock.now:
            self._last.pop(container, None)
        self.note(CATALOG)

    def invalidate(self) -> None:
        """Let everything be listed anew: other processes may have changed it."""
        self._invalidated_at = time.monotonic()

    def since(self, container: Hashable) -> float:
        """Give the moment (monotonic seconds) of the last change that another instance made."""
        last = self._last.get(container)
        if last is None:
            return self._invalidated_at
        by_others = last.earlier if last.instance is self else last.moment
        return max(self._invalidated_at, by_others)


@dataclass(frozen=True, slots=True)
class Expiry:
    """For how long this instance remembers listings.

    Attributes
    ----------
    seconds
        Since the listing was asked for.
    chosen
        Whether the caller chose them. Otherwise a listing that took long is remembered for longer:
        whoever writes needs several requests, and a listing of usual size one, so what is written
        after a listing was read is seen by who looks when it is done, however far the service is.
    changes
        What other instances of this process changed.
    """

    seconds: float
    chosen: bool
    changes: SharedChanges

    def is_current(
        self, container: Hashable, as_of: float, load_seconds: float, shortest: float = 0.0
    ) -> bool:
        """Say whether a listing that was asked for at ``as_of`` need not be asked for anew."""
        age = time.monotonic() - as_of
        limit = self.seconds
        if not self.chosen:
            factor = PER_LOAD if load_seconds < SLOW else PER_SLOW_LOAD
            limit = max(limit, shortest, factor * load_seconds)
        return as_of > NEVER and age <= limit and self.changes.since(container) < as_of


class RecentChanges(Generic[K, R]):
    """What was written (its record) or removed (None) here of late, by id.

    A listing that was begun before does not tell it, whether it saw it or not.
    """

    def __init__(self) -> None:
        self._by_id: dict[K, tuple[float, R | None]] = {}
        self._reading_since = float("inf")

    @contextmanager
    def reading(self) -> Iterator[float]:
        """Keep all changes while a listing is read; give the moment at which that began."""
        began = self._reading_since = time.monotonic()
        try:
            yield began
        finally:
            self._reading_since = float("inf")

    def __len__(self) -> int:
        return len(self._by_id)

    def note(self, identifier: K, record: R | None) -> None:
        """Note a change that was made just now."""
        self._by_id.pop(identifier, None)
        self._by_id[identifier] = (time.monotonic(), record)

    def moment(self, identifier: K) -> float:
        """Give when something was changed (monotonic seconds)."""
        change = self._by_id.get(identifier)
        return NEVER if change is None else change[0]

    def since(self, moment: float) -> dict[K, R | None]:
        """Give what was changed since a listing was begun; forget what no listing needs more."""
        needed = min(moment, self._reading_since)
        self._by_id = {i: change for i, change in self._by_id.items() if change[0] >= needed}
        return {i: record for i, (noted, record) in self._by_id.items() if noted >= moment}

    def pop_excess(self) -> list[R]:
        """Forget old changes beyond the number that is kept; give what had been written."""
        written: list[R] = []
        while len(self._by_id) > MAX_CHANGES:
            identifier = next(iter(self._by_id))
            moment, record = self._by_id[identifier]
            if moment >= self._reading_since or time.monotonic() - moment < CHANGES_LAST:
                break
            del self._by_id[identifier]
            if record is not None:
                written.append(record)
        return written
