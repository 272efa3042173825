"""Reading bytes: cat, cat_file, cat_ranges, get, sign, and open for reading."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs import concurrency
from synapsefs.errors import UnsupportedError
from synapsefs.remote_object import ByteRange
from synapsefs.verbs.batch import Batch
from synapsefs.verbs.calls import mirrored
from synapsefs.verbs.each import TransferOptions
from synapsefs.verbs.expand import pairs_to_get
from synapsefs.verbs.fetching import Fetch, FetchingVerbs, prepare
from synapsefs.verbs.resolving import listed, warn_left_out
from synapsefs.verbs.zip import unpack_limits

_fetches: Batch[Fetch] = Batch("fetches")


@mirrored("cat", "cat_file", "cat_ranges", "get", "get_file", "sign")
class ReadingVerbs(FetchingVerbs):
    """The verbs that read bytes."""

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

    async def _get(self, rpath: Any, lpath: Any, recursive: bool = False, **kwargs: Any) -> Any:
        """Fetch files or trees to disk.

        Each file is verified under a temporary name and put in place whole; what was there stays
        when that fails. ``callback`` counts bytes. No remote name leads out of the local target.
        ``resume`` and ``version`` are those of :meth:`get_file`.

        Parameters
        ----------
        rpath, lpath, recursive, kwargs
            As for all fsspec filesystems.
        kwargs
            ``unzip=True``, or an :class:`~synapsefs.local.zip.UnpackLimits`, unpacks zip
            archives to folders: those named, or with ``recursive`` the zipped directories among the files.
            An archive appears whole or not at all.
            ``sync=True``, ``dry_run=True``, ``on_error="return"`` and ``files_callback`` as for
            :meth:`put`; the dictionary has local paths.

        Returns
        -------
        list, dict or None
            As :meth:`put` gives.

        Raises
        ------
        InvalidPathError
            For a remote name that cannot be a local one.
        InvalidRequestError, TooLargeError
            With ``unzip``, for what is no zip archive, or not safe to unpack.
        """
        callback = kwargs.pop("callback", DEFAULT_CALLBACK)
        unzip = unpack_limits(kwargs.pop("unzip", None))
        manner = TransferOptions.of(kwargs)
        if isinstance(lpath, os.PathLike):
            lpath = os.fspath(lpath)
        if manner.sync or manner.dry_run:
            await self._refresh(listed(rpath))
        pairs = await pairs_to_get(self, rpath, lpath, kwargs, recursive=recursive)
        warn_left_out(pairs.left_out, recursive=recursive)
        rpath, lpath = list(pairs.sources), list(pairs.targets)
        with _fetches.collecting() as fetches:
            if manner.dry_run:
                one = partial(self._get_file, version=kwargs.get("version"))
                await concurrency.gather(map(one, rpath, lpath), 1)
            else:
                await super()._get(rpath, lpath, recursive=recursive, **kwargs)
        return await self._fetch_all(fetches, callback, manner, unzip, recursive=recursive)

    async def _get_file(
        self,
        rpath: str,
        lpath: Any,
        callback: Any = DEFAULT_CALLBACK,
        version: str | int | None = None,
        resume: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Fetch one file to disk, verified and put in place whole.

        Parameters
        ----------
        rpath, lpath
            From where, to where.
        callback
            Counts bytes.
        version
            Fetch what the file was then, as ``revisions`` lists it.
        resume
            Go on where an interrupted call of an earlier process stopped, and let a later one do
            so; for files of more than one part. As the filesystem was made when left out.

        Raises
        ------
        NotFoundError
            When nothing is there.
        ChecksumError
            When the bytes are not what the service says.
        """
        item = Fetch(self._strip_protocol(rpath), os.fspath(lpath), resume, version)
        if not _fetches.add(item):
            entry = await self._entry_at(rpath, version)
            if callback is not DEFAULT_CALLBACK:
                callback.set_size((await self._measured([entry]))[0].size)
            await asyncio.to_thread(prepare, [item.target] if entry.kind == "file" else [])
            await self._fetch(item, entry, callback)

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
