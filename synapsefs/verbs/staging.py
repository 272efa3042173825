"""What every write goes through: files arrive, are published together, or are discarded."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

from synapsefs import concurrency
from synapsefs.errors import InvalidRequestError
from synapsefs.services.base import Staged
from synapsefs.verbs.resolving import ResolvingVerbs
from synapsefs.verbs.transaction import StagedInTransaction, SynapseTransaction, transaction_of


class StagingVerbs(ResolvingVerbs):
    """A file that has arrived is not visible.

    It is published with all others of its call, or waits for the end of its transaction. When
    anything fails, all files of the call are discarded.
    """

    transaction_type = SynapseTransaction

    @property
    def _intrans(self) -> bool:
        return transaction_of(self) is not None

    @_intrans.setter
    def _intrans(self, value: bool) -> None:
        """Do nothing: fsspec keeps here what would be the same for all threads."""

    @property
    def _transaction(self) -> SynapseTransaction | None:
        return transaction_of(self)

    @_transaction.setter
    def _transaction(self, value: object) -> None:
        """Do nothing, as above."""

    @property
    def transaction(self) -> SynapseTransaction:
        """Transaction of this thread or task, for ``with``; what others write is not in it."""
        return transaction_of(self) or self.transaction_type(self)

    def start_transaction(self) -> SynapseTransaction:
        """Begin a transaction of this thread or task; :meth:`end_transaction` publishes its files.

        Raises
        ------
        InvalidRequestError
            When one is open already.
        """
        begun = self.transaction_type(self)
        begun.start()
        return begun

    def end_transaction(self) -> None:
        """Publish the files of this thread's or task's transaction.

        Raises
        ------
        InvalidRequestError
            When this thread or task has none.
        """
        begun = transaction_of(self)
        if begun is None:
            raise InvalidRequestError("no transaction is open in this thread or task")
        begun.complete()

    async def _arrived(
        self, work: Sequence[Coroutine[Any, Any, Staged]], batch_size: int | None = None
    ) -> list[Staged]:
        """Wait until all files have arrived; when one fails, clear the others away."""
        staged: dict[int, Staged] = {}

        async def arrive(number: int, coroutine: Coroutine[Any, Any, Staged]) -> None:
            staged[number] = await coroutine

        try:
            arrivals = (arrive(number, coroutine) for number, coroutine in enumerate(work))
            await concurrency.gather(arrivals, batch_size or self.options.max_concurrency)
        except BaseException as error:
            for coroutine in work:
                coroutine.close()
            await asyncio.shield(self.discard(list(staged.values()), error))
            raise
        return [staged[number] for number in sorted(staged)]

    async def _publish_or_defer(self, staged: list[Staged]) -> None:
        """Make files visible, or leave that to the transaction's end."""
        transaction = transaction_of(self)
        if transaction is None:
            await self._publish_or_discard(staged)
            return
        try:
            transaction.require_separate([item.location for item in staged])
        except BaseException as error:
            await asyncio.shield(self.discard(staged, error))
            raise
        transaction.files.extend(map(StagedInTransaction, staged))

    async def _publish_or_discard(self, staged: list[Staged]) -> None:
        """Make files visible, also inside a transaction."""
        try:
            await self.publish(staged)
        except BaseException as error:
            await asyncio.shield(self.discard(staged, error))
            raise
