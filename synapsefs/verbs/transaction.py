"""Files that appear together at the end of a transaction, or not at all."""

from __future__ import annotations

from collections import deque
from typing import Any

from fsspec.transaction import Transaction

from synapsefs import bridge
from synapsefs.errors import UnsupportedError
from synapsefs.services.base import Staged


class Deferred:
    """A finished file that waits for its transaction."""

    def __init__(self, staged: Staged) -> None:
        self.staged: Staged | None = staged

    def discard(self) -> None:
        """Forget the file; nobody has seen it."""
        self.staged = None


class SynapseTransaction(Transaction):
    """Files that appear together at the end, or not at all.

    All their bytes have arrived and are verified before the first appears. Files of a collection
    become visible unit by unit, all units in one call where they are at most a thousand.
    """

    fs: Any
    files: deque[Any]

    def start(self) -> None:
        """Begin to hold files back.

        Raises
        ------
        UnsupportedError
            On an asynchronous instance: the end of a ``with`` block cannot be awaited.
        """
        if self.fs.asynchronous:
            raise UnsupportedError(
                "an asynchronous filesystem has no transactions: "
                "one call of _pipe or _put publishes its files together"
            )
        super().start()

    def complete(self, commit: bool = True) -> None:
        """Publish all files written since the start, or discard them.

        Raises
        ------
        SynapseError
            When they cannot be published.
        """
        files, self.files = list(self.files), deque()
        fs, self.fs = self.fs, None
        fs._intrans, fs._transaction = False, None  # noqa: SLF001 - as fsspec's own does
        staged = [file.staged for file in files if file.staged is not None]
        try:
            if commit and staged:
                bridge.run(fs.loop, fs.publish(staged))
            elif staged:
                bridge.run(fs.loop, fs.discard(staged))
        except BaseException as error:
            commit = False
            bridge.run(fs.loop, fs.discard(staged, error))
            raise
        finally:
            for file in files:
                if not commit or file.staged is None:
                    file.discard()
