"""A local file on its way: under a temporary name until it is whole, continued after a failure."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from synapsefs.checkpoint import HOPELESS, Checkpoint, TransferKey, checkpoints, partial_path
from synapsefs.integrity import BATCH, FileDigest
from synapsefs.local.files import LocalTarget, temporary_beside, write_at
from synapsefs.remote_object import RemoteObject

logger = logging.getLogger("synapsefs")

MAX_AHEAD = 64 * 2**20
"""Bytes that may arrive before those are hashed that came first."""


class PartialFile:
    """A local file that arrives under a temporary name, and is put in place when it is whole.

    Of a file longer than one part, remembered, what has arrived without a gap is kept when
    fetching it fails, and fetching continues there. Methods block.

    Parameters
    ----------
    remote
        What is fetched.
    target
        Where it shall be.
    part_size
        Bytes after which the checkpoint is written anew, at the latest.
    key
        Names the transfer; None to remember nothing.

    Attributes
    ----------
    offset
        Bytes that an earlier process fetched.
    """

    def __init__(
        self, remote: RemoteObject, target: LocalTarget, part_size: int, key: TransferKey | None
    ) -> None:
        self.offset = 0
        self._remote = remote
        self._target = target
        self._part_size = part_size
        self._key = key.download(target.path) if key is not None else None
        self._descriptor = -1
        self._path = ""
        self._checkpoint: Checkpoint | None = None
        self._noted = 0
        self._digest: FileDigest | None = None

    def begin(self, *, anew: bool) -> None:
        """Open the temporary file: an earlier one where it still fits, unless ``anew``.

        Raises
        ------
        OSError
            When nothing can be written beside the target.
        """
        if self._key is not None and is_resumable(self._remote, self._part_size):
            self._checkpoint = checkpoints().claim(self._key)
        self._digest = self._new_digest()
        if self._checkpoint is not None and not anew and self._reopened(self._checkpoint):
            return
        self._path = temporary_beside(self._target.path)
        self._descriptor = self._target.create(self._path)
        if self._checkpoint is not None:
            kept = partial_path(self._target.path, self._checkpoint.name)
            os.replace(self._path, kept)
            self._path = kept

    def write(self, pieces: Sequence[bytes], position: int) -> None:
        """Write bytes where they belong."""
        write_at(self._descriptor, pieces, position)

    def is_ahead(self, arrived: int) -> bool:
        """Say whether so many bytes are too many for those that were hashed.

        What has arrived when a process is killed is one part more than was noted, at most.
        """
        most = MAX_AHEAD if self._checkpoint is None else min(MAX_AHEAD, self._part_size * 5 // 8)
        return self._digest is not None and arrived - self._digest.hashed > most

    def next_hash(self, arrived: int, size: int) -> Callable[[], None] | None:
        """Give work for a thread: to hash what has arrived, and to note how far that reaches."""
        work = self._digest and self._digest.next(self._descriptor, arrived, size)
        return partial(self._hash, work) if work else None

    def _hash(self, work: Callable[[], None]) -> None:
        work()
        digest, checkpoint = self._digest, self._checkpoint
        if digest and checkpoint and digest.hashed - self._noted >= self._part_size // 8:
            self._note(checkpoint, digest)

    def settle(self) -> None:
        """Verify the whole and put it in place.

        Raises
        ------
        ChecksumError
            When the bytes are not what the service says.
        """
        if self._digest is not None:
            self._digest.compare(self._remote.path)
        self._close()
        self._target.replace(self._path)
        if self._checkpoint is not None:
            self._checkpoint.discard()

    def fail(self, error: BaseException, arrived: int) -> None:
        """Leave what has arrived without a gap to a later process; remove what is of no use."""
        checkpoint, digest = self._checkpoint, self._digest
        if checkpoint is not None and digest is not None and not isinstance(error, HOPELESS):
            with contextlib.suppress(OSError, ValueError):
                digest.catch_up(self._descriptor, arrived)
                self._note(checkpoint, digest)
            if digest.hashed:
                self._close()
                checkpoint.keep()
                return
        self._close()
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        if checkpoint is not None:
            checkpoint.discard()

    def _new_digest(self) -> FileDigest | None:
        remote = self._remote
        if not (remote.checksum or remote.parts or self._checkpoint):
            return None
        return FileDigest(remote.checksum, remote.parts, min(4 * BATCH, self._part_size // 16 + 1))

    def _note(self, checkpoint: Checkpoint, digest: FileDigest) -> None:
        offset, value = digest.state()
        self._noted = offset
        checkpoint.save(**_version(self._remote), offset=offset, digest=value)

    def _reopened(self, checkpoint: Checkpoint) -> bool:
        """Take up what an earlier process fetched, if the checkpoint and the file itself agree."""
        if not checkpoint.saved:
            return False
        path = partial_path(self._target.path, checkpoint.name)
        try:
            self._reopen(checkpoint.saved, path)
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.info("%s: starting over: %s", self._target.path, error)
            self._close()
            self._digest = self._new_digest()
            return False
        self._path = path
        return True

    def _reopen(self, noted: Mapping[str, Any], path: str) -> None:
        known = {name: value for name, value in _version(self._remote).items() if value is not None}
        if any(noted.get(name) != value for name, value in known.items()):
            raise ValueError("the remote file changed since it was fetched in part")
        offset, size, digest = int(noted["offset"]), int(noted["size"]), self._digest
        if digest is None or not 0 <= offset <= size:
            raise ValueError("the checkpoint makes no sense")
        self._descriptor = _open_private(path)
        digest.catch_up(self._descriptor, offset)
        if digest.state() != (offset, noted.get("digest")):
            raise ValueError("the part that was fetched is not what it was")
        os.ftruncate(self._descriptor, offset)
        self._remote.etag, self._remote.size = noted.get("etag"), size
        self.offset = self._noted = offset

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def is_resumable(remote: RemoteObject, part_size: int) -> bool:
    """Say whether a file may be long enough to be remembered."""
    return remote.inline is None and (remote.size is None or remote.size > part_size)


def _version(remote: RemoteObject) -> dict[str, Any]:
    return {
        "version": remote.version,
        "size": remote.size,
        "checksum": remote.checksum,
        "etag": remote.etag,
    }


def _open_private(path: str) -> int:
    """Open a partial file to go on writing; a link or somebody else's is refused."""
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid():
        os.close(descriptor)
        raise ValueError("the partial file is not this user's own")
    return descriptor
