"""A real server on a real socket that records every request."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from synapsefs.server.app import create_app
from synapsefs.server.settings import ServerSettings

TOKEN, TENANT, API_KEY = "syn_observed-token", "acme", "key_observed-secret"
LOGIN = "/auth/login"
_seen: ContextVar[Seen] = ContextVar("seen")


@dataclass
class Seen:
    """A request as the server received it, and the size of the response in bytes."""

    method: str
    path: str
    span: tuple[int, int] | None
    headers: dict[str, str]
    status: int = 0
    size: int = 0

    @property
    def sent(self) -> int:
        """Bytes of the request's body."""
        return int(self.headers.get("Content-Length", 0))

    @property
    def is_object(self) -> bool:
        """Whether it went to a signed object URL rather than to an API."""
        return self.path.startswith("/_blob")


@dataclass
class ObservedServer:
    """Its address, and the requests received."""

    url: str
    root: Path
    requests: list[Seen] = field(default_factory=list)
    on_answer: Callable[[Seen], None] = lambda seen: None
    hook: Callable[[Seen], Awaitable[None]] | None = None
    """Runs before a request is handled, on the server's loop."""

    @property
    def options(self) -> dict[str, Any]:
        """Options of a filesystem over this server."""
        return {"endpoint_url": self.url, "token": TOKEN, "datasets_token": API_KEY, "retries": 1}

    @contextlib.contextmanager
    def watching(self) -> Iterator[list[Seen]]:
        """Give the requests received during the block."""
        self.requests = seen = []
        yield seen


@contextlib.contextmanager
def observed_server(
    root: Path, middleware: Any = None, **settings: Any
) -> Iterator[ObservedServer]:
    """Run a server in a thread of its own, with an aiohttp middleware that may respond instead."""
    given = {"tokens": (TOKEN,), "tenant": TENANT, "api_keys": (API_KEY,)} | settings
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait_for(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    server = ObservedServer("", root)
    runner = wait_for(_start(server, ServerSettings(root=root, **given), middleware))
    try:
        yield server
    finally:
        wait_for(runner.cleanup())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def answering(path: str, answer: Callable[[web.Request], web.Response]) -> Any:
    """Create a middleware that handles requests below a path instead of the server."""

    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith(path):
            return answer(request)
        return await handler(request)  # type: ignore[no-any-return]

    return middleware


def status(path: str, number: int) -> Any:
    """Create a middleware that refuses requests below a path."""
    return answering(path, lambda request: web.json_response({"detail": "no"}, status=number))


async def _start(
    server: ObservedServer, settings: ServerSettings, middleware: Any
) -> web.AppRunner:
    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        seen = Seen(request.method, request.path, _span(request), dict(request.headers))
        server.requests.append(seen)
        _seen.set(seen)
        if server.hook is not None:
            await server.hook(seen)
        return await handler(request)

    async def note_answer(_: web.Request, response: web.StreamResponse) -> None:
        seen = _seen.get()
        seen.status, seen.size = response.status, response.content_length or 0
        server.on_answer(seen)

    app = create_app(settings)
    if middleware is not None:
        app.middlewares.insert(0, middleware)
    app.middlewares.insert(0, note)
    app.on_response_prepare.append(note_answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    return runner


def _span(request: web.Request) -> tuple[int, int] | None:
    value = request.headers.get("Range", "").removeprefix("bytes=")
    first, _, last = value.partition("-")
    return (int(first), int(last) + 1 if last else -1) if first else None
