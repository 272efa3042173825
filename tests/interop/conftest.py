"""A server over real sockets for the official clients."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from synapsefs.server.app import Running, create_app, serve
from synapsefs.server.settings import ServerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class ThreadedServer:
    """A server in a thread of its own, with settings that tests choose."""

    token = "syn_test"
    tenant = "acme"
    api_key = "key_test"

    def __init__(self, root: Path, middleware=None, **settings: object) -> None:
        given = {"tokens": (self.token,), "tenant": self.tenant, "api_keys": (self.api_key,)}
        self._settings = ServerSettings(root=root, **(given | settings))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._running: Running = self._call(self._start(middleware))
        self.url = self._running.url

    def close(self) -> None:
        self._call(self._running.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _start(self, middleware) -> Running:
        """Start it; a middleware sees every request first, and may spoil it."""
        if middleware is None:
            return await serve(self._settings)
        app = create_app(self._settings)
        app.middlewares.insert(0, web.middleware(middleware))
        runner = web.AppRunner(app, access_log=None, auto_decompress=False)
        await runner.setup()
        loop = asyncio.get_running_loop()
        acceptor = await loop.create_server(runner.server, "127.0.0.1", 0)
        port = acceptor.sockets[0].getsockname()[1]
        return Running(f"http://127.0.0.1:{port}", runner, acceptor.sockets[0], acceptor)

    def _call(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator:
    """Return a function that starts a server with given settings."""
    started = []

    def start(**settings: object) -> ThreadedServer:
        started.append(ThreadedServer(tmp_path / "root", **settings))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture
def server(start_server) -> ThreadedServer:
    """Return a server with the usual settings."""
    return start_server()
