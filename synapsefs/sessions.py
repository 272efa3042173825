"""Connections: three aiohttp sessions per event loop.

One carries credentials to a service's API. The others carry none and talk to signed object URLs:
one reads and one writes, so that what is read and sent on never waits for its own connection.
``max_connections`` is the limit of each.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from typing import Any

import aiohttp

from synapsefs._version import __version__
from synapsefs.options import Options

SLICE = 2**20
"""Bytes that are sent or read at a time."""


class Sessions:
    """The sessions of one event loop."""

    def __init__(self, options: Options) -> None:
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=options.connect_timeout, sock_read=options.read_timeout
        )
        common: dict[str, Any] = {
            "timeout": timeout,
            "cookie_jar": aiohttp.DummyCookieJar(),
            "trust_env": options.trust_env,
            "read_bufsize": SLICE,
        }
        agent = {"User-Agent": f"synapsefs/{__version__}"}
        self.api = aiohttp.ClientSession(connector=_connector(options), headers=agent, **common)
        objects: dict[str, Any] = {
            "headers": {**agent, "Accept-Encoding": "identity"},
            "auto_decompress": False,
            "skip_auto_headers": ["Content-Type"],
            **common,
        }
        self.reading = aiohttp.ClientSession(connector=_connector(options), **objects)
        self.writing = aiohttp.ClientSession(connector=_connector(options), **objects)

    async def aclose(self) -> None:
        """Close all."""
        for session in (self.api, self.reading, self.writing):
            await session.close()

    def abandon(self) -> None:
        """Let go of the sockets without a running loop."""
        for session in (self.api, self.reading, self.writing):
            connector = session.connector
            session.detach()
            if connector is not None:
                connector._close()  # noqa: SLF001 - the only way without the loop


def _connector(options: Options) -> aiohttp.TCPConnector:
    return aiohttp.TCPConnector(limit=options.max_connections, ssl=options.tls or True)


class SessionPool:
    """Sessions by event loop, safe after fork and after the end of a loop."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._by_loop: dict[asyncio.AbstractEventLoop, Sessions] = {}
        self._pid = os.getpid()
        weakref.finalize(self, _close_all, self._by_loop, self._pid)

    def get(self) -> Sessions:
        """Give the running loop's sessions, opened when first asked for."""
        if self._pid != os.getpid():
            _inherited.append(self._by_loop)
            self._by_loop, self._pid = {}, os.getpid()
            weakref.finalize(self, _close_all, self._by_loop, self._pid)
        loop = asyncio.get_running_loop()
        sessions = self._by_loop.get(loop)
        if sessions is None:
            self._drop_ended()
            sessions = self._by_loop[loop] = Sessions(self._options)
        return sessions

    def _drop_ended(self) -> None:
        for loop in [loop for loop in self._by_loop if loop.is_closed()]:
            self._by_loop.pop(loop).abandon()

    async def aclose(self) -> None:
        """Close the running loop's sessions."""
        sessions = self._by_loop.pop(asyncio.get_running_loop(), None)
        if sessions is not None:
            await sessions.aclose()


_inherited: list[dict[asyncio.AbstractEventLoop, Sessions]] = []
"""Sessions that belong to the parent process: kept, so that nothing closes them from here."""


def _close_all(by_loop: dict[asyncio.AbstractEventLoop, Sessions], pid: int) -> None:
    if pid != os.getpid():
        return
    for loop, sessions in list(by_loop.items()):
        if loop.is_running():
            loop.call_soon_threadsafe(sessions.abandon)
        else:
            sessions.abandon()
    by_loop.clear()
