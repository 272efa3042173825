"""Files being read, each pinned to the version that was there when it was opened."""

from __future__ import annotations

import concurrent.futures
from typing import Any, Protocol

from fsspec.asyn import AbstractAsyncStreamedFile
from fsspec.spec import AbstractBufferedFile

from synapsefs import sync
from synapsefs.cache import SMALL_START, SequentialCache, TailCache
from synapsefs.errors import ChangedError, NotFoundError, UnsupportedError
from synapsefs.integrity import SequentialCheck
from synapsefs.remote_object import RemoteObject
from synapsefs.services.base import Entry


class Home(Protocol):
    """What files being read ask of their filesystem."""

    loop: Any
    tails: TailCache


class SynapseReader(AbstractBufferedFile):
    """A file being read, pinned to the version that was there when it was opened.

    Read from its start to its end in order, it is verified against the service's checksum.

    Parameters
    ----------
    fs
        The filesystem.
    entry, remote
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
        remote: RemoteObject,
        *,
        block_size: int | str | None = None,
        cache_type: str | None = None,
        cache_options: dict[str, Any] | None = None,
        version: str | int | None = None,
        **kwargs: Any,
    ) -> None:
        self._remote = remote
        self._asked_for = version
        self._details = {**entry.info(), "size": remote.size}
        self._check = SequentialCheck(remote.expected, remote.size or 0, entry.location.path)
        self._hashing: concurrent.futures.Future[None] | None = None
        super().__init__(
            fs,
            entry.location.path,
            "rb",
            block_size or "default",
            cache_type=cache_type or SequentialCache.name,
            cache_options=cache_options,
            size=remote.size,
            **kwargs,
        )
        if isinstance(self.cache, SequentialCache):
            self.cache.submit = self._submit
            self.cache.hold(remote.head)

    def _submit(self, start: int, end: int) -> concurrent.futures.Future[bytes]:
        return sync.submit(self.fs.loop, self._remote.read_range(start, end))

    def _fetch_range(self, start: int, end: int) -> bytes:
        size, version = self.size, (self._remote.path, self._remote.version)
        end = min(end, size)
        held = self.fs.tails.get(version, start, end)
        if held is not None:
            return bytes(held)
        data = sync.wait(self._submit(start, end))
        self.fs.tails.put(version, start, data, size)
        return data

    def read(self, length: int | None = -1) -> bytes:
        """Read bytes; all that remain by default.

        Raises
        ------
        ChecksumError
            At the end of a sequential read whose bytes are not what the service says.
        """
        start = int(self.tell())
        length = -1 if length is None else length
        whole = start == 0 and not 0 <= length < self.size
        if whole and self.size > SMALL_START and not self.closed:
            data: bytes = sync.run(self.fs.loop, self._remote.read())
            self.loc = len(data)
            return data
        data = super().read(length)
        pieces = self._check.take(start, data)
        if pieces is not None:
            self._settle()
            work = self._check.hash(pieces, last=self._check.ended)
            self._hashing = sync.submit(self.fs.loop, work)
            if self._check.ended:
                self._settle()
        return data

    def _settle(self) -> None:
        hashing, self._hashing = self._hashing, None
        if hashing is not None:
            sync.wait(hashing)

    def close(self) -> None:
        """Close it, and give up what was being read ahead."""
        cache = getattr(self, "cache", None)
        if isinstance(cache, SequentialCache):
            cache.close()
        super().close()

    def __reduce__(self) -> Any:
        return _reopened, (self.fs, self.path, self.loc, self._asked_for, self._remote.version)

    @property
    def version(self) -> str:
        """The version that is read."""
        return self._remote.version


def _reopened(
    fs: Any, path: str, position: int, asked_for: str | int | None, opened: str | None = None
) -> Any:
    """Open a file again, in another process for instance, at the version that was opened.

    Raises
    ------
    ChangedError
        When that version is gone.
    """
    file = fs.open(path, "rb", version=asked_for)
    if opened not in {None, file.version}:
        try:
            file = fs.open(path, "rb", version=opened)
        except (NotFoundError, UnsupportedError) as error:
            words = "the file was replaced since it was opened, and the old version is gone"
            raise ChangedError(words, path) from error
    file.seek(position)
    return file


class AsyncReader(AbstractAsyncStreamedFile):
    """A file being read with ``await``; every read is one request.

    Read from its start to its end in order, it is verified against the service's checksum.
    """

    def __init__(self, fs: Home, entry: Entry, remote: RemoteObject) -> None:
        self._remote = remote
        self._check = SequentialCheck(remote.expected, remote.size or 0, entry.location.path)
        self._details = {**entry.info(), "size": remote.size}
        super().__init__(fs, entry.location.path, "rb", cache_type="none", size=remote.size)

    async def _fetch_range(self, start: int, end: int) -> bytes:
        return await self._remote.read_range(start, min(end, self.size))

    async def read(self, length: int | None = -1) -> bytes:
        """Read bytes; all that remain by default.

        Raises
        ------
        ChecksumError
            At the end of a sequential read whose bytes are not what the service says.
        """
        start = self.loc
        data: bytes = await super().read(-1 if length is None else length)
        pieces = self._check.take(start, data)
        if pieces is not None:
            await self._check.hash(pieces, last=self._check.ended)
        return data

    def __del__(self) -> None:
        """Do nothing: nothing is held, and the base's close would have to be awaited."""
