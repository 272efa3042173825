"""Files being written: what is written appears only when it is closed well."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import errno
import logging
import sys
import warnings
from collections import deque
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

from fsspec.spec import AbstractBufferedFile

from synapsefs import sync
from synapsefs.errors import DiscardedWarning, UnsupportedError
from synapsefs.services.base import Staged, Upload

logger = logging.getLogger("synapsefs")

REUSED = 3
"""Parts whose memory is looked at again: one travels, one waits, and the one before has gone."""

UNSEEN = (GeneratorExit, SystemExit)
"""Exceptions that end a block and that nobody is shown."""


class Home(Protocol):
    """What files being written ask of their filesystem."""

    loop: Any

    async def publish(self, staged: list[Staged]) -> None:
        """Make files visible."""


class PartBuffer:
    """Cuts a stream of writes into parts; a part is given out only when more follows.

    Of bytes that cannot change, whole parts are given out as they are. All else is copied once,
    into memory that earlier parts have left: memory that was never used costs several times more.

    Parameters
    ----------
    size
        Bytes of each part.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._held: bytearray | memoryview = bytearray()
        self._filled = 0
        self._given: deque[bytearray] = deque(maxlen=REUSED)

    def feed(self, data: Any) -> Iterator[memoryview]:
        """Take bytes; give the parts that they complete and that are not the last."""
        view = memoryview(data).cast("B")
        constant = isinstance(view.obj, bytes)
        while len(view):
            if self._filled == self._size:
                yield self.rest()
            piece = view[: self._size - self._filled]
            if constant and len(piece) == self._size:
                self._held = piece
            else:
                self._copy(piece)
            self._filled += len(piece)
            view = view[len(piece) :]

    def _copy(self, piece: memoryview) -> None:
        if not self._filled:
            self._held = self._unused()
        assert isinstance(self._held, bytearray)  # noqa: S101 - others are whole parts
        if len(self._held) == self._filled:
            self._held += piece
        else:
            self._held[self._filled : self._filled + len(piece)] = piece

    def _unused(self) -> bytearray:
        """Give a buffer that nobody looks at: its size could not be changed otherwise."""
        for index, buffer in enumerate(self._given):
            with contextlib.suppress(BufferError):
                buffer.append(buffer.pop())
                del self._given[index]
                return buffer
        return bytearray()

    def rest(self) -> memoryview:
        """Give out what is held."""
        part = memoryview(self._held)[: self._filled]
        if isinstance(self._held, bytearray) and len(self._held) == self._size:
            self._given.append(self._held)
        self._held, self._filled = bytearray(), 0
        return part


class SynapseWriter(AbstractBufferedFile):
    """A file being written. It appears, whole, when it is closed and no exception is under way.

    While a part travels the next one fills. Closed inside a ``with`` that an exception leaves,
    or while an exception that began after opening is being handled, or by garbage collection, it
    is discarded, and what was there before is still there. A :class:`DiscardedWarning` says so
    where no exception does. :meth:`commit` publishes the file nevertheless.

    Parameters
    ----------
    fs
        The filesystem.
    path
        Where it will appear.
    mode
        ``wb`` or ``xb``.
    upload
        Takes the parts.
    autocommit
        False inside a transaction, which then publishes.
    """

    def __init__(  # the base's own __init__ makes buffers that are not used here
        self, fs: Home, path: str, mode: str, upload: Upload, *, autocommit: bool
    ) -> None:
        self.fs = fs
        self.path = path
        self.mode = mode
        self.autocommit = autocommit
        self.blocksize = upload.part_size
        self.loc = 0
        self.kwargs: dict[str, Any] = {}
        self.staged: Staged | None = None
        self._upload = upload
        self._parts = PartBuffer(upload.part_size)
        self._flight: concurrent.futures.Future[None] | None = None
        self._loop = fs.loop
        self._handled_at_open = sys.exception()
        self._abandoned = False
        self._published = False
        self.closed = False

    def write(self, data: Any) -> int:
        """Take bytes; full parts begin to travel.

        Raises
        ------
        SynapseError
            When a part sent before could not be delivered.
        """
        size = memoryview(data).nbytes
        if self.closed:
            if self._abandoned:  # what wraps it is collected too, and flushes
                return size
            raise ValueError("I/O operation on closed file.")
        if self._lost():
            return size
        for part in self._parts.feed(data):
            self._send(part, last=False)
        self.loc += size
        return size

    def _send(self, part: memoryview, *, last: bool) -> None:
        self._settle()
        self._flight = sync.submit(self.fs.loop, self._upload.write(part, last=last))

    def _settle(self) -> None:
        """Wait for the part on its way; interrupted meanwhile, it is still known and cancelled."""
        if self._flight is not None:
            sync.outcome(self._flight)
            self._flight = None

    def flush(self, force: bool = False) -> None:  # noqa: ARG002
        """Do nothing: parts travel when they are full, and the last one at the close."""
        if self.closed and not self._abandoned:
            raise ValueError("Flush on closed file")

    def readable(self) -> bool:
        """Say no."""
        return False

    def seek(self, loc: int, whence: int = 0) -> int:  # noqa: ARG002
        """Refuse.

        Raises
        ------
        UnsupportedError
            Always.
        """
        words = "a file that is written cannot seek: it is sent from its start to its end"
        raise UnsupportedError(words, self.path, errno.ESPIPE)

    def seekable(self) -> bool:
        """Say no."""
        return False

    def writable(self) -> bool:
        """Say yes until closed."""
        return not self.closed

    def close(self) -> None:
        """Publish, unless an exception is under way: then discard.

        Raises
        ------
        SynapseError
            When the bytes could not be delivered or verified; nothing is visible then.

        Warns
        -----
        DiscardedWarning
            When the file is discarded.
        """
        if self.closed:
            return
        if self._abandoned:
            self._drop()
        elif not self._lost():
            if self._exception_under_way():
                self.discard()
                self._warn("while an exception was being handled")
                return
            self._finish()
            if self.autocommit:
                self.commit()

    def _finish(self) -> None:
        """Send what is left; the file is closed then, and not visible yet."""
        try:
            self._send(self._parts.rest(), last=True)
            self._settle()
            self.staged = sync.run(self.fs.loop, self._upload.finish())
        except BaseException:
            self.discard()
            raise
        self.closed = True

    def commit(self) -> None:
        """Make the file visible, also while an exception is being handled; it is closed then.

        Raises
        ------
        ValueError
            When the file was discarded.
        SynapseError
            As for :meth:`close`.
        """
        if self._published:
            return
        if not self.closed:
            self._finish()
        if self.staged is None:
            raise ValueError(f"{self.path}: the file was discarded")
        try:
            sync.run(self.fs.loop, self.fs.publish([self.staged]))
        except BaseException:
            self.discard()
            raise
        self.staged, self._published = None, True

    def discard(self) -> None:
        """Throw away what was written; what was there before stays."""
        if self._published or self._lost():
            return
        self.staged = None
        self._ground()
        logger.info("%s: the write was discarded", self.path)
        sync.run(self.fs.loop, self._upload.abort())

    def _lost(self) -> bool:
        """Discard where nobody may wait: the garbage collector closes files in any thread."""
        if not (self._abandoned or self.closed) and sync.is_own_thread(self._loop):
            self._abandoned = True
            self._drop()
            self._warn("by the garbage collector, in a thread that cannot wait")
        return self._abandoned

    def _warn(self, how: str) -> None:
        warnings.warn(
            f"{self.path}: what was written is discarded, since the file was closed {how}; "
            "commit() before close() publishes it",
            DiscardedWarning,
            stacklevel=3,
        )

    def _drop(self) -> None:
        """Discard without waiting: garbage is collected in any thread, even the loop's own."""
        self._ground()
        sync.start(self._loop, self._upload.abort)

    def _ground(self) -> None:
        self.closed = True
        flight, self._flight = self._flight, None
        if flight is not None:
            flight.cancel()

    def _exception_under_way(self) -> bool:
        handled = sys.exception()
        return handled is not None and handled is not self._handled_at_open

    def _dealloc_warn(self, source: object) -> None:
        """Note that a wrapper was garbage-collected unclosed; ``io`` calls this before closing."""
        self._abandoned = True
        warnings.warn(f"unclosed file {source!r} was discarded", ResourceWarning, stacklevel=2)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and not self.closed:
            self.discard()
            if issubclass(kind, UNSEEN) and not self._abandoned:
                self._warn(f"by {kind.__name__}")
        self.close()

    def __del__(self) -> None:
        if getattr(self, "closed", True):
            return
        self._drop()
        if not self._abandoned:
            self._abandoned = True
            warnings.warn(f"unclosed file {self.path} was discarded", ResourceWarning, stacklevel=2)


class AsyncWriter:
    """A file being written with ``await``; it appears when closed without an exception.

    Parameters
    ----------
    fs
        The filesystem.
    path
        Where it will appear.
    upload
        Takes the parts.
    """

    def __init__(self, fs: Home, path: str, upload: Upload) -> None:
        self.path = path
        self.mode = "wb"
        self.loc = 0
        self.closed = False
        self._fs = fs
        self._upload = upload
        self._parts = PartBuffer(upload.part_size)
        self._loop = asyncio.get_running_loop()

    async def write(self, data: Any) -> int:
        """Take bytes; full parts begin to travel."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")
        for part in self._parts.feed(data):
            await self._upload.write(part, last=False)
        size = memoryview(data).nbytes
        self.loc += size
        return size

    def tell(self) -> int:
        """Give the number of bytes written."""
        return self.loc

    async def flush(self, force: bool = False) -> None:
        """Do nothing: parts travel when they are full."""

    async def close(self) -> None:
        """Publish."""
        if self.closed:
            return
        self.closed = True
        try:
            await self._upload.write(self._parts.rest(), last=True)
            await self._fs.publish([await self._upload.finish()])
        except BaseException:
            await self._upload.abort()
            raise

    async def discard(self) -> None:
        """Throw away what was written."""
        if not self.closed:
            self.closed = True
            await self._upload.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await (self.discard() if kind is not None else self.close())

    def __del__(self) -> None:
        if not getattr(self, "closed", True):
            self.closed = True
            sync.start(self._loop, self._upload.abort)
            warnings.warn(f"unclosed file {self.path} was discarded", ResourceWarning, stacklevel=2)
