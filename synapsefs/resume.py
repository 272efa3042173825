"""Continuing interrupted transfers: what of an earlier attempt still holds, and what ends it."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from synapsefs import sync
from synapsefs.errors import (
    AlreadyExistsError,
    ChangedError,
    ExpiredError,
    IntegrityError,
    InvalidRequestError,
    NotFoundError,
    RangeNotSatisfiableError,
)
from synapsefs.journal import Checkpoint, journals

logger = logging.getLogger("synapsefs")

HOPELESS = (
    AlreadyExistsError,
    ChangedError,
    ExpiredError,
    IntegrityError,
    InvalidRequestError,
    NotFoundError,
    RangeNotSatisfiableError,
)
"""Failures that continuing would only repeat; after any other, what has arrived is kept."""


@dataclass(frozen=True, slots=True)
class TransferKey:
    """Which transfers are remembered, and what they belong to.

    Attributes
    ----------
    origin
        The service and tenant, as journals name them.
    path
        The file's path there.
    """

    origin: str
    path: str

    def sending(self, local: str) -> dict[str, str]:
        """Name the transfer of a local file to the service."""
        return {**self._remote(), "source": os.path.abspath(local)}

    def fetching(self, local: str) -> dict[str, str]:
        """Name the transfer of the service's file to a local one."""
        return {**self._remote(), "target": os.path.abspath(local)}

    def _remote(self) -> dict[str, str]:
        return {"origin": self.origin, "path": self.path}


class UploadCheckpoint:
    """The memory of one upload; claimed when that turns out to be worth it.

    Parameters
    ----------
    keeping
        Names the transfer; None to remember nothing.
    source
        The local file as it is now.
    local
        Where it is.

    Attributes
    ----------
    journal
        None until it is claimed, and where somebody else sends the same file.
    noted, stale
        As :class:`synapsefs.services.base.UploadState` says.
    """

    def __init__(self, keeping: TransferKey | None, source: os.stat_result, local: str) -> None:
        self.journal: Checkpoint | None = None
        self.noted: Mapping[str, Any] = {}
        self.stale: Mapping[str, Any] = {}
        self._keeping = keeping
        self._local = local
        self._source = {"size": source.st_size, "mtime_ns": source.st_mtime_ns}
        self._written = False
        self._in_order = asyncio.Lock()

    def claim(self) -> None:
        """Take the journal and what an earlier process noted there; it blocks."""
        if self._keeping is None or self.journal is not None:
            return
        self.journal = journals().claim(self._keeping.sending(self._local))
        self.noted = self.journal.noted if self.journal else {}
        self._written = bool(self.noted)
        if self.noted and self.noted.get("source") != self._source:
            logger.info("%s changed since it was sent in part: starting over", self._local)
            self.noted, self.stale = {}, self.noted

    @property
    def lasts(self) -> bool:
        """Whether a later process may resume."""
        return self.journal is not None

    async def note(self, **facts: Any) -> None:
        """Note how far the sending has come."""
        if self.journal is not None:
            self._written = True
            async with self._in_order:
                await sync.in_thread(self.journal.note, {**facts, "source": self._source})

    def should_restart(self, error: BaseException) -> bool:
        """Say whether to try once more from the beginning after continuing went wrong."""
        if not self.noted or not isinstance(error, HOPELESS):
            return False
        logger.info("%s: what was sent earlier is of no use: starting over: %s", self._local, error)
        self.noted, self.stale = {}, self.noted
        return True

    def is_resumable(self, error: BaseException) -> bool:
        """Say whether a later process may continue after a failure."""
        return self.journal is not None and self._written and not isinstance(error, HOPELESS)

    def end(self, error: BaseException) -> None:
        """Let go of the journal, and of what was noted where it is of no use; it blocks."""
        release_or_drop(self.journal, error if self._written else None)
        self.journal = None


def release_or_drop(journal: Checkpoint | None, error: BaseException | None) -> bool:
    """Let go of a journal; say whether a later process may go on from it. It blocks.

    Parameters
    ----------
    error
        Why the transfer ended; None where it was taken back on purpose.
    """
    if journal is None:
        return False
    kept = error is not None and not isinstance(error, HOPELESS)
    (journal.release if kept else journal.drop)()
    return kept
