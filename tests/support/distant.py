"""A proxy that makes a server distant: half a round trip of latency each way, limited bandwidth.

Run as ``python -m tests.support.distant PORT SECONDS BYTES``, it prints the port it listens on.
``BYTES`` is the bandwidth of one connection per second and direction, 0 for no limit: object
stores throttle each connection, so that several in parallel are faster than one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.support.running import environment

PIECE = 2**17
TICK = 0.002
"""Tolerance in seconds: pieces may leave early or late, so that they share timers."""

IN_FLIGHT = 2**22
"""Bytes in flight in one direction of a connection, as in a TCP window."""


class _Pipe(asyncio.Protocol):
    """One side of a connection: forwards its input to the other side, with a delay."""

    def __init__(self, delay: float, rate: float) -> None:
        self._delay, self._rate = delay, rate
        self._loop = asyncio.get_running_loop()
        self._flying: deque[tuple[float, bytes | None]] = deque()
        self._bytes = 0
        self._free = 0.0
        self._timer = False
        self._paused = False
        self._blocked = False
        self.transport: Any = None
        self.other: _Pipe | None = None

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=4 * PIECE)

    def data_received(self, data: bytes) -> None:
        now = self._loop.time()
        self._free = max(self._free, now)
        if self._rate:
            self._free += len(data) / self._rate
        self._flying.append((self._free + self._delay, data))
        self._bytes += len(data)
        if self._bytes >= IN_FLIGHT or self._free - now > 0.05:
            self._pause()
        self._arm()

    def eof_received(self) -> bool:
        self._flying.append((max(self._free, self._loop.time()) + self._delay, None))
        self._arm()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self._flying.append((max(self._free, self._loop.time()) + self._delay, None))
            self._arm()

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other._blocked = True

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other._blocked = False
            self.other._arm()

    def _pause(self) -> None:
        if not self._paused and not self.transport.is_closing():
            self._paused = True
            self.transport.pause_reading()

    def _arm(self) -> None:
        if self._flying and not self._timer and self.other is not None and not self._blocked:
            self._timer = True
            self._loop.call_at(self._flying[0][0], self._deliver)

    def _deliver(self) -> None:
        """Forward the data received; resume reading when there is room."""
        self._timer = False
        now = self._loop.time() + TICK
        assert self.other is not None
        there = self.other.transport
        pieces = []
        while self._flying and self._flying[0][0] <= now and not self._blocked:
            piece = self._flying.popleft()[1]
            if piece is None:
                there.write(b"".join(pieces))
                there.close()
                return
            pieces.append(piece)
            self._bytes -= len(piece)
        if pieces and not there.is_closing():
            there.write(b"".join(pieces))
        if self._paused and self._bytes < IN_FLIGHT and self._free - now < 0.05:
            self._paused = False
            if not self.transport.is_closing():
                self.transport.resume_reading()
        self._arm()


async def _serve(port: int, delay: float, rate: float) -> None:
    loop = asyncio.get_running_loop()
    running: set[asyncio.Task[None]] = set()

    async def connect(near: _Pipe) -> None:
        await asyncio.sleep(2 * delay)  # the handshake
        _, far = await loop.create_connection(lambda: _Pipe(delay, rate), "127.0.0.1", port)
        near.other, far.other = far, near
        near._arm()

    def accept() -> _Pipe:
        near = _Pipe(delay, rate)
        task = asyncio.ensure_future(connect(near))
        running.add(task)
        task.add_done_callback(running.discard)
        return near

    server = await loop.create_server(accept, "127.0.0.1", 0, backlog=1024)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def from_afar(url: str, round_trip: float, rate: float = 0) -> Iterator[str]:
    """Give a URL under which a server seems to be ``round_trip`` seconds away.

    Parameters
    ----------
    url
        The server.
    round_trip
        Seconds.
    rate
        Bandwidth of each connection in each direction, in bytes per second; 0 for no limit.
    """
    port = str(urlsplit(url).port)
    command = [sys.executable, "-m", __name__, port, str(round_trip / 2), str(rate)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
