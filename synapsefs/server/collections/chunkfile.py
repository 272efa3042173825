"""The file behind a chunked upload, on disk."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import time
from functools import partial
from typing import TYPE_CHECKING, Self

from synapsefs.server.blobs import BLOCK, TooLargeError, pump, sync_directory, write_fully
from synapsefs.server.digests import Digests
from synapsefs.server.problems import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from pathlib import Path

    from synapsefs.server.blobs import BlobStore
    from synapsefs.server.digests import Blob

LOCK_SECONDS = 10.0
LOCK_POLL = 0.05

_WRONG_LENGTH = "File size doesn't match headers"


class ChunkFile:
    """An open upload that nobody else changes meanwhile, in this process or another.

    Leaving the context closes it. Bytes count only once the catalogue says so; what lies beyond
    is written over.

    Parameters
    ----------
    blobs
        The store it belongs to.
    name
        Id of the upload.
    create
        Begin a new file; it is removed again unless :meth:`append` succeeds.
    """

    def __init__(self, blobs: BlobStore, name: str, *, create: bool = False) -> None:
        self._blobs = blobs
        self._path = path_of(blobs, name)
        self._fresh = create
        self._file = open(self._path, "x+b" if create else "r+b", buffering=0)  # noqa: SIM115

    async def __aenter__(self) -> Self:
        deadline = time.monotonic() + LOCK_SECONDS
        while not self._lock():
            if time.monotonic() > deadline:
                self._file.close()
                raise Problem(503, "The upload is busy.", headers={"Retry-After": "1"})
            await asyncio.sleep(LOCK_POLL)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Unlock before closing: a process that was forked meanwhile keeps the file open."""
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._file.close()
        if self._fresh:
            self._path.unlink(missing_ok=True)

    async def append(
        self, offset: int, digests: Digests, stream: AsyncIterable[bytes], length: int
    ) -> None:
        """Write a chunk at `offset` and flush it to disk.

        Parameters
        ----------
        offset
            Where it begins.
        digests
            Checksums of what comes before; they are continued.
        stream, length
            Its bytes, and how many they must be.

        Raises
        ------
        Problem
            400, when the length is another.
        OSError
            It could not be written.
        """
        self._file.seek(offset)

        def write(blocks: list[bytes]) -> None:
            digests.update(blocks)
            for block in blocks:
                write_fully(self._file, block)

        try:
            rest = await pump(self._blobs.run, stream, write, length)
        except TooLargeError:
            raise Problem(400, _WRONG_LENGTH) from None

        def finish() -> None:
            write(rest)
            if digests.size != offset + length:
                raise Problem(400, _WRONG_LENGTH)
            os.fsync(self._file.fileno())
            if self._fresh:
                sync_directory(self._path.parent)

        await self._blobs.run(finish)
        self._fresh = False

    async def holds(self, offset: int, stream: AsyncIterable[bytes], length: int) -> bool:
        """Return whether exactly the bytes of `stream` are there already."""
        self._file.seek(offset)
        compared = 0
        equal = True
        async for piece in stream:
            compared += len(piece)
            if equal:
                stored = await self._blobs.run(partial(self._file.read, len(piece)))
                equal = stored == piece
        return equal and compared == length

    def digest(self, size: int) -> Digests:
        """Return the checksums of the first `size` bytes; it blocks.

        Raises
        ------
        OSError
            So many bytes are not there.
        """
        digests = self._blobs.digests()
        self._file.seek(0)
        while digests.size < size:
            block = self._file.read(min(BLOCK, size - digests.size))
            if not block:
                raise OSError("The upload is shorter than it was.")
            digests.update([block])
        return digests

    def publish(self, blob: Blob) -> None:
        """Make the first bytes the object `blob`; the file stays until :func:`remove`.

        File and object are one. Nothing may be appended from before this is called.
        """
        os.ftruncate(self._file.fileno(), blob.size)
        self._blobs.publish(self._file, self._path, blob, keep=True)

    def _lock(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False


def path_of(blobs: BlobStore, name: str) -> Path:
    """Return where the file of an upload is kept."""
    return blobs.uploads / f"{name}.chunks"


def remove(blobs: BlobStore, name: str) -> None:
    """Remove the file of an upload, if it is there."""
    path_of(blobs, name).unlink(missing_ok=True)
