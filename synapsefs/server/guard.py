"""Connections of clients that mean ill: slow ones, too many, and ones that speak no HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from dataclasses import dataclass
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
"""Bytes per second of a request's body below which it counts as standing still."""

LOOKS = 4
"""How often a connection is looked at within one ``request_timeout``."""


@dataclass(slots=True)
class Census:
    """How many connections a server has, and how many it takes."""

    most: int
    open: int = 0


class Connection(web.RequestHandler):
    """One client's connection.

    It is closed with 408 when the head of a request does not arrive in time, and a request is
    answered with 408 when its body stands still; with 503 when there are too many connections.

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
        self._patience = settings.request_timeout
        self._body: StreamReader | None = None
        self._answering = False
        self._head_since: float | None = None
        self._moved = 0.0
        self._heard = self._heard_before = 0
        self._next_look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to watch, or refuse a connection too many."""
        self._census.open += 1
        if self._census.open > self._census.most:
            _say(transport, 503, "There are too many connections.", "Retry-After: 1\r\n")
            return
        super().connection_made(transport)
        self._head_since = self._clock.time()
        self._look_later()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop watching."""
        self._census.open -= 1
        if self._next_look is not None:
            self._next_look.cancel()
        super().connection_lost(exc)

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
        if self._body is not None and not self._body.is_eof():
            heard, self._heard_before = self._heard - self._heard_before, self._heard
            if heard >= SLOWEST * self._patience / LOOKS or not transport.is_reading():
                self._moved = now
            elif now - self._moved >= self._patience:
                self._body.set_exception(Problem(408, "The body did not arrive in time."))
        self._look_later()


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
    census = Census(settings.max_connections)
    return lambda: Connection(server, settings, census, **options)


def _say(transport: asyncio.BaseTransport, status: int, detail: str, headers: str = "") -> None:
    """Send a refusal outside of any request, and close."""
    body = json.dumps({"detail": detail})
    writing = cast("asyncio.Transport", transport)
    writing.write(
        f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\n{headers}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
    )
    writing.close()
