"""A local file that arrives under a temporary name and takes its place when it is whole."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
from collections.abc import Mapping
from typing import IO, Any

from synapsefs import integrity
from synapsefs.checkpoint import HOPELESS, Checkpoint, TransferKey, checkpoints, partial_path
from synapsefs.local.files import LocalTarget, temporary_beside
from synapsefs.remote_object import Content

logger = logging.getLogger("synapsefs")


class PartialDownload:
    """A local file that arrives under a temporary name, and is put in place when it is whole.

    Of a file longer than one part, remembered, what has arrived is kept when fetching it fails, and
    fetching continues there; at most one part comes twice. Methods block.

    Parameters
    ----------
    content
        What is fetched.
    target
        Where it shall be.
    part_size
        Bytes that may have to come twice.
    key
        Names the transfer; None to remember nothing.

    Attributes
    ----------
    offset
        Bytes that have arrived and were hashed.
    continued
        Whether some of them come from an earlier process.
    """

    def __init__(
        self, content: Content, target: LocalTarget, part_size: int, key: TransferKey | None
    ) -> None:
        self.offset = 0
        self.continued = False
        self._content = content
        self._place = target
        self._target = target.path
        self._part_size = part_size
        self._key = None if content.inline is not None else key
        self._checked = integrity.hasher(content.expected)
        self._digest = self._checked or hashlib.md5(usedforsecurity=False)
        self._file: IO[bytes] | None = None
        self._path = ""
        self._checkpoint: Checkpoint | None = None
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
        if self._checkpoint is not None and self._reopen(self._checkpoint):
            return
        self._path = temporary_beside(self._target)
        self._file = self._place.create(self._path)
        if self._checkpoint is not None:
            self._rename(self._checkpoint)

    def take(self, data: bytes) -> None:
        """Write and hash the next bytes; now and then, note how far they reach.

        Twice a part, so that with what is still in memory at most one part comes again.
        """
        assert self._file is not None  # noqa: S101 - begun before
        if self.offset == 0 and self._worth_keeping(unknown=False):
            self._claim()
            if self._checkpoint is not None:
                self._rename(self._checkpoint)
        self._file.write(data)
        self._digest.update(data)
        self.offset += len(data)
        if self._checkpoint is not None and self.offset - self._noted_at >= self._part_size // 2:
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
        if self._checkpoint is not None:
            self._checkpoint.discard()

    def give_up(self, error: BaseException) -> None:
        """Leave what has arrived to a later process where it is of use; else remove it."""
        kept = self._checkpoint is not None and self.offset and not isinstance(error, HOPELESS)
        with contextlib.suppress(OSError):
            if kept and self._file is not None:
                self._note()
        with contextlib.suppress(OSError):
            self._close()
        if kept and self._checkpoint is not None:
            self._checkpoint.keep()
            return
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        if self._checkpoint is not None:
            self._checkpoint.discard()

    def _worth_keeping(self, *, unknown: bool) -> bool:
        size = self._content.size
        long = unknown if size is None else size > self._part_size
        return long and self._key is not None

    def _left_behind(self) -> bool:
        return self._key is not None and checkpoints().has(self._key.download(self._target))

    def _claim(self) -> None:
        if self._checkpoint is None and self._key is not None:
            self._checkpoint = checkpoints().claim(self._key.download(self._target))

    def _rename(self, checkpoint: Checkpoint) -> None:
        kept = partial_path(self._target, checkpoint.name)
        os.replace(self._path, kept)
        self._path = kept

    def _note(self) -> None:
        assert self._file is not None  # noqa: S101 - begun before
        assert self._checkpoint is not None  # noqa: S101 - the callers looked
        self._file.flush()
        facts = {**self._version(), "etag": self._content.etag}
        self._checkpoint.save(**facts, offset=self.offset, digest=self._digest.hexdigest())
        self._noted_at = self.offset

    def _version(self) -> dict[str, Any]:
        content = self._content
        return {"version": content.version, "size": content.size, "checksum": content.checksum}

    def _reopen(self, checkpoint: Checkpoint) -> bool:
        """Take up what an earlier process fetched, if the checkpoint and the file itself agree."""
        if not checkpoint.saved:
            return False
        path = partial_path(self._target, checkpoint.name)
        try:
            self._take_up(checkpoint.saved, path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.info("%s: starting over: %s", self._target, error)
            self._close()
            return False
        self._path = path
        return True

    def _take_up(self, saved: Mapping[str, Any], path: str) -> None:
        own = {**self._version(), "etag": self._content.etag}
        known = {name: value for name, value in own.items() if value is not None}
        if any(saved.get(name) != value for name, value in known.items()):
            raise ValueError("the remote file changed since it was fetched in part")
        offset = int(saved["offset"])
        self._file = _private(path)
        digest = self._digest.copy()
        integrity.hash_range(self._file, digest, 0, offset)
        if digest.hexdigest() != saved.get("digest"):
            raise ValueError("the part that was fetched is not what it was")
        self._file.truncate(offset)
        self._adopt_digest(digest)
        self._content.etag = saved.get("etag")
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
