"""What all writes share: local files and bytes that arrive first, and then become visible."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK

from synapsefs import limits
from synapsefs.errors import InvalidRequestError
from synapsefs.localfile import local_size
from synapsefs.location import Location, Root
from synapsefs.manifest import METADATA, Said
from synapsefs.services.base import LocalSource, Staged
from synapsefs.transfer import stage_file
from synapsefs.verbs.comparing import ComparingVerbs
from synapsefs.verbs.transaction import Deferred, SynapseTransaction


@dataclass(frozen=True, slots=True)
class Send:
    """A local file to put: from where, to which path, and how."""

    source: str
    target: Location
    exclusive: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    resume: bool | None = None

    def saying(self, said: Said) -> Send:
        """Give the same with what a manifest says of it, which goes before what all files say."""
        if not said:
            return self
        metadata = {**self.options.get(METADATA, {}), **said.get(METADATA, {})}
        more = {**said, METADATA: metadata} if metadata else said
        return replace(self, options={**self.options, **more})


class SendingVerbs(ComparingVerbs):
    """Sends files: those whose content is there not at all, many together, the others one by one.

    A file that has arrived is not visible. It is published with all others of its call, or waits
    for the end of its transaction.
    """

    transaction_type = SynapseTransaction

    async def _send(
        self,
        sends: Sequence[Send],
        callback: Any,
        counter: Any = DEFAULT_CALLBACK,
    ) -> None:
        """Send files whose places have been checked, and make them visible together."""
        sizes = await asyncio.to_thread(lambda: [local_size(item.source) for item in sends])
        callback.set_size(sum(size or 0 for size in sizes))
        counter.set_size(len(sends))
        there = await self._present(sends, sizes)
        for item in there.values():
            callback.relative_update(item.size)
        counter.relative_update(len(there))
        there |= await self._sent_together(sends, sizes, there, callback, counter)
        left = [item for item in sends if item.target not in there]
        staged = await self._arrived(
            [self._stage_counted(item, callback, counter) for item in left]
        )
        try:
            await self._publish_or_defer([*staged, *there.values()])
        except InvalidRequestError:
            if not there or any(item.target.root is Root.DATASETS for item in sends):
                raise
            again = [item for item in sends if item.target in there]
            work = [self._stage_file(item, DEFAULT_CALLBACK) for item in again]
            await self._publish_or_defer([*staged, *await self._arrived(work)])

    async def _present(
        self, sends: Sequence[Send], sizes: Sequence[int | None]
    ) -> dict[Location, Staged]:
        """Find out what need not be sent; in a transaction all is, so that its end cannot fail."""
        found: dict[Location, Staged] = {}
        for sources in [] if self._intrans else _by_root(sends, sizes):
            found |= await (await self._service(sources[0].location)).present(sources)
        return found

    async def _sent_together(
        self,
        sends: Sequence[Send],
        sizes: Sequence[int | None],
        there: Mapping[Location, Staged],
        callback: Any,
        counter: Any,
    ) -> dict[Location, Staged]:
        """Send by a route for many files what is not there, where a service has such a route."""
        found: dict[Location, Staged] = {}
        for sources in _by_root(sends, sizes):
            service = await self._service(sources[0].location)
            left = [source for source in sources if source.location not in there]
            found |= await service.send_together(
                left, callback.relative_update, counter.relative_update
            )
        return found

    async def _stage_counted(self, item: Send, callback: Any, counter: Any) -> Staged:
        staged = await self._stage_file(item, callback)
        counter.relative_update(1)
        return staged

    async def _stage_file(self, item: Send, callback: Any) -> Staged:
        return await stage_file(
            await self._service(item.target),
            item.source,
            item.target,
            exclusive=item.exclusive,
            progress=callback.relative_update,
            options=item.options,
            keeping=self._keeping(item.target, item.resume),
        )

    async def _arrived(
        self, work: Sequence[Coroutine[Any, Any, Staged]], batch_size: int | None = None
    ) -> list[Staged]:
        """Wait until all files have arrived; when one fails, clear the others away."""
        staged: dict[int, Staged] = {}

        async def arrive(number: int, coroutine: Coroutine[Any, Any, Staged]) -> None:
            staged[number] = await coroutine

        try:
            arrivals = (arrive(number, coroutine) for number, coroutine in enumerate(work))
            await limits.gather(arrivals, batch_size or self.options.max_concurrency)
        except BaseException as error:
            for coroutine in work:
                coroutine.close()
            await asyncio.shield(self.discard(list(staged.values()), error))
            raise
        return [staged[number] for number in sorted(staged)]

    async def _publish_or_defer(self, staged: list[Staged]) -> None:
        """Make files visible, or leave that to the transaction's end."""
        if self._intrans:
            self.transaction.files.extend(map(Deferred, staged))
            return
        try:
            await self.publish(staged)
        except BaseException as error:
            await asyncio.shield(self.discard(staged, error))
            raise


def _by_root(sends: Sequence[Send], sizes: Sequence[int | None]) -> list[list[LocalSource]]:
    """Give what the services want to know of files, for each service that has any of them.

    What has no size before its end is left out.
    """
    found: dict[Root | None, list[LocalSource]] = {}
    for item, size in zip(sends, sizes, strict=True):
        if size is None:
            continue
        source = LocalSource(item.source, item.target, size, item.exclusive, item.options)
        found.setdefault(item.target.root, []).append(source)
    return list(found.values())
