"""A server inside this process, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures.thread
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from synapsefs.server.app import serve
from synapsefs.server.settings import ServerSettings
from synapsefs.server.signing import load_secret

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from synapsefs.server.app import Running

_servers: dict[tuple[int, Path], EmbeddedServer] = {}
_lock = threading.Lock()


class EmbeddedServer:
    """A server that runs in a daemon thread until it is closed.

    Parameters
    ----------
    root
        Directory of the server; created when missing.

    Raises
    ------
    OSError
        The root cannot be used.
    """

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        secret = load_secret(root)
        self.token = secret.token
        self.api_key = secret.api_key
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="synapsefs-server", daemon=True)
        self._thread.start()
        settings = ServerSettings(root=root, tokens=(self.token,), api_keys=(self.api_key,))
        started: Future[Running] = asyncio.run_coroutine_threadsafe(serve(settings), self._loop)
        try:
            self._running = started.result()
        except BaseException:
            self._stop()
            raise
        self.url = self._running.url

    def close(self) -> None:
        """Stop the server; without effect the second time, and in a forked child."""
        if self._pid != os.getpid() or self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._running.close(), self._loop).result()
        self._stop()

    def abandon(self) -> None:
        """Close what a forked child inherited of it."""
        self._running.listening.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def embedded(root: Path) -> EmbeddedServer:
    """Return the server of this process over `root`, starting it on first use.

    Parameters
    ----------
    root
        Directory of the server. Servers of other processes may use it at the same time.

    Returns
    -------
    EmbeddedServer
        Always the same one for a root; a forked child gets its own. It is closed at exit.

    Raises
    ------
    OSError
        The root cannot be used.
    """
    key = (os.getpid(), Path(root).resolve())
    with _lock:
        server = _servers.get(key)
        if server is None:
            server = _servers[key] = EmbeddedServer(key[1])
            _at_exit(server.close)
        return server


def _at_exit(close: Callable[[], None]) -> None:
    """Call at the exit of the interpreter, while threads can still be given work.

    That ends before the functions of ``atexit`` are called. ``concurrent.futures`` ends it in the
    same way as this is registered; what was registered last comes first.
    """
    assert concurrent.futures.thread  # noqa: S101 - it has registered itself
    try:
        threading._register_atexit(close)  # type: ignore[attr-defined]  # noqa: SLF001
    except (AttributeError, RuntimeError):
        atexit.register(close)


def _after_fork_in_child() -> None:
    """Leave the parent's ports to the parent, and take a lock that nobody holds."""
    global _lock  # noqa: PLW0603 - the old lock may be held by a thread that was not forked
    _lock = threading.Lock()
    for server in _servers.values():
        server.abandon()


os.register_at_fork(after_in_child=_after_fork_in_child)
