"""Other processes for tests: Python scripts, and servers over a directory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SERVER = """
import asyncio, json, sys
from pathlib import Path
from synapsefs.server.app import serve
from synapsefs.server.settings import ServerSettings

async def main():
    settings = ServerSettings(root=Path(sys.argv[1]), **json.loads(sys.argv[2]))
    running = await serve(settings)
    print(running.url, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def environment() -> dict[str, str]:
    """Give the environment in which another process has the same imports as this one."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def python(
    script: str, *arguments: str, options: tuple[str, ...] = (), seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter and wait until it exits."""
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(script), *arguments],
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment(),
        check=False,
    )


@contextlib.contextmanager
def server_process(root: Path, **settings: Any) -> Iterator[str]:
    """Run a server without authentication, in a process of its own; give its URL."""
    command = [sys.executable, "-c", SERVER, str(root), json.dumps(settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()
