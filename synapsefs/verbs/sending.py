"""What all writes share: local files and bytes that arrive first, and then become visible."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs.errors import InvalidRequestError
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
        known = there = await self._present(sends)
        for item in there.values():
            callback.relative_update(item.size)
        counter.relative_update(len(there))
        there = known | await self._sent_together(sends, known, callback, counter)
        left = [item for item in sends if item.location not in there]
        staged = await self._arrived(
            [self._stage_counted(item, callback, counter) for item in left]
        )
        await self._publish_sent(sends, staged, there, known)

    async def _publish_sent(
        self,
        sends: Sequence[NewFile],
        staged: Sequence[Staged],
        there: Mapping[Location, Staged],
        known: Mapping[Location, Staged],
    ) -> None:
        """Make files visible; those that the service cannot bind by their checksum go one by one.

        Parameters
        ----------
        sends
            All files of the call.
        staged, there
            Those sent one by one, and the others.
        known
            Those that were not sent at all, as the service had their content.
        """
        whole = [*staged, *there.values()]
        if self._intrans or not there or any(i.location.root is Root.DATASETS for i in sends):
            await self._publish_or_defer(whole)
            return
        try:
            try:
                await self.publish(whole)
                return
            except InvalidRequestError as error:
                unbound = await self._unbound(sends, there, known, error)
                if not unbound:
                    raise
            work = [self._stage_file(item, DEFAULT_CALLBACK) for item in unbound]
            again = {item.location: item for item in await self._arrived(work)}
        except BaseException as error:
            await asyncio.shield(self.discard(whole, error))
            raise
        await self._publish_or_discard([*staged, *({**there, **again}).values()])

    async def _unbound(
        self,
        sends: Sequence[NewFile],
        there: Mapping[Location, Staged],
        known: Mapping[Location, Staged],
        error: InvalidRequestError,
    ) -> list[NewFile]:
        """Give the files that were refused for their checksum, not for any other reason.

        Those are the ones that the service has no more; else all that it took by their checksum.
        """
        still = await self._present(sends) if known else {}
        gone = set(known) - set(still)
        if not gone and "checksum" in str(error).lower():
            gone = set(there)
        return [item for item in sends if item.location in gone]

    async def _present(self, sends: Sequence[NewFile]) -> dict[Location, Staged]:
        """Find out what need not be sent; in a transaction all is, so that its end cannot fail."""
        found: dict[Location, Staged] = {}
        for sources in [] if self._intrans else _by_root(sends):
            found |= await (await self._service(sources[0].location)).present(sources)
        return found

    async def _sent_together(
        self,
        sends: Sequence[NewFile],
        there: Mapping[Location, Staged],
        callback: Any,
        counter: Any,
    ) -> dict[Location, Staged]:
        """Send by a route for many files what is not there, where a service has such a route."""
        found: dict[Location, Staged] = {}
        for sources in _by_root(sends):
            service = await self._service(sources[0].location)
            left = [source for source in sources if source.location not in there]
            found |= await service.upload_many(
                left, callback.relative_update, counter.relative_update
            )
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
