"""When the instances of one process last changed what they all may list.

Instances with the same endpoint and credential keep listings of their own: they may run in other
threads and event loops. What one of them changes makes the others list again.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Hashable
from dataclasses import dataclass, field

from synapsefs.config import Endpoint
from synapsefs.location import Root

CATALOG = None
"""Stands for the list of collections or datasets, as their ids stand for what they hold."""

NEVER = float("-inf")

SLOW = 0.5
"""Seconds of loading from which on a listing is slow."""

PER_LOAD, PER_SLOW_LOAD = 2.0, 10.0
"""For how many times as long as it took a listing is believed, unless the caller chose."""

EXPIRY_WITHIN = 5.0
"""Seconds for which the name of a collection or dataset is believed in paths that lead into it."""


@dataclass(slots=True)
class _Last:
    """The last change of a container, and the last that another instance made before."""

    moment: float
    instance: object
    earlier: float = NEVER

    def without(self, instance: object) -> float:
        """Give the last change that another instance than this one made."""
        return self.earlier if instance is self.instance else self.moment


@dataclass(slots=True)
class _Changes:
    """What was changed at one service by one credential."""

    last: dict[Hashable, _Last] = field(default_factory=dict)
    deleted: set[Hashable] = field(default_factory=set)


class _Lock:
    """A lock that a forked child finds open."""

    def __init__(self) -> None:
        self.now = threading.Lock()
        os.register_at_fork(after_in_child=self._open)

    def _open(self) -> None:
        self.now = threading.Lock()


_lock = _Lock()
_all: dict[tuple[str, ...], _Changes] = {}


class SharedChanges:
    """What an instance tells the others of its process, and what they tell it.

    Parameters
    ----------
    root, endpoint
        The service, and by which credential.
    """

    def __init__(self, root: Root, endpoint: Endpoint) -> None:
        secret = hashlib.sha256(endpoint.secret.encode()).hexdigest()
        key = (root.value, endpoint.url, endpoint.tenant, secret)
        with _lock.now:
            self._changes = _all.setdefault(key, _Changes())
        self._expired_at = NEVER

    def note(self, container: Hashable) -> None:
        """Note that this instance changed a container just now, or may have.

        Parameters
        ----------
        container
            Id of a collection or dataset, or :data:`CATALOG`.
        """
        with _lock.now:
            known = self._changes.last.get(container)
            earlier = NEVER if known is None else known.without(self)
            self._changes.last[container] = _Last(time.monotonic(), self, earlier)

    def created(self, container: Hashable) -> None:
        """Note that a collection or dataset was made."""
        with _lock.now:
            self._changes.deleted.discard(container)
        self.note(CATALOG)

    def deleted(self, container: Hashable) -> None:
        """Note that a collection or dataset is gone."""
        with _lock.now:
            self._changes.deleted.add(container)
            self._changes.last.pop(container, None)
        self.note(CATALOG)

    def is_deleted(self, container: Hashable) -> bool:
        """Say whether a collection or dataset was deleted by this process."""
        return container in self._changes.deleted

    def is_newest(self, moment: float) -> bool:
        """Say whether no other instance changed the catalog since a moment."""
        return self.since(CATALOG) < moment

    def expire(self) -> None:
        """Let everything be listed anew: other processes may have changed it."""
        self._expired_at = time.monotonic()

    def since(self, container: Hashable) -> float:
        """Give the moment (monotonic seconds) of the last change that another instance made."""
        known = self._changes.last.get(container)
        return max(self._expired_at, NEVER if known is None else known.without(self))


def expiry_of(load_seconds: float, shortest: float) -> float:
    """Give the seconds for which a listing is believed that took so long to load.

    Whoever writes needs several requests, and a listing of usual size one. So what is written after
    a listing was read is seen by who looks when it is done, however far away the service is.
    """
    factor = PER_LOAD if load_seconds < SLOW else PER_SLOW_LOAD
    return max(shortest, factor * load_seconds)


class CatalogAge:
    """How old the list of collections or datasets is that an instance has.

    Parameters
    ----------
    expiry, chosen_expiry
        Seconds for which it is believed, and whether the caller chose them. Otherwise it is
        believed longer where it took long, and in paths that lead into a container: whether that
        is still there is seen from what it holds.
    changes
        What other instances of this process changed.
    """

    def __init__(self, expiry: float, changes: SharedChanges, *, chosen_expiry: bool) -> None:
        self._expiry = expiry
        self._chosen = chosen_expiry
        self._changes = changes
        self._expires_at: dict[bool, float] = {}
        self.as_of = NEVER

    def read(self, began: float) -> None:
        """Note that a listing which was begun at ``began`` (monotonic seconds) is there."""
        self.as_of = began
        now = time.monotonic()
        outside = self._expiry if self._chosen else expiry_of(now - began, self._expiry)
        inside = outside if self._chosen else max(outside, EXPIRY_WITHIN)
        self._expires_at = {False: now + outside, True: now + inside}

    def is_expired(self, *, within: bool = False) -> bool:
        """Say whether to list anew; ``within`` for a path that leads into a container."""
        expires_at = self._expires_at.get(within, NEVER)
        return time.monotonic() > expires_at or self._changes.since(CATALOG) >= self.as_of

    def forget(self) -> None:
        """Let it be listed anew."""
        self._expires_at = {}
