"""Files being read, each pinned to the version that was there when it was opened."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from fsspec.asyn import AbstractAsyncStreamedFile
from fsspec.spec import AbstractBufferedFile

from synapsefs import integrity, sync
from synapsefs.cache import SequentialCache, TailCache
from synapsefs.errors import ChangedError, NotFoundError, UnsupportedError
from synapsefs.remote_object import Content
from synapsefs.services.base import Entry
from synapsefs.transfer import read_range
from synapsefs.transport import Transport


class Home(Protocol):
    """What files being read ask of their filesystem."""

    loop: Any
    tails: TailCache
    transport: Transport


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
        self._check = _check_of(entry, content)
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
        data = sync.run(self.fs.loop, read_range(self.fs.transport, self._content, start, end))
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
        self._check.take(start, data)
        return data

    def __reduce__(self) -> Any:
        return _reopened, (self.fs, self.path, self.loc, self._asked_for, self._content.version)

    @property
    def version(self) -> str:
        """The version that is read."""
        return self._content.version


def _check_of(entry: Entry, content: Content) -> integrity.SequentialCheck:
    return integrity.SequentialCheck(content.expected, content.size or 0, entry.location.path)


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

    def __init__(self, fs: Home, entry: Entry, content: Content) -> None:
        self._content = content
        self._check = _check_of(entry, content)
        self._details = {**entry.info(), "size": content.size}
        super().__init__(fs, entry.location.path, "rb", cache_type="none", size=content.size)

    async def _fetch_range(self, start: int, end: int) -> bytes:
        return await read_range(self.fs.transport, self._content, start, min(end, self.size))

    async def read(self, length: int | None = -1) -> bytes:
        """Read bytes; all that remain by default.

        Raises
        ------
        ChecksumError
            At the end of a sequential read whose bytes are not what the service says.
        """
        start = self.loc
        data: bytes = await super().read(-1 if length is None else length)
        if len(data) > integrity.BATCH:
            await asyncio.to_thread(self._check.take, start, data)
        else:
            self._check.take(start, data)
        return data

    def __del__(self) -> None:
        """Do nothing: nothing is held, and the base's close would have to be awaited."""
