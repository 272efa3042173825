"""Raw bytes that no client library would send, and the responses to them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Connection]:
    """Open a plain TCP connection to the server of a URL."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answer_of(reader: asyncio.StreamReader, seconds: float = 10) -> tuple[int, bytes]:
    """Read until the server closes the connection; give the last status, and all bytes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):  # sending to a closed connection resets it
        async with asyncio.timeout(seconds):
            while piece := await reader.read(65_536):
                received += piece
    heads = [line for line in received.split(b"\r\n") if line.startswith(b"HTTP/1.")]
    return (int(heads[-1].split()[1]) if heads else 0), received


async def say(url: str, *said: bytes, seconds: float = 10) -> tuple[int, bytes]:
    """Send bytes, and read until the server closes the connection."""
    async with connected(url) as (reader, writer):
        writer.writelines(said)
        return await answer_of(reader, seconds)


def head(line: str, **headers: str) -> bytes:
    """Write the head of a request; the connection is closed after the response."""
    shown = {"Host": "localhost", "Connection": "close", **headers}
    lines = [f"{line} HTTP/1.1", *(f"{k.replace('_', '-')}: {v}" for k, v in shown.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
