"""A proxy between a client and an honest server: it forwards responses, or falsifies them."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.support.observed import ObservedServer, observed_server

HOP = frozenset({"transfer-encoding", "connection", "content-length", "date", "server"})
DROPPED = frozenset({"transfer-encoding", "connection"})


@dataclass
class Answer:
    """A response on its way back, which a lie may change.

    ``length`` replaces the ``Content-Length`` that is sent (0 for none); ``endless`` repeats the
    body until the client stops reading.
    """

    method: str
    path: str
    query: str
    status: int
    headers: CIMultiDict[str]
    body: bytes
    length: int | None = None
    endless: bool = False

    @property
    def is_object(self) -> bool:
        """Whether it comes from a signed URL."""
        return self.path.startswith("/_blob/") and self.method == "GET"

    @property
    def json(self) -> Any:
        """The body's JSON; None if it is not JSON."""
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None

    def set_json(self, value: Any) -> None:
        """Replace the body."""
        self.body = json.dumps(value).encode()


@dataclass(frozen=True)
class Heard:
    """A request as received."""

    method: str
    path: str
    headers: dict[str, str]


Lie = Callable[[Answer], None]


@dataclass
class Liar:
    """Its address, the honest server behind it, and the requests received."""

    honest: ObservedServer
    url: str = ""
    lie: Lie | None = None
    heard: list[Heard] = field(default_factory=list)
    told: int = 0

    @property
    def options(self) -> dict[str, Any]:
        """Options of a filesystem that uses it, with short timeouts."""
        return {
            **self.honest.options,
            "endpoint_url": self.url,
            "read_timeout": 1.0,
            "skip_instance_cache": True,
        }

    @contextlib.contextmanager
    def lying(self, lie: Lie) -> Iterator[None]:
        """Lie during the block; at least one response must have been falsified."""
        self.lie, self.told = lie, 0
        try:
            yield
        finally:
            self.lie = None

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Forward the request to the honest server; send its response, or a falsified one."""
        self.heard.append(Heard(request.method, request.path, dict(request.headers)))
        answer = await self._ask(request)
        before = (answer.status, answer.headers.copy(), answer.body, answer.length, answer.endless)
        if self.lie is not None:
            self.lie(answer)
        after = (answer.status, answer.headers, answer.body, answer.length, answer.endless)
        self.told += before != after
        return await _send(request, answer)

    async def _ask(self, request: web.Request) -> Answer:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in DROPPED}
        body = await request.content.read()
        url = URL(self.honest.url + request.raw_path, encoded=True)
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                url,
                headers=headers,
                data=io.BytesIO(body) if body else None,
                allow_redirects=False,
            ) as response,
        ):
            kept = CIMultiDict((k, v) for k, v in response.headers.items() if k.lower() not in HOP)
            return Answer(
                request.method,
                request.path,
                request.query_string,
                response.status,
                kept,
                await response.read(),
            )


async def _send(request: web.Request, answer: Answer) -> web.StreamResponse:
    """Write a response to the socket unchanged, whatever its headers claim."""
    length = len(answer.body) if answer.length is None else answer.length
    headers = dict(answer.headers)
    if length:
        headers["Content-Length"] = str(length)
    elif answer.length is None:
        headers["Content-Length"] = "0"
    lines = [f"HTTP/1.1 {answer.status} Said", *(f"{k}: {v}" for k, v in headers.items())]
    transport = request.transport
    assert transport is not None
    transport.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("utf-8"))
    transport.write(answer.body)
    while answer.endless and not transport.is_closing():
        if transport.get_write_buffer_size() < 2**20:  # type: ignore[attr-defined]
            transport.write(answer.body)
        await asyncio.sleep(0)
    transport.close()
    return web.Response()


@contextlib.contextmanager
def liar(root: Path, **settings: Any) -> Iterator[Liar]:
    """Run an honest server and a lying proxy for it, each in a thread of its own."""
    with observed_server(root, **settings) as honest, listening(Liar(honest)) as one:
        yield one


@contextlib.contextmanager
def listening(one: Liar) -> Iterator[Liar]:
    """Start to listen."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.ServerRunner:
        runner = web.ServerRunner(web.Server(one.answer), shutdown_timeout=0.1)  # type: ignore[arg-type]
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield one
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
