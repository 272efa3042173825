"""How many bytes a server may keep below its root, everything counted."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from aiohttp import web

from synapsefs.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from synapsefs.server.problems import Handler

BELIEVED_SECONDS = 30.0
"""How long a measurement counts; what came since is added to it."""

WRITING = frozenset({"POST", "PUT", "PATCH"})


class Quota:
    """A limit on what lies below a root.

    Other processes may write there as well, so the directory itself is measured, now and then,
    and always before something is refused.

    Parameters
    ----------
    root
        Directory of the server.
    most
        Bytes, or None for no limit.
    """

    def __init__(self, root: Path, most: int | None) -> None:
        self._root = root
        self._most = most
        self._measured = 0
        self._come_since = 0
        self._coming = 0
        self._measured_at: float | None = None
        self._lock = asyncio.Lock()

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self._most is not None

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Take room for `amount` bytes that come during the block.

        Raises
        ------
        Problem
            507, when there is none.
        """
        if self._most is None:
            yield
            return
        async with self._lock:
            if self._stale() or not self._fits(amount):
                await self._measure()
            if not self._fits(amount):
                raise Problem(507, "There is no space left on the server.")
            self._coming += amount
        try:
            yield
        finally:
            self._coming -= amount
            self._come_since += amount

    def _stale(self) -> bool:
        measured = self._measured_at
        return measured is None or time.monotonic() - measured > BELIEVED_SECONDS

    def _fits(self, amount: int) -> bool:
        held = self._measured + self._come_since + self._coming
        return self._most is None or held + amount <= self._most

    async def _measure(self) -> None:
        self._come_since = 0
        self._measured = await asyncio.to_thread(_size_below, self._root)
        self._measured_at = time.monotonic()


QUOTA: Final = web.AppKey("quota", Quota)


@web.middleware
async def within_quota(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuse a body that there is no room for."""
    quota = request.app[QUOTA]
    if not quota.limited or request.method not in WRITING or not request.can_read_body:
        return await handler(request)
    if request.content_length is None:
        raise Problem(411, "A Content-Length is required.")
    async with quota.hold(request.content_length):
        return await handler(request)


def _size_below(root: Path) -> int:
    """Sum up the files below a directory; it blocks."""
    total = 0
    for directory, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(directory, name)).st_size
    return total
