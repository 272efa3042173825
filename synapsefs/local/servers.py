"""Servers that this user runs on this machine, and what opens them.

``synapsefs serve`` writes a file for as long as it runs, which only its user can read, and clients
look there for the credentials of an endpoint on a loopback address. The server holds a lock on the
file: what a killed one has left is of no effect, so that nobody who listens on its port later is
sent its credentials.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
import stat
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

try:
    import fcntl
except ImportError:  # Windows, where the server does not run
    fcntl = None  # type: ignore[assignment]

LOCK_SECONDS = 2.0
LOOPBACK = ("127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A server on a loopback address; token and key are empty where the user has to say them."""

    url: str
    token: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)
    tenant: str = ""


@contextlib.contextmanager
def announced(server: LocalServer) -> Iterator[bool]:
    """Let clients of this user on this machine find a server while the block runs.

    Yields whether they do: only loopback addresses are announced.
    """
    path = _path(server.url)
    if path is None or fcntl is None:
        yield False
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = _locked(path)
    try:
        os.fchmod(descriptor, 0o600)
        os.ftruncate(descriptor, 0)
        os.write(descriptor, json.dumps({**asdict(server), "machine": _machine()}).encode())
        yield True
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def find(url: str) -> LocalServer | None:
    """Find the server of this user that listens at a URL now.

    ``localhost`` stands for the loopback addresses; the result has the one that is listened on.
    None for another address, another user's server or machine, and a server that has ended.
    """
    parts = urlsplit(url)
    hosts = LOOPBACK if parts.hostname == "localhost" else (parts.hostname or "",)
    for host in hosts if parts.scheme == "http" and not parts.path.strip("/") else ():
        exact = f"http://[{host}]" if ":" in host else f"http://{host}"
        path = _path(f"{exact}:{parts.port or 80}")
        server = _read(path) if path is not None and fcntl is not None else None
        if server is not None:
            return server
    return None


def _path(url: str) -> Path | None:
    """Give where a server is announced; None for one that other machines may reach."""
    import platformdirs  # noqa: PLC0415 - only for servers on this machine

    parts = urlsplit(url)
    try:
        address = ipaddress.ip_address(parts.hostname or "")
    except ValueError:
        return None
    if not address.is_loopback:
        return None
    folder = Path(platformdirs.user_state_dir("synapsefs", appauthor=False)) / "servers"
    return folder / f"{str(address).replace(':', '-')}_{parts.port}.json"


def _locked(path: Path) -> int:
    """Open and lock a file; another one may be removing it."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise BlockingIOError(f"another server holds the file: {path}")
        time.sleep(0.02)


def _read(path: Path) -> LocalServer | None:
    """Read what a server that is running has announced."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with open(descriptor, encoding="utf-8") as file:
        status = os.fstat(descriptor)
        private = status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
        if not private or not _is_held(descriptor):
            return None
        try:
            stored = json.load(file)
            here = stored.pop("machine") == _machine()
            server = LocalServer(**stored)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
    return server if here and _path(server.url) == path else None


def _is_held(descriptor: int) -> bool:
    """Say whether the server that wrote a file still runs: then it holds its lock."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


def _machine() -> str:
    """Name this machine and its network: a home directory may be shared by several."""
    names = [socket.gethostname()]
    with contextlib.suppress(OSError):
        names.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    with contextlib.suppress(OSError):
        names.append(os.readlink("/proc/self/ns/net"))
    return " ".join(names)
