"""Continuing interrupted transfers: what of an earlier attempt still holds, and what ends it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

from synapsefs import integrity, sync
from synapsefs.errors import (
    AlreadyExistsError,
    ChangedError,
    ExpiredError,
    IntegrityError,
    InvalidRequestError,
    NotFoundError,
    RangeNotSatisfiableError,
)
from synapsefs.journal import Checkpoint, journals, partial_path
from synapsefs.local.files import LocalTarget, temporary_beside
from synapsefs.remote_object import Content

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


class PartialDownload:
    """A local file that arrives under a temporary name, and is put in place when it is whole.

    Of a file longer than one part, journalled, what has arrived is kept when fetching it fails, and
    fetching continues there; at most one part comes twice. Methods block.

    Parameters
    ----------
    content
        What is fetched.
    target
        Where it shall be.
    part_size
        Bytes that may have to come twice.
    keeping
        Names the transfer; None to remember nothing.

    Attributes
    ----------
    offset
        Bytes that have arrived and were hashed.
    continued
        Whether some of them come from an earlier process.
    """

    def __init__(
        self, content: Content, target: LocalTarget, part_size: int, keeping: TransferKey | None
    ) -> None:
        self.offset = 0
        self.continued = False
        self._content = content
        self._place = target
        self._target = target.path
        self._part_size = part_size
        self._keeping = None if content.inline is not None else keeping
        self._checked = integrity.hasher(content.expected)
        self._digest = self._checked or hashlib.md5(usedforsecurity=False)
        self._file: IO[bytes] | None = None
        self._path = ""
        self._journal: Checkpoint | None = None
        self._noted_at = 0

    def begin(self) -> None:
        """Open the temporary file: an earlier one where it still fits.

        Raises
        ------
        OSError
            When nothing can be written beside the target.
        """
        if self._worth_keeping(unknown=True) and self._left_behind():
            self._claim()
        if self._journal is not None and self._reopen(self._journal):
            return
        self._path = temporary_beside(self._target)
        self._file = self._place.create(self._path)
        if self._journal is not None:
            self._rename(self._journal)

    def take(self, data: bytes) -> None:
        """Write and hash the next bytes; now and then, note how far they reach.

        Twice a part, so that with what is still in memory at most one part comes again.
        """
        assert self._file is not None  # noqa: S101 - begun before
        if self.offset == 0 and self._worth_keeping(unknown=False):
            self._claim()
            if self._journal is not None:
                self._rename(self._journal)
        self._file.write(data)
        self._digest.update(data)
        self.offset += len(data)
        if self._journal is not None and self.offset - self._noted_at >= self._part_size // 2:
            self._note()

    def settle(self) -> None:
        """Verify the whole and put it in place.

        Raises
        ------
        ChecksumError
            When the bytes are not what the service says.
        """
        integrity.compare(self._checked, self._content.expected, self._content.path)
        self._close()
        self._place.replace(self._path)
        if self._journal is not None:
            self._journal.drop()

    def give_up(self, error: BaseException) -> None:
        """Leave what has arrived to a later process where it is of use; else remove it."""
        kept = self._journal is not None and self.offset and not isinstance(error, HOPELESS)
        with contextlib.suppress(OSError):
            if kept and self._file is not None:
                self._note()
        with contextlib.suppress(OSError):
            self._close()
        if kept and self._journal is not None:
            self._journal.release()
            return
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        if self._journal is not None:
            self._journal.drop()

    def _worth_keeping(self, *, unknown: bool) -> bool:
        size = self._content.size
        long = unknown if size is None else size > self._part_size
        return long and self._keeping is not None

    def _left_behind(self) -> bool:
        return self._keeping is not None and journals().has(self._keeping.fetching(self._target))

    def _claim(self) -> None:
        if self._journal is None and self._keeping is not None:
            self._journal = journals().claim(self._keeping.fetching(self._target))

    def _rename(self, journal: Checkpoint) -> None:
        kept = partial_path(self._target, journal.name)
        os.replace(self._path, kept)
        self._path = kept

    def _note(self) -> None:
        assert self._file is not None  # noqa: S101 - begun before
        assert self._journal is not None  # noqa: S101 - the callers looked
        self._file.flush()
        facts = {**self._version(), "etag": self._content.etag}
        self._journal.note({**facts, "offset": self.offset, "digest": self._digest.hexdigest()})
        self._noted_at = self.offset

    def _version(self) -> dict[str, Any]:
        content = self._content
        return {"version": content.version, "size": content.size, "checksum": content.checksum}

    def _reopen(self, journal: Checkpoint) -> bool:
        """Take up what an earlier process fetched, if the journal and the file itself agree."""
        if not journal.noted:
            return False
        path = partial_path(self._target, journal.name)
        try:
            self._take_up(journal.noted, path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.info("%s: starting over: %s", self._target, error)
            self._close()
            return False
        self._path = path
        return True

    def _take_up(self, noted: Mapping[str, Any], path: str) -> None:
        own = {**self._version(), "etag": self._content.etag}
        known = {name: value for name, value in own.items() if value is not None}
        if any(noted.get(name) != value for name, value in known.items()):
            raise ValueError("the remote file changed since it was fetched in part")
        offset = int(noted["offset"])
        self._file = _private(path)
        digest = self._digest.copy()
        integrity.hash_range(self._file, digest, 0, offset)
        if digest.hexdigest() != noted.get("digest"):
            raise ValueError("the part that was fetched is not what it was")
        self._file.truncate(offset)
        self._adopt_digest(digest)
        self._content.etag = noted.get("etag")
        self.offset = self._noted_at = offset
        self.continued = offset > 0

    def _adopt_digest(self, digest: Any) -> None:
        self._checked = digest if self._checked is not None else None
        self._digest = digest

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()


def _private(path: str) -> IO[bytes]:
    """Open a partial file to go on writing; a link or somebody else's is refused."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    file = open(descriptor, "r+b")  # noqa: SIM115 - the caller closes it
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.getuid():
        file.close()
        raise ValueError("the partial file is not this user's own")
    return file
