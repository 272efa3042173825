"""Interrupted transfers: what they leave behind for a later process, and what of it still holds.

There is one file per transfer in the user's state directory, readable by the user alone and locked
while the transfer runs. Its first line names the transfer, each further one adds facts: ids,
offsets, checksums, and for an upload straight to the storage the signed URLs of its parts. They are
never logged, and the file ends with the transfer. One that is missing, broken, foreign or in use
costs nothing but a start from the beginning.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
import os
import stat
import threading
import time
import weakref
from collections.abc import Iterator, Mapping
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

logger = logging.getLogger("synapsefs")

FORMAT = 2
KEPT_SECONDS = 7 * 86400.0
"""For how long a checkpoint that nobody touches is kept."""
MAX_BYTES = 2**26
UNREADABLE = (OSError, ValueError, TypeError, RecursionError)

HOPELESS = (
    AlreadyExistsError,
    ChangedError,
    ExpiredError,
    IntegrityError,
    InvalidRequestError,
    NotFoundError,
    RangeNotSatisfiableError,
)
"""Failures that resuming would only repeat; after any other, what has arrived is kept."""


@dataclass(frozen=True, slots=True)
class TransferKey:
    """One end of a transfer that is remembered: service and tenant, and the path there."""

    origin: str
    path: str

    def upload(self, local: str) -> dict[str, str]:
        """Name the transfer of a local file to the service."""
        return {"origin": self.origin, "path": self.path, "source": os.path.abspath(local)}

    def download(self, local: str) -> dict[str, str]:
        """Name the transfer of the service's file to a local one."""
        return {"origin": self.origin, "path": self.path, "target": os.path.abspath(local)}


class Checkpoint:
    """How far one transfer has come. Nobody else has it until it is kept or discarded.

    Attributes
    ----------
    name
        The key's digest: what its files are named by.
    saved
        What an earlier process saved; empty where there is nothing to resume.
    """

    def __init__(self, path: str, descriptor: int, key: Mapping[str, str]) -> None:
        self.name = name_of(key)
        self._path = path
        self._descriptor: int | None = descriptor
        self._writing = threading.Lock()
        self._header = json.dumps({"format": FORMAT, "key": dict(key)}) + "\n"
        self.saved = self._load()
        _open.add(self)

    def _load(self) -> dict[str, Any]:
        facts: dict[str, Any] = {}
        assert self._descriptor is not None  # noqa: S101 - just opened
        with open(self._descriptor, "rb", closefd=False) as file:
            lines = file.read(MAX_BYTES).splitlines(keepends=True)
        if not lines:
            return {}
        try:
            if lines[0].decode() != self._header:
                raise ValueError("another format or transfer")
            for line in lines[1:]:
                if line.endswith(b"\n"):
                    _merge(facts, json.loads(line))
            if not lines[-1].endswith(b"\n"):
                os.ftruncate(self._descriptor, sum(map(len, lines[:-1])))
        except UNREADABLE as error:
            logger.info("the checkpoint %s is of no use: %s", self.name, type(error).__name__)
            facts = {}
        if not facts:
            os.ftruncate(self._descriptor, 0)
        return facts

    def save(self, **facts: Any) -> None:
        """Add facts: dictionaries are merged, None removes a key. It may be in vain."""
        with self._writing:
            if self._descriptor is None:
                return
            text = json.dumps(facts) + "\n"
            try:
                if os.fstat(self._descriptor).st_size == 0:
                    text = self._header + text
                os.write(self._descriptor, text.encode())
            except OSError as error:
                logger.info("the checkpoint %s cannot be written: %s", self.name, error.strerror)

    def clear(self) -> None:
        """Forget all facts; the transfer begins anew."""
        with self._writing:
            if self._descriptor is not None:
                os.ftruncate(self._descriptor, 0)

    def discard(self) -> None:
        """Forget the transfer: it is done, or not worth resuming."""
        with self._writing:
            if self._descriptor is not None:
                _unlink(self._path)
                self._close()

    def keep(self) -> None:
        """Leave the transfer to whoever resumes it."""
        with self._writing:
            if self._descriptor is not None:
                if os.fstat(self._descriptor).st_size == 0:
                    _unlink(self._path)
                self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    def _left_by_fork(self) -> None:
        self._writing = threading.Lock()
        self._close()


def _merge(facts: dict[str, Any], more: Any) -> None:
    for name, value in more.items():
        if value is None:
            facts.pop(name, None)
        elif isinstance(value, dict) and isinstance(facts.get(name), dict):
            facts[name].update(value)
        else:
            facts[name] = value


class CheckpointStore:
    """The checkpoints in one directory, which is made when first needed."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._ready = False

    def has(self, key: Mapping[str, str]) -> bool:
        """Say whether an earlier process left something about a transfer."""
        return os.path.exists(self._path(name_of(key)))

    def claim(self, key: Mapping[str, str]) -> Checkpoint | None:
        """Take over a transfer; None when somebody else is at it, or nothing can be kept here."""
        path = self._path(name_of(key))
        try:
            if not self._ready:
                self._prepare()
            descriptor = _locked(path, os.O_CREAT)
            return None if descriptor is None else Checkpoint(path, descriptor, key)
        except (OSError, ImportError, AttributeError) as error:
            logger.info("interrupted transfers cannot be resumed: %s", type(error).__name__)
            return None

    def _path(self, name: str) -> str:
        return os.path.join(self._directory, f"{name}.json")

    def _prepare(self) -> None:
        """Make the directory, and clear away what nobody came back for."""
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        status = os.stat(self._directory)
        if status.st_uid != os.getuid() or status.st_mode & 0o022:
            raise PermissionError(1, "others may write to the directory", self._directory)
        for path in _files_before(self._directory, time.time() - KEPT_SECONDS):
            with contextlib.suppress(*UNREADABLE):
                descriptor = _locked(path, 0)
                if descriptor is not None:
                    _remove_partial(descriptor, path)
                    _unlink(path)
                    os.close(descriptor)
        self._ready = True


def _locked(path: str, flags: int) -> int | None:
    """Open and lock a file of this user alone; None while somebody else has it."""
    import fcntl  # noqa: PLC0415 - not there on every system

    flags |= os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
    while True:
        descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            status = os.fstat(descriptor)
            if not _is_private(status):
                logger.info("%s: not a file of this user alone", path)
                os.unlink(path)
            elif os.path.samestat(status, os.stat(path, follow_symlinks=False)):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            return None
        except FileNotFoundError:
            pass  # it ended between the opening and the lock
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_private(status: os.stat_result) -> bool:
    own = status.st_uid == os.getuid() and not status.st_mode & 0o077
    return own and stat.S_ISREG(status.st_mode)


def _files_before(directory: str, oldest: float) -> Iterator[str]:
    with os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    yield entry.path


def _remove_partial(descriptor: int, path: str) -> None:
    """Remove what was fetched for a checkpoint, where it is certain that it belongs to it."""
    name, suffix = os.path.splitext(os.path.basename(path))
    with open(descriptor, "rb", closefd=False) as file:
        line = file.readline(MAX_BYTES)
    with contextlib.suppress(*UNREADABLE, KeyError):
        key = json.loads(line)["key"]
        if suffix == ".json" and name_of(key) == name:
            _unlink(partial_path(key["target"], name))


def name_of(key: Mapping[str, str]) -> str:
    """Give the name that a transfer's files have."""
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]


def partial_path(target: str, name: str) -> str:
    """Give the path beside a target where a file waits until all of it has been fetched."""
    directory, last = os.path.split(target)
    return os.path.join(directory, f".{last[:64]}.{name}.part")


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


_stores: dict[str, CheckpointStore] = {}
_open: weakref.WeakSet[Checkpoint] = weakref.WeakSet()


def _forked() -> None:
    """Leave the parent's checkpoints to the parent."""
    for checkpoint in list(_open):
        checkpoint._left_by_fork()  # noqa: SLF001 - the same module
    _open.clear()


os.register_at_fork(after_in_child=_forked)


def checkpoints() -> CheckpointStore:
    """Give the store in the user's state directory, which ``XDG_STATE_HOME`` may move."""
    import platformdirs  # noqa: PLC0415 - only for large transfers

    directory = os.path.join(platformdirs.user_state_dir("synapsefs", appauthor=False), "transfers")
    return _stores.setdefault(directory, CheckpointStore(directory))


def keep_or_discard(checkpoint: Checkpoint | None, error: BaseException | None) -> bool:
    """Let go of a checkpoint; say whether a later process may resume from it. It blocks.

    Parameters
    ----------
    error
        Why the transfer ended; None where it was taken back on purpose.
    """
    if checkpoint is None:
        return False
    kept = error is not None and not isinstance(error, HOPELESS)
    (checkpoint.keep if kept else checkpoint.discard)()
    return kept


class UploadCheckpoint:
    """The checkpoint of one upload, claimed when that turns out to be worth it.

    Parameters
    ----------
    key
        Names the transfer; None to remember nothing.
    source
        The local file as it is now.
    local
        Where it is.

    Attributes
    ----------
    checkpoint
        None until it is claimed, and where somebody else sends the same file.
    saved
        What an earlier process saved; empty where there is nothing to resume.
    stale
        What an earlier process saved about a file that has changed since.
    """

    def __init__(self, key: TransferKey | None, source: os.stat_result, local: str) -> None:
        self.checkpoint: Checkpoint | None = None
        self.saved: Mapping[str, Any] = {}
        self.stale: Mapping[str, Any] = {}
        self._key = key
        self._local = local
        self._source = {"size": source.st_size, "mtime_ns": source.st_mtime_ns}
        self._written = False
        self._in_order = asyncio.Lock()

    def claim(self) -> None:
        """Take the checkpoint and what an earlier process saved there; it blocks."""
        if self._key is None or self.checkpoint is not None:
            return
        self.checkpoint = checkpoints().claim(self._key.upload(self._local))
        self.saved = self.checkpoint.saved if self.checkpoint else {}
        self._written = bool(self.saved)
        if self.saved and self.saved.get("source") != self._source:
            self.start_over("the file changed since it was sent in part")

    def start_over(self, why: object) -> None:
        """Forget what an earlier process saved, and say why; it blocks."""
        logger.info("%s: starting over: %s", self._local, why)
        self.stale = self.saved
        self.forget()

    def forget(self) -> None:
        """Forget what was saved; it blocks."""
        self.saved, self._written = {}, False
        if self.checkpoint is not None:
            self.checkpoint.clear()

    @property
    def lasts(self) -> bool:
        """Whether a later process may resume."""
        return self.checkpoint is not None

    async def note(self, **facts: Any) -> None:
        """Save how far the sending has come; dictionaries are merged, None removes a key."""
        if self.checkpoint is not None:
            self._written = True
            async with self._in_order:
                await sync.in_thread(lambda: self._save(facts))

    def _save(self, facts: Mapping[str, Any]) -> None:
        if self.checkpoint is not None:
            self.checkpoint.save(**facts, source=self._source)

    def should_restart(self, error: BaseException) -> bool:
        """Say whether to try once more from the beginning after resuming went wrong."""
        if not self.saved or not isinstance(error, HOPELESS):
            return False
        self.start_over(error)
        return True

    def is_resumable(self, error: BaseException) -> bool:
        """Say whether a later process may resume after a failure."""
        return self.checkpoint is not None and self._written and not isinstance(error, HOPELESS)

    def end(self, error: BaseException) -> None:
        """Let go of the checkpoint, and of what was saved where it is of no use; it blocks."""
        keep_or_discard(self.checkpoint, error if self._written else None)
        self.checkpoint = None
