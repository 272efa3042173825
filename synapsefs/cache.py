"""What a reader keeps: reads are exact until they turn out to be sequential."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from fsspec.caching import BaseCache, register_cache

from synapsefs import sync

SMALL_FILE = 64 * 2**10
"""Files up to this size (bytes) are fetched whole at the first touch."""

SMALL_START = 256 * 2**10
"""Files up to this size are fetched whole when they are read from the start."""

FIRST_AHEAD = 128 * 2**10
MOST_AHEAD = 8 * 2**20
SMALL_READ = 2**20
STREAK = 2

TAIL = 2**20
TAIL_BUDGET = 16 * 2**20


@dataclass(frozen=True, slots=True)
class _Coming:
    """Bytes on their way, asked for by the process ``pid``."""

    start: int
    end: int
    future: concurrent.futures.Future[bytes]
    pid: int


class SequentialCache(BaseCache):
    """Read-ahead that grows with the run of bytes already read in sequence.

    A reader that jumps about, as Parquet readers do, gets just what it asks for. One that goes
    through the file in small steps, from its start or after a few steps in a row, is read ahead
    for as many bytes as it has read so far, at most :data:`MOST_AHEAD`. Once it has read that many,
    the next ones come while it works on those before.

    Parameters
    ----------
    blocksize
        Not used; part of the interface.
    fetcher
        Gives the bytes from a start up to an end.
    size
        The file's size in bytes.

    Attributes
    ----------
    submit
        Starts to get such bytes in the background; None where that cannot be.
    """

    name = "sequential"
    submit: Callable[[int, int], concurrent.futures.Future[bytes]] | None = None

    def __init__(self, blocksize: int, fetcher: Callable[[int, int], bytes], size: int) -> None:
        super().__init__(blocksize, fetcher, size)
        self._lock = threading.Lock()
        self._start = 0
        self._block = b""
        self._next = 0
        self._run = 0
        self._streak = STREAK
        self._coming: _Coming | None = None

    def hold(self, head: bytes) -> None:
        """Take the file's first bytes, which are known."""
        self._start, self._block = 0, head

    def close(self) -> None:
        """Give up what is on its way."""
        coming, self._coming = self._coming, None
        if coming is not None and coming.pid == os.getpid():
            with contextlib.suppress(RuntimeError):  # the loop has ended
                coming.future.cancel()

    def _fetch(self, start: int | None, stop: int | None) -> bytes:
        start = 0 if start is None else start
        stop = self.size if stop is None else min(stop, self.size)
        if start >= stop:
            return b""
        with self._lock:
            ahead = self._ahead(start, stop)
            self._next = stop
            data = self._held(start, stop) or self._read(start, stop, ahead)
            if ahead == MOST_AHEAD and self._coming is None and self.submit is not None:
                first = self._start + len(self._block)
                last = min(first + MOST_AHEAD, self.size)
                if first < last:
                    self.total_requested_bytes += last - first
                    self._coming = _Coming(first, last, self.submit(first, last), os.getpid())
            return data

    def _held(self, start: int, stop: int) -> bytes:
        if self._start <= start and stop <= self._start + len(self._block):
            self.hit_count += 1
            return self._block[start - self._start : stop - self._start]
        return b""

    def _ahead(self, start: int, stop: int) -> int:
        """Say how many bytes beyond a read are worth fetching along."""
        length = stop - start
        if start == self._next:
            self._streak += 1
            self._run += length
        else:
            self._streak, self._run = 0, length
        if self._streak < STREAK or length > SMALL_READ:
            return 0
        return min(max(self._run, FIRST_AHEAD), MOST_AHEAD)

    def _read(self, start: int, stop: int, ahead: int) -> bytes:
        self.miss_count += 1
        whole = SMALL_START if start == 0 else SMALL_FILE
        if self.size <= whole:
            self._start, self._block = 0, self._ask(0, self.size)
        else:
            known = self._start + len(self._block)
            keep = b""
            if self._start <= start < known:
                keep = self._block[start - self._start :]
            first, end = start + len(keep), min(stop + ahead, self.size)
            more = self._arrived(first)
            if first + len(more) < stop:
                more += self._ask(first + len(more), end)
            self._block = keep + more if keep else more
            self._start = start
        return self._block[start - self._start : stop - self._start]

    def _arrived(self, start: int) -> bytes:
        """Wait for what is on its way, if it is what follows."""
        coming = self._coming
        if coming is None or coming.start != start or coming.pid != os.getpid():
            self.close()
            return b""
        self._coming = None
        return sync.wait(coming.future)

    def _ask(self, start: int, end: int) -> bytes:
        self.total_requested_bytes += end - start
        return bytes(self.fetcher(start, end))


class TailCache:
    """The last bytes of files lately read: where Parquet keeps what all readers need.

    They are kept by path and version, since two files may have versions that are written alike.
    Bounded by :data:`TAIL_BUDGET` bytes; a version's bytes never change.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tails: OrderedDict[tuple[str, str], tuple[int, bytes]] = OrderedDict()
        self._used = 0

    def get(self, version: tuple[str, str], start: int, end: int) -> bytes | None:
        """Give bytes that are held, or None."""
        with self._lock:
            first, held = self._tails.get(version, (0, b""))
            if not held or start < first or end > first + len(held):
                return None
            self._tails.move_to_end(version)
            return held[start - first : end - first]

    def put(self, version: tuple[str, str], start: int, data: bytes, size: int) -> None:
        """Keep bytes if they lie in the file's tail, joined to those held already."""
        if start < size - TAIL or not data:
            return
        with self._lock:
            first, held = self._tails.pop(version, (size, b""))
            self._used -= len(held)
            if start + len(data) >= size:
                first, held = (start, data) if start < first else (first, held)
            elif start + len(data) >= first > start:
                first, held = start, data[: first - start] + held
            if held:
                self._tails[version] = (first, held)
                self._used += len(held)
            while self._used > TAIL_BUDGET:
                _, (_, dropped) = self._tails.popitem(last=False)
                self._used -= len(dropped)


register_cache(SequentialCache, clobber=True)
