"""The one way in, which all writes take.

All files of a call are checked, then their bytes arrive, then they become visible together, or at
the end of the transaction. Where anything fails before, what has arrived is discarded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs import concurrency
from synapsefs.checkpoint import keep_or_discard
from synapsefs.errors import InvalidRequestError, MissingContentError, error_path
from synapsefs.location import Location
from synapsefs.services.base import (
    UNKNOWN_SIZE,
    NewFile,
    Staged,
    Upload,
    publish_key,
    write_options,
)
from synapsefs.transfer import stage_bytes, stage_file
from synapsefs.verbs.base import by_root
from synapsefs.verbs.expand import require_one_each, require_separate
from synapsefs.verbs.plan import FAULTS, Plans
from synapsefs.verbs.transaction import Transactions, transaction_of

Failures = dict[Location, Exception]
Stage = Callable[[NewFile], Awaitable[Staged]]


class Writes(Transactions, Plans):
    """The one way in."""

    async def _write(
        self,
        files: Sequence[NewFile],
        *,
        stage: Stage | None = None,
        callback: Any = DEFAULT_CALLBACK,
        counter: Any = DEFAULT_CALLBACK,
        failures: Failures | None = None,
        at_once: bool = False,
        batch_size: int | None = None,
    ) -> None:
        """Let the bytes of files that have been checked arrive, and make the files visible.

        Parameters
        ----------
        stage
            Sends one file; its local file or its bytes when left out.
        callback, counter
            Count bytes and files.
        failures
            Takes what becomes of files that fail, which then stop no others but those that would
            be published with them.
        at_once
            Publish also inside a transaction.
        batch_size
            Files in flight at a time.
        """
        transaction = None if at_once else transaction_of(self)
        callback.set_size(sum(max(file.size, 0) for file in files))
        counter.set_size(len(files))

        def report(size: int, number: int = 0) -> None:
            callback.relative_update(size)
            if number:
                counter.relative_update(number)

        one = stage or partial(self._stage, report=report)
        staged: dict[Location, Staged] = {}
        try:
            if stage is None and len(files) > 1:
                deferred = transaction is not None or failures is not None
                await self._upload_many(files, staged, report, deferred, failures)
            left = [file for file in files if file.location not in staged]

            async def arrive(file: NewFile) -> None:
                try:
                    staged[file.location] = await one(file)
                except FAULTS as error:
                    if failures is None:
                        raise
                    failures[file.location] = error
                else:
                    report(0, 1)

            if len(left) == 1:
                await arrive(left[0])
            else:
                at_a_time = batch_size or self.options.max_concurrency
                await concurrency.gather(map(arrive, left), at_a_time)
            if failures is not None:
                await self._publish_each(files, staged, failures)
            elif transaction is None:
                await self._publish_all(files, staged, one)
            else:
                transaction.require_separate(file.location for file in files)
                transaction.files.extend(staged[file.location] for file in files)
        except BaseException as error:
            await asyncio.shield(self.discard(list(staged.values()), error))
            raise

    async def _upload_many(
        self,
        files: Sequence[NewFile],
        staged: dict[Location, Staged],
        report: Callable[[int, int], None],
        deferred: bool,
        failures: Failures | None,
    ) -> None:
        """Send files by a route for many, where a service has one."""
        for group in by_root(files, lambda file: file.location):
            service = await self._service(group[0].location)
            try:
                staged |= await service.upload_many(group, report, deferred=deferred)
            except FAULTS:
                if failures is None:
                    raise

    async def _stage(self, file: NewFile, report: Callable[[int], None]) -> Staged:
        service = await self._service(file.location)
        if isinstance(file.source, str):
            key = self._transfer_key(file.location, file.resume)
            return await stage_file(service, file, report, key)
        staged = await stage_bytes(service, file, file.source)
        report(file.size)
        return staged

    async def _publish_all(
        self, files: Sequence[NewFile], staged: dict[Location, Staged], stage: Stage
    ) -> None:
        """Make files visible; send those of which the service has lost the content meanwhile."""
        try:
            await self.publish([staged[file.location] for file in files])
        except MissingContentError as error:
            missing = [file for file in files if file.location in error.locations]

            async def again(file: NewFile) -> None:
                staged[file.location] = await stage(file)

            await concurrency.gather(map(again, missing), self.options.max_concurrency)
            await self.publish([staged[file.location] for file in files])

    async def _publish_each(
        self, files: Sequence[NewFile], staged: dict[Location, Staged], failures: Failures
    ) -> None:
        """Make files visible: all together, or what belongs together where that fails."""
        good = [file for file in files if file.location in staged]
        if failures:
            good = await self._passing(good, failures)
            passing = {file.location for file in good}
            alone = [location for location in staged if location not in passing]
            await self.discard([staged.pop(location) for location in alone])
        try:
            await self.publish([staged[file.location] for file in good])
        except FAULTS:
            for group in _together(good):
                held = [staged.pop(file.location) for file in group]
                try:
                    await self.publish(held)
                except FAULTS as error:
                    failures |= dict.fromkeys([item.location for item in held], error)
                    await self.discard(held, error)

    async def publish(self, staged: Sequence[Staged]) -> None:
        """Make finished files visible, those of one service together.

        Collections come first: their units go again when the datasets fail.
        """
        groups = by_root(staged, lambda item: item.location)

        async def publish(number: int) -> None:
            group, following = groups[number], partial(publish, number + 1)
            service = await self._service(group[0].location)
            with error_path(group[0].location.path):
                await service.publish(group, following if number + 1 < len(groups) else None)

        if groups:
            await publish(0)
        for item in staged:
            if item.checkpoint is not None:
                await asyncio.to_thread(item.checkpoint.discard)

    async def discard(self, staged: Sequence[Staged], error: BaseException | None = None) -> None:
        """Clear away finished files that are not published, but what ``error`` lets continue."""
        for item in staged:
            journal, kept = item.checkpoint, False
            if journal is not None:
                kept = await asyncio.to_thread(keep_or_discard, journal, error)
            if item.abandon is not None and not kept:
                await item.abandon()

    async def _check(self, files: Sequence[NewFile], *, complete: bool | None = None) -> None:
        """Check all files before any byte is sent; in a transaction units may still grow."""
        locations = [file.location for file in files]
        transaction = transaction_of(self)
        if len(files) > 1:
            require_one_each(locations)
            require_separate(locations)
        if transaction is not None:
            transaction.require_separate(locations)
        complete = transaction is None if complete is None else complete
        for group in by_root(files, lambda file: file.location):
            service = await self._service(group[0].location)
            with error_path(group[0].location.path):
                await service.check(group, complete=complete)

    async def _passing(self, files: Sequence[NewFile], failures: Failures) -> list[NewFile]:
        """Give the files that may be sent; note of the others why not."""
        try:
            await self._check(files)
        except FAULTS:
            passing: list[NewFile] = []
            for group in _together(files):
                try:
                    await self._check(group)
                except FAULTS as error:
                    failures |= dict.fromkeys([file.location for file in group], error)
                else:
                    passing += group
            return passing
        return list(files)

    async def _start_upload(
        self, path: str, block_size: int | None, *, exclusive: bool, lone: bool, given: Any
    ) -> Upload:
        """Begin to write a file whose bytes come later; ``lone`` unless others follow it."""
        options = write_options(given)
        source = memoryview(b"")
        file = NewFile(Location.parse(path), source, UNKNOWN_SIZE, exclusive, options)
        await self._check([file], complete=lone)
        service = await self._service(file.location)
        with error_path(file.location.path):
            upload = await service.start_upload(file)
        if block_size:
            upload.part_size = max(block_size, upload.smallest_part)
        return upload


def is_exclusive(mode: str) -> bool:
    """Read fsspec's ``mode``: whether nothing may be replaced.

    Raises
    ------
    InvalidRequestError
        For anything but ``overwrite`` and ``create``.
    """
    if mode not in {"overwrite", "create"}:
        raise InvalidRequestError(f"mode is 'overwrite' or 'create', not {mode!r}")
    return mode == "create"


def _together(files: Sequence[NewFile]) -> list[list[NewFile]]:
    """Group files that only appear together."""
    groups: dict[Hashable, list[NewFile]] = {}
    for file in files:
        groups.setdefault(publish_key(file.location), []).append(file)
    return list(groups.values())
