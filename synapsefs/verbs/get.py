"""Copying to disk: get; each file has its place when it is whole and verified."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs import concurrency
from synapsefs.checkpoint import TransferKey
from synapsefs.download import download
from synapsefs.errors import InvalidRequestError, naming
from synapsefs.local.files import resolve_target
from synapsefs.local.zip import UnpackLimits
from synapsefs.services.base import Entry
from synapsefs.verbs.calls import mirrored
from synapsefs.verbs.expand import expand_get, listed, warn_left_out
from synapsefs.verbs.plan import FAULTS, UNCHANGED, Plans, TransferOptions
from synapsefs.verbs.zip import fetch_unpacked, unpack_limits, unpacked_at


@mirrored("get", "get_file")
class GetVerbs(Plans):
    """The verbs that copy files to disk; what was there stays until a file is whole."""

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
            archives to directories: those named, or with ``recursive`` the zipped
            directories among the files.
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
        callback, version = kwargs.pop("callback", DEFAULT_CALLBACK), kwargs.get("version")
        unzip = unpack_limits(kwargs.pop("unzip", None))
        transfer = TransferOptions.of(kwargs)
        if isinstance(lpath, os.PathLike):
            lpath = os.fspath(lpath)
        if transfer.sync or transfer.dry_run:
            await self._refresh(listed(rpath))
        maxdepth = kwargs.get("maxdepth")
        pairs = await expand_get(self, rpath, lpath, recursive=recursive, maxdepth=maxdepth)
        warn_left_out(pairs.left_out, recursive=recursive)
        entries = await self._entries_at(pairs.sources, version)
        work = list(zip(entries, pairs.targets, strict=True))
        files = [(entry, target) for entry, target in work if entry.kind == "file"]
        _require_one_each(target for _, target in files)
        outcomes: dict[str, Exception | None] = dict.fromkeys([target for _, target in files])
        if transfer.sync or transfer.dry_run:
            sized = await self._with_sizes([entry for entry, _ in files])
            targets = [target for _, target in files]
            infos = [entry.info() for entry in sized]
            plan = await self._plan_get(zip(infos, targets, strict=True), compare=transfer.sync)
            if transfer.dry_run:
                return [step.shown() for step in plan]
            unchanged = {step.target for step in plan if step.action == UNCHANGED}
            work = [pair for pair in work if pair[1] not in unchanged]
        if callback is not DEFAULT_CALLBACK:
            sized = await self._with_sizes([entry for entry, _ in work])
            callback.set_size(sum(entry.size or 0 for entry in sized))
        fetch = partial(
            self._fetch,
            callback=callback,
            unzip=unzip,
            recursive=recursive,
            resume=kwargs.get("resume"),
        )
        failures = await self._fetch_all(work, fetch, transfer, unzip, recursive=recursive)
        return outcomes | failures if transfer.each else None

    async def _entries_at(self, paths: Sequence[str], version: str | int | None) -> list[Entry]:
        if version is not None:
            return [await self._entry_at(path, version) for path in paths]
        return await self._require(paths)

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
        entry, target = await self._entry_at(rpath, version), os.fspath(lpath)
        if callback is not DEFAULT_CALLBACK:
            callback.set_size((await self._with_sizes([entry]))[0].size)
        if entry.kind == "file":
            await asyncio.to_thread(_prepare, [target])
        await self._fetch(entry, target, callback=callback, resume=resume)

    async def _fetch_all(
        self,
        work: Sequence[tuple[Entry, str]],
        fetch: Any,
        transfer: TransferOptions,
        unzip: UnpackLimits | None,
        *,
        recursive: bool,
    ) -> dict[str, Exception | None]:
        """Fetch files and make directories; give what failed, where that is wanted."""
        plain = [
            target
            for entry, target in work
            if entry.kind == "file" and not _unpacks(entry, unzip, recursive=recursive)
        ]
        bad = await asyncio.to_thread(_prepare, plain, each=transfer.each)
        failures: dict[str, Exception | None] = {**bad}

        async def one(entry: Entry, target: str) -> None:
            try:
                await fetch(entry, target)
            except FAULTS as error:
                if not transfer.each:
                    raise
                failures[target] = error
            else:
                transfer.counter.relative_update(int(entry.kind == "file"))

        transfer.counter.set_size(sum(entry.kind == "file" for entry, _ in work))
        good = (one(entry, target) for entry, target in work if target not in bad)
        await concurrency.gather(good, self.options.max_concurrency)
        return failures

    async def _fetch(
        self,
        entry: Entry,
        target: str,
        *,
        callback: Any,
        unzip: UnpackLimits | None = None,
        recursive: bool = False,
        resume: bool | None = None,
    ) -> None:
        """Fetch one file to a place that was prepared, or make one directory."""
        if entry.kind == "directory":
            await asyncio.to_thread(os.makedirs, target, exist_ok=True)
        elif unzip is not None and _unpacks(entry, unzip, recursive=recursive):
            fetch = partial(self._download, entry, callback)
            path = entry.location.path
            await fetch_unpacked(fetch, unpacked_at(path, target), unzip, path)
        else:
            key = self._transfer_key(entry.location, resume)
            await self._download(entry, callback, target, key)

    async def _download(
        self, entry: Entry, callback: Any, target: str, key: TransferKey | None = None
    ) -> None:
        content = await (await self._service(entry.location)).open(entry)
        with naming(target):
            await download(content, target, callback.relative_update, key)


def _prepare(targets: Iterable[str], *, each: bool = False) -> dict[str, Exception]:
    """Make the directories of local files; refuse targets that are no files.

    Returns
    -------
    dict
        With ``each``, the targets where that cannot be, and why; otherwise that is raised.
    """
    bad: dict[str, Exception] = {}
    made: set[str] = set()
    for target in targets:
        folder = os.path.dirname(target) or "."
        try:
            resolve_target(target)
            if folder not in made:
                os.makedirs(folder, exist_ok=True)
        except FAULTS as error:
            if not each:
                raise
            bad[target] = error
        else:
            made.add(folder)
    return bad


def _require_one_each(targets: Iterable[str]) -> None:
    """Refuse two files for one local path, before any is fetched."""
    seen: set[str] = set()
    for target in map(os.path.abspath, targets):
        if target in seen:
            raise InvalidRequestError("two files for one path", target)
        seen.add(target)


def _unpacks(entry: Entry, unzip: UnpackLimits | None, *, recursive: bool) -> bool:
    """Say whether a file is unpacked: in a tree only what is a zipped directory."""
    if unzip is None or entry.kind != "file":
        return False
    return not recursive or bool(entry.details.get("is_collection"))
