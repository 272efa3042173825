"""A server as from far away: every byte arrives half a round trip later, in both directions.

Run as ``python -m tests.support.distant PORT SECONDS``, it prints the port that it listens on.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from tests.support.running import environment

PIECE = 2**18


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float
) -> None:
    loop = asyncio.get_running_loop()
    try:
        while piece := await reader.read(PIECE):
            loop.call_later(delay, writer.write, piece)
    except ConnectionError:
        pass
    loop.call_later(delay, writer.close)


async def _serve(port: int, delay: float) -> None:
    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * delay)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            _pass_on(reader, far_writer, delay), _pass_on(far_reader, writer, delay)
        )

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


@contextmanager
def from_afar(url: str, round_trip: float) -> Iterator[str]:
    """Give the URL by which a server seems to be ``round_trip`` seconds away."""
    port = str(urlsplit(url).port)
    command = [sys.executable, "-m", __name__, port, str(round_trip / 2)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
