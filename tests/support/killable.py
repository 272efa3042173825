"""Servers that can be killed, as by ``kill -9``, and are back in an instant."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.running import environment

NURSERY = """
import asyncio, os, signal, sys
from pathlib import Path
from synapsefs.server.app import serve
from synapsefs.server.settings import ServerSettings

async def main(root):
    running = await serve(ServerSettings(root=Path(root)))
    print(os.getpid(), running.url, flush=True)
    await asyncio.Event().wait()

for line in sys.stdin:
    command, _, argument = line.strip().partition(" ")
    if command == "start":
        if os.fork() == 0:
            asyncio.run(main(argument))
    else:
        os.kill(int(argument), signal.SIGKILL)
        os.waitpid(int(argument), 0)
        print("killed", flush=True)
"""
"""Imports the server once and forks for each start, which takes a fraction of the time."""


class Nursery:
    """Starts and kills servers, each a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def start(self, root: Path) -> tuple[int, str]:
        """Start a server over a directory; give its process id and URL."""
        pid, url = self._ask(f"start {root}").split()
        return int(pid), url

    def kill(self, pid: int) -> None:
        """Kill a server and wait until it is gone."""
        assert self._ask(f"kill {pid}") == "killed"

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(command, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """Run a nursery; the servers it started must have been killed before the end."""
    command = [sys.executable, "-c", NURSERY]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield Nursery(process)
        finally:
            process.kill()
