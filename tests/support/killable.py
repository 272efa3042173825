"""Servers and clients that are killed with ``kill -9`` and restart in an instant."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
        """Kill a server and wait until it has exited."""
        assert self._ask(f"kill {pid}") == "killed"

    def _ask(self, command: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(command, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """Run a nursery; the test must kill all its servers before the end."""
    with _running(NURSERY) as process:
        yield Nursery(process)


CLIENTS = """
import importlib, json, os, sys
from synapsefs import SynapseFileSystem
import synapsefs.services.collections.service, synapsefs.services.datasets.service

for line in sys.stdin:
    job = json.loads(line)
    module = importlib.import_module(job["module"])
    ready, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(ready, 1)
        getattr(module, job["function"])(SynapseFileSystem(**job["options"]), *job["arguments"])
        os._exit(0)
    print(pid, flush=True)
    sys.stdin.readline()
    os.write(go, b"!")
    print(os.waitpid(pid, 0)[1], flush=True)
    os.close(ready), os.close(go)
"""
"""Imports the client once and forks for each job, which starts on command."""


class Clients:
    """Runs functions of a module in processes of their own, which may be killed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def prepare(
        self, module: str, function: str, options: dict[str, Any], arguments: list[Any]
    ) -> int:
        """Create a process that will call ``module.function(filesystem, *arguments)``."""
        job = {"module": module, "function": function, "options": options, "arguments": arguments}
        return int(self._ask(json.dumps(job)))

    def run(self) -> int:
        """Start the process and wait until it exits; give its wait status."""
        return int(self._ask("go"))

    def _ask(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()


@contextlib.contextmanager
def clients() -> Iterator[Clients]:
    """Run a nursery of clients."""
    with _running(CLIENTS) as process:
        yield Clients(process)


@contextlib.contextmanager
def _running(script: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()
