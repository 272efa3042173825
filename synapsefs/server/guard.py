"""Connections of clients that mean ill: slow ones, too many, and ones that speak no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ipaddress
import json
import logging
import socket
import struct
import sys
import termios
from typing import TYPE_CHECKING, Any, Final, cast

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from synapsefs.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import StreamReader

    from synapsefs.server.problems import Handler
    from synapsefs.server.settings import ServerSettings

log = logging.getLogger(__name__)

NAME: Final = {"Server": "synapsefs"}
"""What the server says it is: not which versions of what."""

SLOWEST = 100
"""Bytes per second of a request's body or an answer below which it counts as standing still."""

HEAD_SECONDS = 1.0
"""For how long a connection that has begun a request is not taken for an idle one."""

ACKNOWLEDGED: Final = slice(120, 128)
"""Where Linux's ``struct tcp_info`` says how many bytes a client has acknowledged."""

LOOKS = 4
"""How often a connection is looked at within one ``request_timeout``."""


class Census:
    """The connections of a server, by the address of the client.

    Where there are too many, of one address or in all, the one that has been idle for longest
    makes room: of that address, or of the one that has most.

    Parameters
    ----------
    most
        Connections at a time.
    most_each
        Connections of one address.
    """

    def __init__(self, most: int, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._open: dict[str, set[Connection]] = {}
        self._count = 0

    def admit(self, connection: Connection, address: str) -> bool:
        """Take a connection, if there is room or can be made."""
        mine = self._open.get(address, set())
        if len(mine) >= self._most_each:
            if not self._shed(mine):
                return False
        elif self._count >= self._most:
            fullest = sorted(self._open.values(), key=len, reverse=True)
            if not any(self._shed(connections) for connections in fullest):
                return False
        self._open.setdefault(address, set()).add(connection)
        self._count += 1
        return True

    def remove(self, connection: Connection, address: str) -> None:
        """Forget a connection that has ended."""
        mine = self._open.get(address, set())
        if connection in mine:
            mine.remove(connection)
            self._count -= 1
            if not mine:
                del self._open[address]

    def _shed(self, connections: set[Connection]) -> bool:
        """Close the one that has been idle for longest, if any is."""
        idle = [connection for connection in connections if connection.idle_since is not None]
        if not idle:
            return False
        min(idle, key=lambda connection: connection.idle_since or 0.0).shed()
        return True


class Connection(web.RequestHandler):
    """One client's connection.

    It is closed with 408 when the head of a request does not arrive in time, and a request is
    answered with 408 when its body stands still; with 503 when there are too many connections. A
    client that does not read its answer is cut off.

    Parameters
    ----------
    server
        What answers requests.
    settings
        Limits.
    census
        Shared by the connections of one server.
    **options
        As for :class:`aiohttp.web.RequestHandler`.
    """

    def __init__(
        self, server: web.Server, settings: ServerSettings, census: Census, **options: Any
    ) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._clock = asyncio.get_running_loop()
        self._census = census
        self._address = ""
        self._patience = settings.request_timeout
        self._body: StreamReader | None = None
        self._answering = False
        self._head_since: float | None = None
        self._moved = self._ended = self._taken = 0.0
        self._heard = self._heard_before = self._heard_last = 0
        self._acknowledged = 0
        self._next_look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to watch, or refuse a connection too many."""
        self._address = _address(transport)
        if not self._census.admit(self, self._address):
            _say(transport, 503, "There are too many connections.", "Retry-After: 1\r\n")
            return
        super().connection_made(transport)
        self._head_since = self._ended = self._taken = self._clock.time()
        self._look_later()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop watching."""
        self._census.remove(self, self._address)
        if self._next_look is not None:
            self._next_look.cancel()
        super().connection_lost(exc)

    @property
    def idle_since(self) -> float | None:
        """Since when nothing has been asked for; None while something is under way."""
        transport = self.transport
        if transport is None or self._answering or transport.get_write_buffer_size():
            return None
        begun = self._heard != self._heard_last
        if begun and self._clock.time() - self._ended < HEAD_SECONDS:
            return None
        return self._ended

    def shed(self) -> None:
        """Close an idle connection for the sake of another."""
        self._census.remove(self, self._address)
        if self.transport is not None:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Note that the client moves."""
        self._heard += len(data)
        if not self._answering and self._head_since is None:
            self._head_since = self._clock.time()
        super().data_received(data)

    def begin(self, body: StreamReader) -> None:
        """Note that a request's head has come and its body is on its way."""
        self._body, self._answering, self._head_since = body, True, None
        self._moved, self._heard_before = self._clock.time(), self._heard

    def end(self) -> None:
        """Note that a request has been answered."""
        self._body, self._answering = None, False
        self._ended, self._heard_last = self._clock.time(), self._heard

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it repeats what the client sent, secrets too
    ) -> web.StreamResponse:
        """Answer what was no HTTP, and neither log nor repeat what it said."""
        if status >= 500:
            log.error("A request failed: %s", type(exc).__name__, exc_info=exc)
        else:
            log.info("Refused a request that is no HTTP: %s", type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionResetError("The answer has begun.")
        if isinstance(exc, LineTooLong):
            status, detail = 431, "A header is too long."
        elif status >= 500:
            detail = "The server failed."
        else:
            detail = "The request is not valid HTTP."
        answer = web.json_response({"detail": detail}, status=status, headers=NAME)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Say what went wrong outside of the handlers, unless it is a refusal."""
        if not isinstance(kw.get("exc_info"), Problem):
            log.error(*args, **kw)

    def _look_later(self) -> None:
        self._next_look = self._clock.call_later(self._patience / LOOKS, self._look)

    def _look(self) -> None:
        """Give up on a client that stands still."""
        transport = self.transport
        if transport is None:
            return
        now = self._clock.time()
        if self._head_since is not None and now - self._head_since >= self._patience:
            _say(transport, 408, "The request did not arrive in time.")
            return
        if not self._is_read(transport, now):
            _cut(transport)
        if self._body is not None and not self._body.is_eof():
            heard, self._heard_before = self._heard - self._heard_before, self._heard
            if heard >= SLOWEST * self._patience / LOOKS or not transport.is_reading():
                self._moved = now
            elif now - self._moved >= self._patience:
                self._body.set_exception(Problem(408, "The body did not arrive in time."))
        self._look_later()

    def _is_read(self, transport: asyncio.Transport, now: float) -> bool:
        """Say whether the client takes what is sent to it, unless nothing is on its way."""
        pending, acknowledged = _sent(transport)
        grown, self._acknowledged = acknowledged - self._acknowledged, acknowledged
        if not pending or grown >= SLOWEST * self._patience / LOOKS:
            self._taken = now
        return now - self._taken < self._patience


@web.middleware
async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Tell the connection which request it carries."""
    connection = request.protocol
    if not isinstance(connection, Connection):
        return await handler(request)
    connection.begin(request.content)
    try:
        return await handler(request)
    finally:
        connection.end()


def connections(
    server: web.Server, settings: ServerSettings, **options: Any
) -> Callable[[], Connection]:
    """Return what makes a server's connections, a bounded number at a time.

    Parameters
    ----------
    server
        What answers requests.
    settings
        Limits.
    **options
        As for :class:`aiohttp.web.RequestHandler`.
    """
    most = settings.max_connections
    each = settings.max_connections_per_address
    census = Census(most, most - most // 4 if each is None else each)
    return lambda: Connection(server, settings, census, **options)


async def wait_before_continuing(request: web.Request) -> None:
    """Refuse expectations that are not known; the body is asked for by :func:`proceed`.

    Raises
    ------
    aiohttp.web.HTTPExpectationFailed
        The client expects something else than to be asked for the body.
    """
    if request.headers.get("Expect", "").lower() != "100-continue":
        raise web.HTTPExpectationFailed


async def proceed(request: web.Request) -> None:
    """Ask for the body of a request that may go on, where its client waits for that."""
    expects = request.headers.get("Expect", "").lower() == "100-continue"
    transport = request.transport
    if expects and transport is not None and request.version >= (1, 1):
        transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


def _address(transport: asyncio.BaseTransport) -> str:
    """Return the address of a client, or the network of one with IPv6, which has many."""
    peer = transport.get_extra_info("peername")
    host = str(peer[0]) if isinstance(peer, tuple) else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4 or address.ipv4_mapped is not None:
        return host
    return str(ipaddress.ip_network((int(address), 64), strict=False))


def _sent(transport: asyncio.Transport) -> tuple[bool, int]:
    """Return whether something is on its way to a client, and how many bytes it has taken."""
    buffered = transport.get_write_buffer_size()
    connection = transport.get_extra_info("socket")
    try:
        queued = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, ACKNOWLEDGED.stop)
        acknowledged = int.from_bytes(told[ACKNOWLEDGED], sys.byteorder)
    except (OSError, AttributeError):
        return False, 0
    return bool(buffered or int.from_bytes(queued, sys.byteorder)), acknowledged


def _cut(transport: asyncio.Transport) -> None:
    """End a connection whose client takes nothing; whoever writes to it gets an error."""
    connection = transport.get_extra_info("socket")
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


def _say(transport: asyncio.BaseTransport, status: int, detail: str, headers: str = "") -> None:
    """Send a refusal outside of any request, and close."""
    body = json.dumps({"detail": detail})
    writing = cast("asyncio.Transport", transport)
    writing.write(
        f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    )
    writing.close()
