"""What all copies to disk share: files that are compared, fetched, verified and put in place."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs import concurrency
from synapsefs.download import download
from synapsefs.errors import InvalidRequestError, naming
from synapsefs.local.files import resolve_target
from synapsefs.local.zip import UnpackLimits
from synapsefs.resume import TransferKey
from synapsefs.services.base import Entry
from synapsefs.verbs.each import FAULTS, TransferOptions
from synapsefs.verbs.plan import UNCHANGED, ComparingVerbs
from synapsefs.verbs.zip import fetch_unpacked, unpacked_at


@dataclass(frozen=True, slots=True)
class Fetch:
    """A file to get: from where, to which local path, continued or not, of which version."""

    source: str
    target: str
    resume: bool | None
    version: str | int | None = None


class FetchingVerbs(ComparingVerbs):
    """Fetches files; each has its place when it is whole, and what was there stays until then."""

    async def _fetch_all(
        self,
        fetches: Sequence[Fetch],
        callback: Any,
        manner: TransferOptions,
        unzip: UnpackLimits | None,
        *,
        recursive: bool,
    ) -> Any:
        """Fetch files and folders as ``manner`` says; local places are looked at before."""
        entries = [await self._entry_at(item.source, item.version) for item in fetches]
        work = list(zip(fetches, entries, strict=True))
        _require_one_each(item.target for item, entry in work if entry.kind == "file")
        outcomes: dict[str, Exception | None] = {
            item.target: None for item, entry in work if entry.kind == "file"
        }
        if manner.sync or manner.dry_run:
            measured = await self._measured_all(entries)
            files = [
                (entry.info(), item.target)
                for entry, item in zip(measured, fetches, strict=True)
                if entry.kind == "file"
            ]
            steps = await self._steps_to_get(files, compare=manner.sync)
            if manner.dry_run:
                return [step.shown() for step in steps]
            alone = {step.target for step in steps if step.action == UNCHANGED}
            work = [(item, entry) for item, entry in work if item.target not in alone]
        if callback is not DEFAULT_CALLBACK:
            counted = await self._measured_all([entry for _, entry in work])
            callback.set_size(sum(entry.size or 0 for entry in counted))
        await self._fetch_each(work, callback, manner, unzip, outcomes, recursive=recursive)
        return outcomes if manner.each else None

    async def _fetch_each(
        self,
        work: Sequence[tuple[Fetch, Entry]],
        callback: Any,
        manner: TransferOptions,
        unzip: UnpackLimits | None,
        outcomes: dict[str, Exception | None],
        *,
        recursive: bool,
    ) -> None:
        unpacked = {
            item.target: unzip is not None and _unpacks(entry, recursive) for item, entry in work
        }
        plain = [item.target for item, entry in work if entry.kind == "file"]
        plain = [target for target in plain if not unpacked[target]]
        bad = await asyncio.to_thread(prepare, plain, each=manner.each)
        outcomes |= bad

        async def fetch(item: Fetch, entry: Entry) -> None:
            try:
                await self._fetch(item, entry, callback, unzip if unpacked[item.target] else None)
            except FAULTS as error:
                if not manner.each:
                    raise
                outcomes[item.target] = error
            else:
                manner.counter.relative_update(int(entry.kind == "file"))

        manner.counter.set_size(sum(entry.kind == "file" for _, entry in work))
        good = (fetch(*pair) for pair in work if pair[0].target not in bad)
        await concurrency.gather(good, self.options.max_concurrency)

    async def _fetch(
        self, item: Fetch, entry: Entry, callback: Any, unzip: UnpackLimits | None = None
    ) -> None:
        """Fetch one file to a place that was prepared, or make one folder."""
        if entry.kind == "directory":
            await asyncio.to_thread(os.makedirs, item.target, exist_ok=True)
            return
        if unzip is not None:
            fetch = partial(self._download, entry, callback)
            target = unpacked_at(item.source, item.target)
            await fetch_unpacked(fetch, target, unzip, entry.location.path)
            return
        keeping = self._keeping(entry.location, item.resume)
        await self._download(entry, callback, item.target, keeping)

    async def _download(
        self, entry: Entry, callback: Any, target: str, keeping: TransferKey | None = None
    ) -> None:
        content = await (await self._service(entry.location)).content(entry)
        with naming(target):
            await download(content, target, callback.relative_update, keeping)


def prepare(targets: Iterable[str], *, each: bool = False) -> dict[str, Exception]:
    """Make the directories of local files; refuse targets that are no files to be written.

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


def _unpacks(entry: Entry, recursive: bool) -> bool:
    """Say whether ``unzip`` is meant for a file: in a tree only for what is a zipped directory."""
    return entry.kind == "file" and (not recursive or bool(entry.details.get("is_collection")))
