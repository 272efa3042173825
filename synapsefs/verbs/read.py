"""Reading bytes: cat, cat_file, cat_ranges, sign, and open for reading."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from synapsefs import concurrency
from synapsefs.errors import ChangedError, FolderError, NotFoundError, UnsupportedError
from synapsefs.location import Location
from synapsefs.remote_object import ByteRange, RemoteObject
from synapsefs.services.base import Entry
from synapsefs.verbs.base import Core
from synapsefs.verbs.calls import mirrored

T = TypeVar("T")


@mirrored("cat", "cat_file", "cat_ranges", "sign")
class ReadVerbs(Core):
    """The verbs that read bytes into memory."""

    async def _content(
        self, path: str, version: str | int | None = None
    ) -> tuple[Entry, RemoteObject]:
        """Open a file's bytes."""
        entry = await self._entry_at(path, version)
        if entry.kind != "file":
            raise FolderError("this is a directory", entry.location.path)
        return entry, await (await self._service(entry.location)).open(entry)

    async def _read_content(
        self, path: str, version: str | int | None, use: Callable[[RemoteObject], Awaitable[T]]
    ) -> tuple[Entry, RemoteObject, T]:
        """Open a file's bytes and use them.

        A file that is gone or was replaced since it was listed is looked up once more.
        """
        began = time.monotonic()
        try:
            entry, content = await self._content(path, version)
            return entry, content, await use(content)
        except (ChangedError, FolderError, NotFoundError):
            if version is not None or not await self._renewed(Location.parse(path), began):
                raise
        entry, content = await self._content(path)
        return entry, content, await use(content)

    async def _sized_content(
        self, path: str, version: str | int | None = None
    ) -> tuple[Entry, RemoteObject]:
        """Open a file's bytes, their number known."""
        entry, remote, _ = await self._read_content(path, version, RemoteObject.probe)
        return entry, remote

    async def _cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        version: str | int | None = None,
        **kwargs: Any,
    ) -> bytes:
        """Read a file, or the bytes from ``start`` to ``end``; negative counts from the end.

        A whole file is verified against the service's checksum. With ``version``, as
        ``revisions`` lists it, they are the file's bytes then.

        Raises
        ------
        NotFoundError, FolderError
            When there is no file.
        ChecksumError
            When the bytes are not what the service says.
        """
        span = ByteRange(start, end)
        _, _, data = await self._read_content(path, version, lambda remote: remote.read(span))
        return data

    async def _cat_ranges(
        self,
        paths: list[str],
        starts: Any,
        ends: Any,
        max_gap: int | None = None,
        batch_size: int | None = None,
        on_error: str = "return",
        **kwargs: Any,
    ) -> list[Any]:
        """Read slices of files; neighbours in one file travel in one request.

        Parameters
        ----------
        paths, starts, ends
            One slice each; a single start or end serves all.
        max_gap
            Bytes between two slices that are fetched along; 64 KiB when left out.
        on_error
            ``return`` puts an exception in a failed slice's place, ``raise`` raises it.
        """
        if not isinstance(paths, list):
            raise TypeError("paths is a list")
        slices = _slices(paths, starts, ends)
        by_path: dict[str, list[int]] = {}
        for index, path in enumerate(paths):
            by_path.setdefault(self._strip_protocol(path), []).append(index)

        async def one(path: str, indices: Sequence[int]) -> list[Any]:
            spans = [slices[index] for index in indices]
            try:
                _, _, found = await self._read_content(
                    path, None, lambda remote: remote.read_ranges(spans, max_gap)
                )
                return list(found)
            except OSError as error:
                if on_error != "return":
                    raise
                return [error] * len(indices)

        work = (one(path, indices) for path, indices in by_path.items())
        answers = await concurrency.gather(work, batch_size or self.options.max_concurrency)
        found: dict[int, Any] = {}
        for indices, values in zip(by_path.values(), answers, strict=True):
            found.update(zip(indices, values, strict=True))
        return [found[index] for index in range(len(paths))]

    async def _sign(self, path: str, expiration: int = 100, **kwargs: Any) -> str:
        """Give a URL that reads a file without credentials.

        Parameters
        ----------
        expiration
            Not used: the services decide how long their URLs live.

        Raises
        ------
        UnsupportedError
            For text that the service keeps inside the entry: it has no URL.
        """
        _, content = await self._content(path)
        if content.inline is not None:
            raise UnsupportedError("this text is stored inline and has no URL", content.path)
        return await content.locate(True)


def _slices(paths: Sequence[str], starts: Any, ends: Any) -> list[ByteRange]:
    firsts = list(starts) if isinstance(starts, Sequence) else [starts] * len(paths)
    lasts = list(ends) if isinstance(ends, Sequence) else [ends] * len(paths)
    if not len(paths) == len(firsts) == len(lasts):
        raise ValueError("paths, starts and ends have the same length")
    return [ByteRange(start, end) for start, end in zip(firsts, lasts, strict=True)]
