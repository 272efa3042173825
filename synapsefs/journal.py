"""What interrupted transfers leave behind for a later process: one small JSON file each.

The files lie in the user's state folder and are readable by the user alone. They hold ids, offsets
and checksums, never a token or a signed URL. One that is missing, broken, foreign or in use costs
nothing but a start from the beginning.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import stat
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

logger = logging.getLogger("synapsefs")

FORMAT = 1
KEPT_SECONDS = 7 * 86400.0
"""For how long a journal that nobody touches is kept."""
LARGEST = 16 * 2**20
LOCK_NAME = "lock"
UNREADABLE = (OSError, ValueError, TypeError, RecursionError)


class Checkpoint:
    """How far one transfer has come. While it is claimed nobody else has it.

    Attributes
    ----------
    key
        Which transfer it is.
    name
        The key's digest: what its files are named by.
    noted
        What an earlier process noted last; empty where there is nothing to continue.
    """

    def __init__(self, home: CheckpointStore, key: Mapping[str, str], name: str) -> None:
        self.key = key
        self.name = name
        self._home = home
        self._writing = threading.Lock()
        self.noted: Mapping[str, Any] = home.read(key, name)

    def note(self, facts: Mapping[str, Any]) -> None:
        """Write down how far the transfer has come, in place of what was there; may be in vain."""
        with self._writing:
            self._home.write(self.key, self.name, facts)

    def drop(self) -> None:
        """Forget the transfer: it is done, or not worth continuing."""
        self._home.remove(self.name)
        self.release()

    def release(self) -> None:
        """Leave the transfer to whoever continues it."""
        self._home.release(self.name)


class CheckpointStore:
    """The journals of one folder.

    One byte of a lock file stands for each transfer. The system frees it when the process ends, in
    whatever way.

    Parameters
    ----------
    folder
        Made when first needed, for the user alone.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._guard = threading.Lock()
        self._claimed: set[str] = set()
        self._locks: int | None = None

    def has(self, key: Mapping[str, str]) -> bool:
        """Say whether an earlier process left something about a transfer."""
        return os.path.exists(self._path(name_of(key)))

    def claim(self, key: Mapping[str, str]) -> Checkpoint | None:
        """Take over a transfer; None when somebody else is at it, or the folder is of no use."""
        name = name_of(key)
        try:
            with self._guard:
                self._open()
                if not self._lock(name):
                    return None
        except (OSError, ImportError, AttributeError) as error:
            logger.info("interrupted transfers cannot be continued: %s", type(error).__name__)
            return None
        return Checkpoint(self, key, name)

    def release(self, name: str) -> None:
        """Let others claim a transfer."""
        with self._guard:
            if name in self._claimed:
                self._claimed.remove(name)
                self._unlock(name)

    def read(self, key: Mapping[str, str], name: str) -> Mapping[str, Any]:
        """Read what was noted; what is broken or somebody else's reads as nothing."""
        try:
            stored = _load(self._path(name))
        except FileNotFoundError:
            return {}
        except UNREADABLE as error:
            logger.info("the journal %s is of no use: %s", name, type(error).__name__)
            return {}
        if stored.get("format") != FORMAT or stored.get("key") != dict(key):
            logger.info("the journal %s is about something else", name)
            return {}
        facts = stored.get("facts")
        return facts if isinstance(facts, dict) else {}

    def write(self, key: Mapping[str, str], name: str, facts: Mapping[str, Any]) -> None:
        """Replace what was noted, in one step."""
        text = json.dumps({"format": FORMAT, "key": dict(key), "facts": dict(facts)})
        temporary = os.path.join(self._folder, f"{name}.{secrets.token_hex(6)}.tmp")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self._path(name))
        except OSError as error:
            logger.info("the journal %s cannot be written: %s", name, error.strerror)
            _unlink(temporary)

    def remove(self, name: str) -> None:
        """Delete a journal."""
        _unlink(self._path(name))

    def _path(self, name: str) -> str:
        return os.path.join(self._folder, f"{name}.json")

    def _open(self) -> None:
        """Make the folder ready, and clear away what nobody came back for."""
        if self._locks is not None:
            return
        os.makedirs(self._folder, mode=0o700, exist_ok=True)
        found = os.stat(self._folder)
        if found.st_uid != os.getuid() or found.st_mode & 0o022:
            raise PermissionError(1, "others may write to the folder", self._folder)
        path = os.path.join(self._folder, LOCK_NAME)
        self._locks = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        self._collect()

    def _lock(self, name: str) -> bool:
        import fcntl  # noqa: PLC0415 - not there on every system

        if name in self._claimed:
            return False
        assert self._locks is not None  # noqa: S101 - opened before
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _slot(name))
        except BlockingIOError:
            return False
        self._claimed.add(name)
        return True

    def _unlock(self, name: str) -> None:
        import fcntl  # noqa: PLC0415 - as above

        assert self._locks is not None  # noqa: S101 - locked before
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, _slot(name))

    def _collect(self) -> None:
        oldest = time.time() - KEPT_SECONDS
        for path in _files_before(self._folder, oldest):
            name, suffix = os.path.splitext(os.path.basename(path))
            if suffix == ".tmp":
                _unlink(path)
            elif suffix == ".json" and self._lock(name):
                _forget_partial(path, name)
                _unlink(path)
                self._claimed.remove(name)
                self._unlock(name)


def name_of(key: Mapping[str, str]) -> str:
    """Give the name that a transfer's files have."""
    return hashlib.sha256(json.dumps(dict(key), sort_keys=True).encode()).hexdigest()[:32]


def partial_path(target: str, name: str) -> str:
    """Give the place beside a target where a file waits until all of it has been fetched."""
    directory, last = os.path.split(target)
    return os.path.join(directory, f".{last[:64]}.{name}.part")


def _slot(name: str) -> int:
    return int(hashlib.sha256(name.encode()).hexdigest()[:15], 16)


def _load(path: str) -> dict[str, Any]:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, encoding="utf-8") as file:
        found = os.fstat(descriptor)
        private = found.st_uid == os.getuid() and not found.st_mode & 0o077
        if not private or not stat.S_ISREG(found.st_mode):
            raise PermissionError(1, "not a file of this user alone", path)
        stored = json.loads(file.read(LARGEST))
    if not isinstance(stored, dict):
        raise TypeError("no object")
    return stored


def _files_before(folder: str, oldest: float) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    yield entry.path


def _forget_partial(path: str, name: str) -> None:
    """Remove what was fetched for a journal, where it is certain that it belongs to it."""
    try:
        key = _load(path).get("key")
    except UNREADABLE:
        return
    if isinstance(key, dict) and isinstance(key.get("target"), str) and name_of(key) == name:
        _unlink(partial_path(key["target"], name))


def _unlink(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)


_by_folder: dict[str, CheckpointStore] = {}
os.register_at_fork(after_in_child=_by_folder.clear)


def journals() -> CheckpointStore:
    """Give the journals in the user's state folder, which ``XDG_STATE_HOME`` may move."""
    import platformdirs  # noqa: PLC0415 - only for large transfers

    folder = os.path.join(platformdirs.user_state_dir("synapsefs", appauthor=False), "transfers")
    return _by_folder.setdefault(folder, CheckpointStore(folder))
