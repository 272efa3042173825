"""Files that appear together at the end of a transaction, or not at all."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from typing import Any

from fsspec.transaction import Transaction

from synapsefs import sync
from synapsefs.errors import InvalidRequestError, UnsupportedError
from synapsefs.location import Location
from synapsefs.services.base import Staged
from synapsefs.verbs.base import Core
from synapsefs.verbs.expand import plain, require_separate


class SynapseTransaction(Transaction):
    """Files that appear together at the end, or not at all; those of one thread or task.

    A transaction belongs to the thread or task that began it, and to tasks that this one starts
    meanwhile. What others write through the same instance is published as ever. Copies, moves,
    removals and attributes take effect at once.

    All bytes have arrived and are verified before the first file appears. Files of a collection
    become visible unit by unit, all units in one call where they are at most a thousand. Of
    several files for one path the last is published.
    """

    fs: Any
    files: deque[Any]
    """Staged files, and files opened for writing."""

    def start(self) -> None:
        """Begin to hold files back.

        Raises
        ------
        UnsupportedError
            On an asynchronous instance: the end of a ``with`` block cannot be awaited.
        InvalidRequestError
            Inside of another transaction of this filesystem.
        """
        if self.fs.asynchronous:
            raise UnsupportedError(
                "an asynchronous filesystem has no transactions: "
                "one call of _pipe or _put publishes its files together"
            )
        if transaction_of(self.fs) is not None:
            raise InvalidRequestError("a transaction is open already: they do not nest")
        self.files = deque()
        _begun.set((*_unfinished(), self))

    def require_separate(self, locations: Iterable[Location]) -> None:
        """Refuse files that would be directories of others, or the other way round.

        Raises
        ------
        NotAFolderError
            Naming the path that would be both.
        """
        require_separate([*map(_location, self.files), *locations])

    def complete(self, commit: bool = True) -> None:
        """Publish all files written since the start, or discard them.

        Raises
        ------
        SynapseError
            When they cannot be published.
        """
        files, self.files = list(self.files), deque()
        fs, self.fs = self.fs, None
        _begun.set(_unfinished())
        staged = [item for item in map(_staged, files) if item is not None]
        try:
            if commit and staged:
                require_separate([item.location for item in staged])
                staged, replaced = _last_of_each(staged)
                sync.run(fs.loop, fs.discard(replaced))
                sync.run(fs.loop, fs.publish(staged))
            elif staged:
                sync.run(fs.loop, fs.discard(staged))
        except BaseException as error:
            commit = False
            sync.run(fs.loop, fs.discard(staged, error))
            raise
        finally:
            for file in files:
                if not isinstance(file, Staged) and (not commit or file.staged is None):
                    file.discard()


class Transactions(Core):
    """Which transaction a thread or task is in."""

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


_begun: ContextVar[tuple[SynapseTransaction, ...]] = ContextVar("transactions", default=())


def _unfinished() -> tuple[SynapseTransaction, ...]:
    return tuple(one for one in _begun.get() if one.fs is not None)


def transaction_of(fs: Any) -> SynapseTransaction | None:
    """Give the transaction of a filesystem that this thread or task is in."""
    return next((one for one in _begun.get() if one.fs is fs), None)


def _staged(file: Any) -> Staged | None:
    return file if isinstance(file, Staged) else file.staged


def _location(file: Any) -> Location:
    return file.location if isinstance(file, Staged) else Location.parse(file.path)


def _last_of_each(staged: Sequence[Staged]) -> tuple[list[Staged], list[Staged]]:
    """Split files into the last one for each path, and those that it takes the place of.

    What the earlier ones demanded of what is there goes for the last one.
    """
    last: dict[Location, Staged] = {}
    replaced: list[Staged] = []
    for item in staged:
        place = plain(item.location)
        earlier = last.pop(place, None)
        if earlier is not None:
            item.exclusive = item.exclusive or earlier.exclusive
            item.base = earlier.base if item.base is None else item.base
            replaced.append(earlier)
        last[place] = item
    return list(last.values()), replaced
