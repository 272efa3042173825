"""Devices, FIFOs and open descriptors: read to their end, or written through.

Reading and writing block, but ask ``check`` again and again whether anybody still waits for them.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections.abc import Callable, Iterable

from synapsefs.local.files import descriptor_link

TURN_SECONDS = 0.1
Check = Callable[[], None]
"""Raises when the caller no longer waits."""


class LocalReader:
    """A device, FIFO or descriptor that is read from where it stands."""

    def __init__(self, path: str) -> None:
        linked = descriptor_link(path)
        if linked is not None and linked[0] == os.getpid():
            self._descriptor = os.dup(linked[1])
        else:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def read(self, size: int, check: Check) -> bytes:
        """Read ``size`` bytes, fewer only at the end."""
        pieces: list[bytes] = []
        while size:
            piece = self._piece(size, check)
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _piece(self, size: int, check: Check) -> bytes:
        while True:
            _wait(self._descriptor, select.POLLIN, check)
            with contextlib.suppress(BlockingIOError):
                return os.read(self._descriptor, min(size, 2**20))

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)


class LocalWriter:
    """A device, FIFO or descriptor that is written through; opened at the first write."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor: int | None = None

    def write(self, pieces: Iterable[bytes], check: Check) -> None:
        """Write bytes, when somebody reads them."""
        if self._descriptor is None:
            self._descriptor = self._open(check)
        for piece in pieces:
            view = memoryview(piece)
            while view:
                _wait(self._descriptor, select.POLLOUT, check)
                with contextlib.suppress(BlockingIOError):
                    view = view[os.write(self._descriptor, view) :]

    def _open(self, check: Check) -> int:
        """Open it; a FIFO is waited for until it has a reader."""
        while True:
            check()
            try:
                return os.open(self._path, os.O_WRONLY | os.O_NONBLOCK | os.O_APPEND)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
            time.sleep(TURN_SECONDS)

    def close(self) -> None:
        """Close it, so that a reader finds the end."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _wait(descriptor: int, event: int, check: Check) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    while True:
        check()
        if poll.poll(TURN_SECONDS * 1000):
            return
