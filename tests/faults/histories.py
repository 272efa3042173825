"""Checks the reads of several clients that read and write the same few paths.

Every content is written once, so that a read identifies the write that it saw. A read is right if
that write began before the read ended, and no write that began after that one ended was itself
complete before the read began. Copies and moves write what could be read of their source then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

ABSENT = None
ANY = "any"
"""Stands for any content, if only the name was seen."""


@dataclass(frozen=True)
class Write:
    """An operation that sets a path.

    Attributes
    ----------
    path
        The path.
    began, ended
        When it was called and when it was acknowledged.
    content
        The new content, or :data:`ABSENT`; not used with ``source``.
    source
        The path whose content it copies.
    is_sure
        False if it failed: it may have taken effect or not.
    """

    path: str
    began: float
    ended: float
    content: bytes | None = None
    source: str | None = None
    is_sure: bool = True


@dataclass(frozen=True)
class Read:
    """A read of a path, with the expiry of listings in seconds."""

    path: str
    began: float
    ended: float
    content: bytes | str | None
    expiry: float = 0.0

    def __str__(self) -> str:
        shown = self.content if isinstance(self.content, str | None) else self.content[:20]
        return f"{self.path} was {shown!r} at {self.began:.3f} to {self.ended:.3f}"


class History:
    """The writes; every path is absent at the beginning."""

    def __init__(self, writes: Iterable[Write]) -> None:
        self._writes = list(writes)
        self._by_path: dict[str, list[Write]] = {}
        self._by_source: dict[str, list[Write]] = {}
        self._holders: dict[bytes | str, set[Write]] = {}
        for write in self._writes:
            self._by_path.setdefault(write.path, []).append(write)
            if write.source is not None:
                self._by_source.setdefault(write.source, []).append(write)

    def explains(self, read: Read) -> bool:
        """Say whether a read is right."""
        if read.content is ABSENT:
            removals = [w for w in self._writes if w.content is ABSENT and w.source is None]
            start = Write(read.path, float("-inf"), float("-inf"))
            return any(self._is_seen(write, read) for write in (start, *removals))
        return any(self._is_seen(write, read) for write in self._holding(read.content))

    def _is_seen(self, write: Write, read: Read) -> bool:
        """Say whether a read may have seen a write."""
        if write.path != read.path or write.began >= read.ended:
            return False
        start = read.began - read.expiry
        return not any(
            later.is_sure and later.began > write.ended and later.ended < start
            for later in self._by_path.get(read.path, ())
        )

    def _holding(self, content: bytes | str) -> set[Write]:
        """Give the writes that may have set a content, copies of copies among them."""
        if content in self._holders:
            return self._holders[content]
        waiting = [
            write
            for write in self._writes
            if write.content is not ABSENT and content in {ANY, write.content}
        ]
        found = self._holders[content] = set(waiting)
        while waiting:
            write = waiting.pop()
            for copy in self._by_source.get(write.path, ()):
                taken = Read(write.path, copy.began, copy.ended, content)
                if copy not in found and self._is_seen(write, taken):
                    found.add(copy)
                    waiting.append(copy)
        return found
