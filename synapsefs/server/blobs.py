"""Bytes on disk: content-addressed objects, and files on their way to become objects.

An object is written under a temporary name, flushed, renamed to its SHA-256 and its folder
flushed, before anybody hears that it is there. Equal content is stored once.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, Self, TypeVar

from aiohttp import web

from synapsefs.server.digests import ALL_DIGESTS, Blob, Digests

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Collection, Iterator, Sequence
    from pathlib import Path

T = TypeVar("T")

BLOCK = 1024 * 1024
"""Bytes that are hashed and written at a time."""

COPY = 64 * BLOCK
"""Bytes that the kernel copies at a time."""

NOT_COPIED = frozenset({errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP})
"""Says that the filesystem has no such way of copying; nothing was copied then."""

THREADS = 4
"""Threads that hash."""

WAITING_THREADS = 16
"""Threads that write and flush; the filesystem flushes for several of them at once."""


class TooLargeError(Exception):
    """More bytes arrived than were allowed."""


class Staged:
    """A file on its way: write to it, then commit or discard it.

    A context manager discards what was not committed. All methods block.
    """

    def __init__(self, store: BlobStore, digests: Sequence[str] = ALL_DIGESTS) -> None:
        self._store = store
        self._path = store.temporary()
        self._file: BinaryIO | None = None
        self._unwritten: list[bytes] = []
        self.digests = store.digests(digests)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, data: bytes) -> None:
        """Append bytes, hashing them."""
        self.flush([data])

    def add(self, data: bytes) -> None:
        """Append bytes in memory only, until the next flush."""
        self._unwritten.append(data)

    def flush(self, blocks: Sequence[bytes] = ()) -> None:
        """Hash and write what was added, and then `blocks`."""
        file = self._open()
        unwritten, self._unwritten = [*self._unwritten, *blocks], []
        self.digests.update(unwritten)
        for block in unwritten:
            write_fully(file, block)

    def copy(self, sources: Sequence[Path]) -> None:
        """Append files without hashing them; the kernel copies, or shares the blocks."""
        file = self._open()
        for source in sources:
            with open(source, "rb", buffering=0) as content:
                try:
                    while os.copy_file_range(content.fileno(), file.fileno(), COPY):
                        pass
                except OSError as error:
                    if error.errno not in NOT_COPIED:
                        raise
                    while block := content.read(BLOCK):
                        write_fully(file, block)

    def commit(self) -> Blob:
        """Make it an object.

        Returns
        -------
        Blob
            Its checksums and size. It is on disk.

        Raises
        ------
        OSError
            It could not be written.
        """
        file = self._finish()
        blob = self.digests.blob()
        if self._store.publish(file, self._path, blob):
            self._forget()
        else:
            self.discard()
        return blob

    def keep_as(self, path: Path) -> None:
        """Make it a file that is no object, flushed to disk.

        Raises
        ------
        OSError
            It could not be written.
        """
        os.fsync(self._finish().fileno())
        os.replace(self._path, path)
        sync_directory(path.parent)
        self._forget()

    def discard(self) -> None:
        """Remove what is left of it; harmless after a commit."""
        if self._file is not None:
            self._forget()
            self._path.unlink(missing_ok=True)

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = open(self._path, "xb", buffering=0)  # noqa: SIM115 - closed by discard
        return self._file

    def _forget(self) -> None:
        """Close the file, which has a lasting name by now or is to be removed."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _finish(self) -> BinaryIO:
        self.flush()
        if self._file is None:
            raise ValueError("already committed or discarded")
        return self._file


class BlobStore:
    """The objects below one root.

    Parameters
    ----------
    root
        Directory of the server; it must exist.
    """

    def __init__(self, root: Path) -> None:
        self._objects = root / "objects"
        self._staging = root / "staging"
        self.uploads = root / "uploads"
        for directory in (self._objects, self._staging, self.uploads):
            directory.mkdir(exist_ok=True)
        sync_directory(root)
        self._flushed: set[Path] = set()
        self._threads = ThreadPoolExecutor(WAITING_THREADS, thread_name_prefix="synapsefs-blob")
        self._helper = ThreadPoolExecutor(THREADS, thread_name_prefix="synapsefs-digest")

    async def run(self, work: Callable[[], T]) -> T:
        """Run blocking file work in a thread of the store."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def digests(self, names: Sequence[str] = ALL_DIGESTS) -> Digests:
        """Begin checksums, which two threads compute where that pays."""
        return Digests(names, self._helper)

    def stage(self, digests: Sequence[str] = ALL_DIGESTS) -> Staged:
        """Begin a new file; only one with all digests can become an object."""
        return Staged(self, digests)

    async def receive(
        self,
        stream: AsyncIterable[bytes],
        *,
        digests: Sequence[str] = ALL_DIGESTS,
        limit: int | None = None,
    ) -> Staged:
        """Stage a stream with bounded memory, hashing and writing in a thread.

        Parameters
        ----------
        stream
            Pieces of the body; for a request ``request.content.iter_any()``.
        digests
            Algorithms to compute.
        limit
            Most bytes to accept.

        Returns
        -------
        Staged
            Not committed yet. A last piece may still be in memory, so that a small body costs
            one visit to a thread: its commit.

        Raises
        ------
        TooLargeError
            More than `limit` bytes came. Nothing is left behind.
        OSError
            The disk refused. Nothing is left behind.
        """
        staged = self.stage(digests)
        try:
            for block in await pump(self.run, stream, staged.flush, limit):
                staged.add(block)
        except BaseException:
            staged.discard()
            raise
        return staged

    async def commit(self, staged: Staged) -> Blob:
        """Run :meth:`Staged.commit` in a thread; on failure nothing is left behind."""
        return await self.run(lambda: _within(staged, staged.commit))

    async def keep(self, staged: Staged, path: Path) -> None:
        """Run :meth:`Staged.keep_as` in a thread; on failure nothing is left behind."""
        await self.run(lambda: _within(staged, lambda: staged.keep_as(path)))

    def path(self, sha256: str) -> Path:
        """Return where an object is kept, whether or not it is there."""
        return self._objects / sha256[:2] / sha256

    def temporary(self) -> Path:
        """Return a new name for a file that is being written."""
        return self._staging / secrets.token_hex(16)

    def publish(self, file: BinaryIO, path: Path, blob: Blob, *, keep: bool = False) -> bool:
        """Make the open file at `path` the object `blob`; it blocks.

        Parameters
        ----------
        file, path
            The complete file, and its name.
        blob
            Its checksums and size.
        keep
            Leave the name `path` in place as well.

        Returns
        -------
        bool
            False when the object was there already, and `path` was left alone.

        Raises
        ------
        OSError
            It could not be flushed or renamed.
        """
        target = self.path(blob.sha256)
        if target.parent not in self._flushed:
            target.parent.mkdir(exist_ok=True)
            sync_directory(self._objects)
            self._flushed.add(target.parent)
        with _locked(target.parent, fcntl.LOCK_SH) as directory:
            if _is_stored(target, blob.size):
                os.fsync(directory)
                return False
            os.fsync(file.fileno())
            if keep:
                link = self.temporary()
                os.link(path, link)
                path = link
            os.replace(path, target)
            os.fsync(directory)
        return True

    def touch(self, sha256: str) -> bool:
        """Keep an object from being collected for a while; it blocks.

        Returns
        -------
        bool
            Whether it is there.
        """
        path = self.path(sha256)
        with contextlib.suppress(FileNotFoundError), _locked(path.parent, fcntl.LOCK_SH):
            os.utime(path)
            return True
        return False

    def shards(self) -> list[str]:
        """Return how the names of objects begin, for each folder of them; it blocks."""
        return sorted(entry.name for entry in os.scandir(self._objects))

    def untouched(self, shard: str, since: float) -> list[str]:
        """Return the objects of a folder that nobody stored or touched since then; it blocks."""
        found = []
        with os.scandir(self._objects / shard) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if entry.stat().st_mtime <= since:
                        found.append(entry.name)
        return found

    def remove(self, sha256: str, since: float, confirm: Callable[[], bool]) -> bool:
        """Remove an object that nobody stored or touched since then; it blocks.

        Parameters
        ----------
        sha256
            The object.
        since
            Unix time in seconds.
        confirm
            Says whether it may go. Meanwhile nobody, in this process or another, can store or
            touch it.

        Returns
        -------
        bool
            Whether it was removed.
        """
        path = self.path(sha256)
        with _locked(path.parent, fcntl.LOCK_EX), contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime > since or not confirm():
                return False
            path.unlink()
            return True
        return False

    def join(self, parts: Sequence[Path]) -> Blob:
        """Make one object of files, in order, with bounded memory; it blocks.

        Parameters
        ----------
        parts
            The files. They are left alone.

        Returns
        -------
        Blob
            The new object.
        """
        with self.stage() as staged:
            copying = self._helper.submit(staged.copy, parts)
            try:
                for part in parts:
                    with open(part, "rb", buffering=0) as file:
                        while block := file.read(BLOCK):
                            staged.digests.update([block])
            finally:
                wait([copying])
            copying.result()
            return staged.commit()

    def sweep(self, age: float, kept: Collection[str]) -> None:
        """Remove files on their way that nobody touched for `age` seconds; it blocks.

        Parameters
        ----------
        age
            In seconds.
        kept
            Names of files that stay, however old.
        """
        oldest = time.time() - age
        for path in (*self._staging.iterdir(), *self.uploads.iterdir()):
            if path.name in kept:
                continue
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()

    def close(self) -> None:
        """Wait for running work."""
        self._threads.shutdown(wait=True)
        self._helper.shutdown(wait=True)


async def pump(
    run: Callable[[Callable[[], None]], Awaitable[None]],
    stream: AsyncIterable[bytes],
    write: Callable[[list[bytes]], None],
    limit: int | None = None,
) -> list[bytes]:
    """Pass a stream on in large blocks; while one is written, the next one arrives.

    Parameters
    ----------
    run
        Runs a function in a thread, such as :meth:`BlobStore.run`.
    stream
        Pieces of any size.
    write
        Gets the pieces of one block; it may block.
    limit
        Most bytes to accept.

    Returns
    -------
    list of bytes
        The pieces at the end, less than :data:`BLOCK`, which were not written.

    Raises
    ------
    TooLargeError
        More than `limit` bytes came.
    """
    writing: asyncio.Future[None] | None = None
    pieces: list[bytes] = []
    waiting = total = 0
    try:
        async for piece in stream:
            pieces.append(piece)
            waiting += len(piece)
            total += len(piece)
            if limit is not None and total > limit:
                raise TooLargeError
            if waiting >= BLOCK:
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(run(partial(write, pieces)))
                pieces, waiting = [], 0
    finally:
        if writing is not None:
            await asyncio.shield(writing)
    return pieces


def write_fully(file: BinaryIO, data: bytes | memoryview) -> None:
    """Write all of `data` to an unbuffered file."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def sync_directory(path: Path) -> None:
    """Flush a directory, so that names in it survive a power loss."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(directory: Path, kind: int) -> Iterator[int]:
    """Hold a lock on a directory, which processes that were forked meanwhile do not keep."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, kind)
        yield descriptor
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)


def _is_stored(path: Path, size: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size == size:
            os.utime(path)
            return True
    return False


def _within(staged: Staged, work: Callable[[], T]) -> T:
    with staged:
        return work()


BLOBS: Final = web.AppKey("blobs", BlobStore)
