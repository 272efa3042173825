"""File objects: the writer that appears only when closed well, and the ranged reader."""

from __future__ import annotations

import concurrent.futures
import logging
import sys
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

from fsspec.asyn import AbstractAsyncStreamedFile
from fsspec.spec import AbstractBufferedFile

from synapsefs import bridge, integrity
from synapsefs.caching import SequentialCache, TailCache
from synapsefs.objects import Content
from synapsefs.services.base import Entry, Staged, Upload
from synapsefs.transfer import read_range
from synapsefs.transport import Transport

logger = logging.getLogger("synapsefs")


class Home(Protocol):
    """What file objects ask of their filesystem."""

    loop: Any
    tails: TailCache
    transport: Transport

    async def publish(self, staged: list[Staged]) -> None:
        """Make files visible."""


class PartBuffer:
    """Cuts a stream of writes into parts; a part is given out only when more follows.

    Parameters
    ----------
    size
        Bytes of each part.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._buffer = bytearray()

    def feed(self, data: Any) -> Iterator[memoryview]:
        """Take bytes; give the parts that they complete and that are not the last."""
        view = memoryview(data).cast("B")
        while len(view):
            if len(self._buffer) == self._size:
                yield self.rest()
            room = self._size - len(self._buffer)
            self._buffer += view[:room]
            view = view[room:]

    def rest(self) -> memoryview:
        """Give out what is held."""
        held = memoryview(self._buffer)
        self._buffer = bytearray()
        return held


class SynapseWriter(AbstractBufferedFile):
    """A file being written. It appears, whole, when it is closed and no exception is under way.

    While a part travels the next one fills. Closed inside a ``with`` that an exception leaves,
    or while an exception that began after opening is being handled, or by garbage collection, it
    is discarded, and what was there before is still there.

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
        for part in self._parts.feed(data):
            self._send(part, last=False)
        self.loc += size
        return size

    def _send(self, part: memoryview, *, last: bool) -> None:
        self._settle()
        self._flight = bridge.submit(self.fs.loop, self._upload.write(part, last=last))

    def _settle(self) -> None:
        """Wait for the part on its way; interrupted meanwhile, it is still known and cancelled."""
        if self._flight is not None:
            bridge.outcome(self._flight)
            self._flight = None

    def flush(self, force: bool = False) -> None:  # noqa: ARG002
        """Do nothing: parts travel when they are full, and the last one at the close."""
        if self.closed and not self._abandoned:
            raise ValueError("Flush on closed file")

    def readable(self) -> bool:
        """Say no."""
        return False

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
        """
        if self.closed:
            return
        if self._abandoned:
            self._drop()
            return
        if self._exception_under_way():
            self.discard()
            return
        try:
            self._send(self._parts.rest(), last=True)
            self._settle()
            self.staged = bridge.run(self.fs.loop, self._upload.finish())
            if self.autocommit:
                self.commit()
        except BaseException:
            self.discard()
            raise
        self.closed = True

    def commit(self) -> None:
        """Make the finished file visible."""
        if self.staged is not None:
            bridge.run(self.fs.loop, self.fs.publish([self.staged]))

    def discard(self) -> None:
        """Throw away what was written; what was there before stays."""
        self.staged = None
        self._ground()
        logger.info("%s: the write was discarded", self.path)
        bridge.run(self.fs.loop, self._upload.abort())

    def _drop(self) -> None:
        """Discard without waiting: garbage is collected in any thread, even the loop's own."""
        self._ground()
        bridge.start(self._loop, self._upload.abort)

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
        self.close()

    def __del__(self) -> None:
        if getattr(self, "closed", True):
            return
        self._drop()
        if not self._abandoned:
            self._abandoned = True
            warnings.warn(f"unclosed file {self.path} was discarded", ResourceWarning, stacklevel=2)


class SynapseReader(AbstractBufferedFile):
    """A file being read, pinned to the version that was there when it was opened.

    Read from its start to its end in order, it is verified against the service's checksum.

    Parameters
    ----------
    fs
        The filesystem.
    entry, content
        The file, its size known.
    block_size, cache_type, cache_options
        As for all fsspec files; the default cache adapts by itself.
    version
        The version that was asked for; a copy in another process reads it too.
    """

    def __init__(
        self,
        fs: Home,
        entry: Entry,
        content: Content,
        *,
        block_size: int | str | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
        version: str | int | None = None,
        **kwargs: Any,
    ) -> None:
        self._content = content
        self._asked_for = version
        self._details = {**entry.info(), "size": content.size}
        self._verified = 0
        self._digest = integrity.hasher(content.checksum)
        super().__init__(
            fs,
            entry.location.path,
            "rb",
            block_size or "default",
            cache_type=cache_type or SequentialCache.name,
            cache_options=cache_options,
            size=content.size,
            **kwargs,
        )

    def _fetch_range(self, start: int, end: int) -> bytes:
        size, version = self.size, (self._content.path, self._content.version)
        end = min(end, size)
        held = self.fs.tails.get(version, start, end)
        if held is not None:
            return bytes(held)
        data = bridge.run(self.fs.loop, read_range(self.fs.transport, self._content, start, end))
        self.fs.tails.put(version, start, data, size)
        return data

    def read(self, length: int | None = -1) -> bytes:
        """Read bytes; all that remain by default.

        Raises
        ------
        ChecksumError
            At the end of a sequential read whose bytes are not what the service says.
        """
        start = self.loc
        data: bytes = super().read(-1 if length is None else length)
        if self._digest is not None and data:
            self._verify(start, data)
        return data

    def _verify(self, start: int, data: bytes) -> None:
        if start > self._verified:
            self._digest = None
        elif start + len(data) > self._verified:
            self._digest.update(memoryview(data)[self._verified - start :])
            self._verified = start + len(data)
            if self._verified == self.size:
                digest, self._digest = self._digest, None
                integrity.compare(digest, self._content.checksum, self.path)

    def __reduce__(self) -> Any:
        return _reopened, (self.fs, self.path, self.loc, self._asked_for)


def _reopened(fs: Any, path: str, position: int, version: str | int | None) -> Any:
    file = fs.open(path, "rb", version=version)
    file.seek(position)
    return file


class AsyncReader(AbstractAsyncStreamedFile):
    """A file being read with ``await``; every read is one request."""

    def __init__(self, fs: Home, entry: Entry, content: Content) -> None:
        self._content = content
        self._details = {**entry.info(), "size": content.size}
        super().__init__(fs, entry.location.path, "rb", cache_type="none", size=content.size)

    async def _fetch_range(self, start: int, end: int) -> bytes:
        return await read_range(self.fs.transport, self._content, start, min(end, self.size))


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
