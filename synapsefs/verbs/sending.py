"""What all writes share: local files and bytes that arrive first, and then become visible."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs.errors import MissingContentError
from synapsefs.local.files import local_size
from synapsefs.local.manifest import METADATA, Said
from synapsefs.location import Location, Root
from synapsefs.services.base import UNKNOWN_SIZE, NewFile, Staged
from synapsefs.transfer import stage_file
from synapsefs.verbs.plan import ComparingVerbs
from synapsefs.verbs.staging import StagingVerbs


def with_options(options: Mapping[str, Any], said: Said) -> dict[str, Any]:
    """Give options of a file with what a manifest says of it, which takes precedence."""
    metadata = {**options.get(METADATA, {}), **said.get(METADATA, {})}
    return {**options, **said, **({METADATA: metadata} if metadata else {})}


def new_size(path: str) -> int:
    """Give the bytes of a local file as :class:`NewFile` has them. It blocks."""
    size = local_size(path)
    return UNKNOWN_SIZE if size is None else size


class SendingVerbs(StagingVerbs, ComparingVerbs):
    """Sends files: known content not at all, many files together, the others one by one."""

    async def _send(
        self,
        sends: Sequence[NewFile],
        callback: Any,
        counter: Any = DEFAULT_CALLBACK,
    ) -> None:
        """Send files whose places have been checked, and make them visible together."""
        callback.set_size(sum(max(item.size, 0) for item in sends))
        counter.set_size(len(sends))
        there = await self._sent_together(sends, callback, counter)
        left = [item for item in sends if item.location not in there]
        staged = await self._arrived(
            [self._stage_counted(item, callback, counter) for item in left]
        )
        await self._publish_sent(sends, {item.location: item for item in staged} | there)

    async def _publish_sent(
        self, sends: Sequence[NewFile], staged: Mapping[Location, Staged]
    ) -> None:
        """Make files visible; content that the service has no more is sent after all."""
        if self._intrans:
            await self._publish_or_defer(list(staged.values()))
            return
        try:
            try:
                await self.publish(list(staged.values()))
                return
            except MissingContentError as error:
                missing = set(error.locations)
            work = [
                self._stage_file(item, DEFAULT_CALLBACK)
                for item in sends
                if item.location in missing
            ]
            again = {item.location: item for item in await self._arrived(work)}
        except BaseException as error:
            await asyncio.shield(self.discard(list(staged.values()), error))
            raise
        await self._publish_or_discard(list({**staged, **again}.values()))

    async def _sent_together(
        self, sends: Sequence[NewFile], callback: Any, counter: Any, *, deferred: bool = False
    ) -> dict[Location, Staged]:
        """Send by a route for many files, where a service has such a route.

        What is published later is sent in any case, so that the end of a transaction cannot fail.
        """
        found: dict[Location, Staged] = {}

        def report(size: int, files: int) -> None:
            callback.relative_update(size)
            counter.relative_update(files)

        for files in _by_root(sends):
            service = await self._service(files[0].location)
            found |= await service.upload_many(files, report, deferred=deferred or self._intrans)
        return found

    async def _stage_counted(self, item: NewFile, callback: Any, counter: Any) -> Staged:
        staged = await self._stage_file(item, callback)
        counter.relative_update(1)
        return staged

    async def _stage_file(self, item: NewFile, callback: Any) -> Staged:
        return await stage_file(
            await self._service(item.location),
            str(item.source),
            item.location,
            exclusive=item.exclusive,
            progress=callback.relative_update,
            options=item.options,
            keeping=self._keeping(item.location, item.resume),
        )


def _by_root(sends: Sequence[NewFile]) -> list[list[NewFile]]:
    """Group files by service; what has no size before its end is left out."""
    found: dict[Root | None, list[NewFile]] = {}
    for item in sends:
        if item.size >= 0:
            found.setdefault(item.location.root, []).append(item)
    return list(found.values())
