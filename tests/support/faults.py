"""A proxy on a real socket that forwards requests and injects faults into some of them.

It implements just enough HTTP/1.1: it splits a request into head and body, forwards it to the
server, and forwards the response. The ``Host`` header is unchanged, so that the server's signed
URLs lead through the proxy too.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

OBJECT_PREFIX = "/_blob"
EXPIRED = b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
LINGER_NOT = struct.pack("ii", 1, 0)


class GoneError(Exception):
    """The connection to the client was closed, by either side."""


@dataclass
class Message:
    """A request or response: first line, raw headers, body."""

    first: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def head(self, length: int | None = None) -> bytes:
        """Write the head; ``length`` replaces the ``Content-Length``."""
        lines = [self.first]
        for key, value in self.headers:
            shown = str(length) if length is not None and key.lower() == "content-length" else value
            lines.append(f"{key}: {shown}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def whole(self) -> bytes:
        return self.head() + self.body


class Exchange:
    """One request in flight, as a fault handles it.

    Attributes
    ----------
    position
        Its number since the proxy was armed, from 0.
    request
        The head; the body too after :meth:`receive`.
    """

    def __init__(
        self,
        proxy: Proxy,
        position: int,
        request: Message,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.proxy = proxy
        self.position = position
        self.request = request
        self._reader = reader
        self._writer = writer
        self._left = int(request.header("Content-Length") or 0)

    @property
    def method(self) -> str:
        return self.request.first.split(" ")[0]

    @property
    def target(self) -> str:
        return self.request.first.split(" ")[1]

    @property
    def is_object(self) -> bool:
        """Whether it goes to a signed object URL rather than to an API."""
        return self.target.startswith(OBJECT_PREFIX)

    async def receive(self, part: float = 1.0) -> None:
        """Read the body, or only a part of it."""
        wanted = int(self._left * part)
        self.request.body += await self._reader.readexactly(wanted)
        self._left -= wanted

    async def forward(self) -> Message:
        """Forward the request to the server and give its response."""
        await self.receive()
        return await self.proxy.ask(self.request)

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    def reset(self) -> None:
        """Reset the connection as a crashed machine does: RST, nothing more is sent."""
        raw = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self._writer.transport.abort()
        raise GoneError

    def close(self) -> None:
        """Close the connection cleanly after the bytes already sent."""
        self._writer.close()
        raise GoneError

    async def hang(self) -> None:
        """Send nothing more, until the client times out."""
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(2**16):
                pass
        raise GoneError


Fault = Callable[[Exchange], Awaitable[None]]
Plan = Callable[[Exchange], Fault | None]


@dataclass
class Proxy:
    """Address, requests received and faults of a proxy."""

    upstream: Callable[[], str]
    url: str = ""
    plan: Plan | None = None
    seen: list[str] = field(default_factory=list)
    struck: list[int] = field(default_factory=list)
    _servers: list[asyncio.Server] = field(default_factory=list)
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def arm(self, plan: Plan | None) -> None:
        """Restart the count at zero and follow a plan."""
        self.seen, self.struck, self.plan = [], [], plan

    async def start(self) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=2**20)
        self._servers.append(server)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Close accepted connections first: a closed server gives them half a transport."""
        loop = asyncio.get_running_loop()
        for server in self._servers:
            for listening in server.sockets:
                loop.remove_reader(listening)
        await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        for writer in list(self._open):
            writer.transport.abort()

    async def ask(self, request: Message) -> Message:
        """Send a request to the server on a new connection; read the whole response."""
        place = urlsplit(self.upstream())
        reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=2**20)
        try:
            headers = [item for item in request.headers if item[0].lower() != "connection"]
            sent = Message(request.first, [*headers, ("Connection", "close")], request.body)
            writer.write(sent.whole())
            await writer.drain()
            answer = await _read_head(reader)
            answer.headers = [item for item in answer.headers if item[0].lower() != "connection"]
            length = answer.header("Content-Length")
            if length is not None and not request.first.startswith("HEAD"):
                answer.body = await reader.readexactly(int(length))
            return answer
        finally:
            writer.transport.abort()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)  # a task that is cancelled early never starts
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lost = (GoneError, ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError)
        try:
            with contextlib.suppress(*lost):
                while True:
                    await self._pass_on(reader, writer)
        finally:
            writer.close()
        with contextlib.suppress(*lost):  # unread data keeps it open until it is aborted
            await writer.wait_closed()
            self._open.discard(writer)

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await _read_head(reader)
        exchange = Exchange(self, len(self.seen), request, reader, writer)
        self.seen.append(f"{exchange.method} {exchange.target.partition('?')[0]}")
        fault = self.plan(exchange) if self.plan else None
        if fault is not None:
            self.struck.append(exchange.position)
        await (fault or nothing)(exchange)


async def _read_head(reader: asyncio.StreamReader) -> Message:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = [tuple(line.split(": ", 1)) for line in lines[1:] if line]
    return Message(lines[0], [(key, value) for key, value in headers])


# --- faults --------------------------------------------------------------------------------


async def nothing(exchange: Exchange) -> None:
    """Forward request and response unchanged."""
    await exchange.send((await exchange.forward()).whole())


async def late(exchange: Exchange) -> None:
    """Delay the response, but within the timeout."""
    await asyncio.sleep(0.2)
    await nothing(exchange)


async def drip(exchange: Exchange) -> None:
    """Send the response in small pieces with pauses, each within the timeout."""
    data = (await exchange.forward()).whole()
    step = max(len(data) // 8, 1)
    for start in range(0, len(data), step):
        await exchange.send(data[start : start + step])
        await asyncio.sleep(0.03)


async def reset_before(exchange: Exchange) -> None:
    """Reset after the head; the server receives nothing."""
    exchange.reset()


async def reset_during(exchange: Exchange) -> None:
    """Reset after half of the request; the server receives nothing."""
    await exchange.receive(0.5)
    exchange.reset()


async def lost_answer(exchange: Exchange) -> None:
    """Let the server act, and reset before its response."""
    await exchange.forward()
    exchange.reset()


async def reset_in_answer(exchange: Exchange) -> None:
    """Let the server act, and reset in the middle of its response."""
    answer = await exchange.forward()
    await exchange.send(answer.head() + answer.body[: len(answer.body) // 2])
    await asyncio.sleep(0.02)
    exchange.reset()


async def cut_off(exchange: Exchange) -> None:
    """Let the server act, and close the connection cleanly after half of the response."""
    answer = await exchange.forward()
    await exchange.send(answer.head() + answer.body[: len(answer.body) // 2])
    exchange.close()


async def shortened(exchange: Exchange) -> None:
    """Let the server act, and send half of the response with a matching length."""
    answer = await exchange.forward()
    half = answer.body[: len(answer.body) // 2]
    await exchange.send(answer.head(len(half)) + half)


async def corrupted(exchange: Exchange) -> None:
    """Let the server act, and send other bytes than its response, of the same length."""
    answer = await exchange.forward()
    middle, size = len(answer.body) // 2, len(answer.body)
    broken = bytearray(answer.body)
    broken[middle : middle + 8] = b"\xff" * min(8, size - middle)
    await exchange.send(answer.head() + bytes(broken))


async def half_open(exchange: Exchange) -> None:
    """Never respond, and do not forward the request."""
    await exchange.hang()


async def silent_after(exchange: Exchange) -> None:
    """Let the server act, and never respond."""
    await exchange.forward()
    await exchange.hang()


async def stalled(exchange: Exchange) -> None:
    """Let the server act, send half of its response, and stall."""
    answer = await exchange.forward()
    await exchange.send(answer.head() + answer.body[: len(answer.body) // 2])
    await exchange.hang()


async def twice(exchange: Exchange) -> None:
    """Deliver the request twice, and send the server's first response."""
    answer = await exchange.forward()
    await exchange.proxy.ask(exchange.request)
    await exchange.send(answer.whole())


def answering(status: int, *, after: bool = False, **headers: str) -> Fault:
    """Respond with another status, before or after the server has acted."""

    async def answer(exchange: Exchange) -> None:
        await (exchange.forward() if after else exchange.receive())
        body = EXPIRED if exchange.is_object else b'{"detail": "injected"}'
        given = {"Content-Length": str(len(body)), **headers}
        reply = Message(f"HTTP/1.1 {status} Injected", list(given.items()), body)
        await exchange.send(reply.whole())

    return answer


TRANSIENT: dict[str, Fault] = {
    "late": late,
    "drip": drip,
    "reset before the request": reset_before,
    "reset during the request": reset_during,
    "reset before the answer": lost_answer,
    "reset during the answer": reset_in_answer,
    "answer cut off": cut_off,
    "answer shortened": shortened,
    "answer corrupted": corrupted,
    "never answered": half_open,
    "done, never answered": silent_after,
    "answer stalled": stalled,
    "delivered twice": twice,
    "429": answering(429, **{"Retry-After": "0"}),
    "500": answering(500),
    "500 although done": answering(500, after=True),
    "502": answering(502),
    "502 although done": answering(502, after=True),
    "503": answering(503, **{"Retry-After": "0"}),
    "503 although done": answering(503, after=True),
    "504": answering(504),
    "504 although done": answering(504, after=True),
    "token or URL refused": answering(401),
    "URL expired": answering(403),
}
"""Every fault that a single request may meet."""


def at(position: int, fault: Fault) -> Plan:
    """Inject a fault into one request."""
    return lambda exchange: fault if exchange.position == position else None


def since(position: int, fault: Fault) -> Plan:
    """Inject a fault into a request and all that follow."""
    return lambda exchange: fault if exchange.position >= position else None


# --- running it ------------------------------------------------------------------------------


class Proxies:
    """Creates proxies for one server, whose address may change, all in one thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, upstream: Callable[[], str]) -> None:
        self._loop = loop
        self._upstream = upstream

    @contextlib.contextmanager
    def proxy(self) -> Iterator[Proxy]:
        made = Proxy(self._upstream)
        self._wait_for(made.start())
        try:
            yield made
        finally:
            self._wait_for(made.stop())

    def _wait_for(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)


@contextlib.contextmanager
def proxies(upstream: Callable[[], str]) -> Iterator[Proxies]:
    """Run a thread with proxies for a server."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield Proxies(loop, upstream)
    finally:
        asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
