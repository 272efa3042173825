"""The smallest HTTP/1.1 server that is not what a client waits for.

Bodies are received into one buffer that everybody shares, or kept where the route needs them;
large answers go by ``sendfile``. One request at a time on a connection, as clients send them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

SINK = memoryview(bytearray(2**20))
"""Where the bytes go that nobody wants."""

HEAD_LIMIT = 2**16
INLINE = 2**20
"""Bytes of an answer that are written at once; more go by sendfile."""

REASONS = {200: "OK", 201: "Created", 204: "No Content", 206: "Partial Content"}


class StoredFile:
    """A file in memory that is served whole or in part."""

    def __init__(self, path: str) -> None:
        self._opened = open(path, "rb")  # noqa: SIM115 - as long as the server runs
        self.size = os.fstat(self._opened.fileno()).st_size
        self.raw = self._opened
        self._view = memoryview(
            mmap.mmap(self._opened.fileno(), 0, prot=mmap.PROT_READ) if self.size else b""
        )

    def part(self, start: int, end: int) -> memoryview:
        return self._view[start:end]


@dataclass(slots=True)
class Request:
    """What was asked; ``body`` is empty where the route discards it."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = b""


@dataclass(slots=True)
class Response:
    """What is answered: JSON, or a file and the part of it that was asked for."""

    status: int = 200
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    file: StoredFile | None = None
    span: tuple[int, int] = (0, 0)

    def head(self, length: int) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, f"Content-Length: {length}", "", ""]).encode()


@dataclass(slots=True)
class Counts:
    """What came and went."""

    requests: int = 0
    connections: int = 0
    received: int = 0
    sent: int = 0
    routes: dict[str, int] = field(default_factory=dict)


class Connection(asyncio.BufferedProtocol):
    """One connection.

    Parameters
    ----------
    answer
        Answers a request.
    keeps
        Says whether the body of a request, by its method and path, is kept.
    counts
        Is told what comes and goes.
    """

    def __init__(
        self,
        answer: Callable[[Request], Response],
        keeps: Callable[[str, str], bool],
        counts: Counts,
    ) -> None:
        self._answer, self._keeps, self._counts = answer, keeps, counts
        self._lines = bytearray(HEAD_LIMIT)
        self._filled = 0
        self._request: Request | None = None
        self._chunked = self._last = False
        self._remaining = 0
        self._kept: bytearray | None = None
        self._sending: asyncio.Task[None] | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._counts.connections += 1

    def connection_lost(self, error: Exception | None) -> None:
        if self._sending is not None:
            self._sending.cancel()

    def get_buffer(self, hint: int) -> Any:
        if not self._remaining:
            return memoryview(self._lines)[self._filled :]
        if self._kept is None:
            return SINK[: self._remaining]
        return memoryview(self._kept)[-self._remaining :]

    def buffer_updated(self, size: int) -> None:
        if self._remaining:
            self._remaining -= size
            self._counts.received += size
            if self._remaining or self._chunked:
                return
            self._finish()
        else:
            self._filled += size
        self._parse()

    def _parse(self) -> None:
        """Read what lies in the buffer of lines: heads, sizes of chunks, beginnings of bodies."""
        while self._filled and not self._remaining:
            end = b"\r\n" if self._chunked else b"\r\n\r\n"
            at = self._lines.find(end, 0, self._filled)
            if at < 0:
                return
            text = self._take(at + len(end))[:at]
            if not self._chunked:
                self._begin(text.decode("latin-1"))
            elif self._last:  # no client here sends trailers
                self._chunked = self._last = False
                self._finish()
            elif text:
                size = int(text.partition(b";")[0], 16)
                self._last = not size
                self._receive(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self._lines[:size])
        self._lines[: self._filled - size] = self._lines[size : self._filled]
        self._filled -= size
        return taken

    def _begin(self, head: str) -> None:
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        path, _, query = target.partition("?")
        fields = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in fields}
        pairs = (pair.partition("=") for pair in query.split("&") if pair)
        self._request = Request(method, path, {name: value for name, _, value in pairs}, headers)
        if headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._chunked = headers.get("transfer-encoding", "").lower() == "chunked"
        self._kept = bytearray() if self._keeps(method, path) else None
        if not self._chunked:
            self._receive(int(headers.get("content-length", 0)))

    def _receive(self, size: int) -> None:
        """Take what is here of a body or chunk; the rest comes into `get_buffer`."""
        here = min(size, self._filled)
        data = self._take(here)
        self._counts.received += here
        self._remaining = size - here
        if self._kept is not None:
            self._kept += data + bytes(self._remaining)
        if not self._remaining and not self._chunked:
            self._finish()

    def _finish(self) -> None:
        request, self._request = self._request, None
        assert request is not None
        if self._kept is not None:
            request.body, self._kept = bytes(self._kept), None
        response = self._answer(request)
        if response.file is None:
            content = b"" if response.json is None else json.dumps(response.json).encode()
            response.headers.setdefault("Content-Type", "application/json")
            self._transport.write(response.head(len(content)) + content)
            return
        start, end = response.span
        head = response.head(end - start)
        if request.method == "HEAD":
            self._transport.write(head)
            return
        self._counts.sent += end - start
        if end - start <= INLINE:
            self._transport.writelines([head, response.file.part(start, end)])
        else:
            self._transport.write(head)
            self._sending = asyncio.ensure_future(self._send(response.file, start, end - start))

    async def _send(self, file: StoredFile, start: int, count: int) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(ConnectionError, RuntimeError):
            # a descriptor of its own: sendfile of asyncio moves the position of the file
            with open(os.dup(file.raw.fileno()), "rb") as opened:
                await loop.sendfile(self._transport, opened, start, count)
            self._sending = None
