"""What one process may use at a time, whatever the number of files and instances."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Generic, TypeVar

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)

MAX_BUFFERED = 256 * 2**20
MAX_VISITS = 4
MANY_WAITING = 8
"""Pieces of work that wait for a visit to a thread when another thread is worth it."""


class ByteBudget:
    """A first-come, first-served budget of bytes.

    Parameters
    ----------
    total
        Bytes that may be held at a time. A single larger request waits until it is alone.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, amount: int) -> AsyncIterator[None]:
        """Hold ``amount`` bytes of the budget for the duration of the block."""
        amount = min(amount, self.total)
        await self._acquire(amount)
        try:
            yield
        finally:
            self.used -= amount
            self._wake()

    async def _acquire(self, amount: int) -> None:
        if not self._waiting and self.used + amount <= self.total:
            self.used += amount
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((amount, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.used -= amount
            else:
                self._waiting.remove((amount, turn))
            self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self.used + self._waiting[0][0] <= self.total:
            amount, turn = self._waiting.popleft()
            self.used += amount
            turn.set_result(None)


class ThreadBatch:
    """Runs short blocking work of many tasks in a few visits to a thread.

    What comes while a thread is at work goes along with its next visit.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], Any], asyncio.Future[Any]]] = []
        self._visits = 0

    async def run(self, work: Callable[[], T]) -> T:
        """Run ``work`` to its end, so that a cancelled caller cleans up after it."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, done))
        self._visit()
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await asyncio.wait([done])
            if not done.cancelled():
                done.exception()
            raise

    def _visit(self) -> None:
        behind = len(self._waiting) >= MANY_WAITING and self._visits < MAX_VISITS
        if self._waiting and (not self._visits or behind):
            self._visits += 1
            batch, self._waiting = self._waiting, []
            running = asyncio.get_running_loop().run_in_executor(None, _run_all, batch)
            running.add_done_callback(partial(self._deliver, batch))

    def _deliver(
        self,
        batch: list[tuple[Callable[[], Any], asyncio.Future[Any]]],
        running: asyncio.Future[list[tuple[Any, BaseException | None]]],
    ) -> None:
        self._visits -= 1
        self._visit()
        for (_, done), (result, error) in zip(batch, running.result(), strict=True):
            if error is None:
                done.set_result(result)
            else:
                done.set_exception(error)


def _run_all(
    batch: Iterable[tuple[Callable[[], T], object]],
) -> list[tuple[T | None, BaseException | None]]:
    outcomes: list[tuple[T | None, BaseException | None]] = []
    for work, _ in batch:
        try:
            outcomes.append((work(), None))
        except BaseException as error:  # noqa: BLE001 - raised where it was asked for
            outcomes.append((None, error))
    return outcomes


class Limits:
    """The budgets of one event loop; synchronous callers of a process all share one loop.

    Attributes
    ----------
    buffered
        Bytes of parts in memory.
    files
        Visits to the disk for small files.
    """

    def __init__(self) -> None:
        self.buffered = ByteBudget(MAX_BUFFERED)
        self.files = ThreadBatch()


_limits: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Limits] = weakref.WeakKeyDictionary()


def shared() -> Limits:
    """Give the budgets of the running loop."""
    loop = asyncio.get_running_loop()
    limits = _limits.get(loop)
    if limits is None:
        limits = _limits[loop] = Limits()
    return limits


os.register_at_fork(after_in_child=_limits.clear)


async def gather(work: Iterable[Coroutine[Any, Any, T]], at_a_time: int) -> list[T]:
    """Run coroutines, a bounded number at a time; the first failure stops and raises.

    What is still running then is cancelled and waited for, so that nothing goes on unseen. It is
    cancelled once: a second time would hit what it does to clean up.
    """
    results: dict[int, T] = {}
    queue = enumerate(work)
    first = list(itertools.islice(queue, at_a_time))

    async def worker(item: tuple[int, Coroutine[Any, Any, T]]) -> None:
        for index, coroutine in itertools.chain([item], queue):
            results[index] = await coroutine

    workers = [asyncio.ensure_future(worker(item)) for item in first]
    try:
        await asyncio.gather(*workers)
    except BaseException:
        for running in workers:
            if not running.cancelling():
                running.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        for _, coroutine in (*first, *queue):
            coroutine.close()
        raise
    return [results[index] for index in sorted(results)]


"""For how long a number of transfers is tried, and how much faster it must be than fewer."""


WINDOW = 0.2
"""Seconds over which a rate is measured."""

GAIN = 1.15
"""How much faster more transfers must be, so that still more are tried."""

TRIES = 3
"""How often the rate is measured before that is given up."""

FAST = 256 * 2**20
"""Bytes per second of one connection beyond which more of them bring nothing."""


class Pace:
    """Decides how many parts of a file travel at a time: twice as many while that is faster.

    Parameters
    ----------
    most
        How many at a time at most.

    Attributes
    ----------
    growing
        Whether more may be added still.
    """

    def __init__(self, most: int) -> None:
        self.growing = True
        self._most = most
        self._best = 0.0
        self._tries = 0
        self._since: tuple[float, int] | None = None

    def more(self, count: int, moved: int) -> int:
        """Say how many to add to ``count``, when so many bytes have moved in all."""
        now = time.monotonic()
        began, before = self._since = self._since or (now, moved)
        if now - began < WINDOW:
            return 0
        rate = (moved - before) / (now - began)
        self._since = now, moved
        self._tries += moved > before
        if GAIN * self._best < rate < FAST * count and count < self._most:
            self._best, self._tries, self._since = rate, 0, None
            return min(count, self._most - count)
        self.growing = self._tries < TRIES and count < self._most
        return 0


async def gather_growing(
    work: Iterable[Coroutine[Any, Any, T]], moved: Callable[[], int], first: int, most: int
) -> list[T]:
    """Run coroutines as :func:`gather` does, more at a time for as long as that moves more bytes.

    Parameters
    ----------
    moved
        Gives the number of bytes that have gone so far.
    first, most
        How many run at a time in the beginning, and in the end.
    """
    gate = asyncio.Semaphore(first)

    async def gated(coroutine: Coroutine[Any, Any, T]) -> T:
        try:
            async with gate:
                return await coroutine
        finally:
            coroutine.close()

    async def grow() -> None:
        allowed, pace = first, Pace(most)
        while pace.growing:
            more = pace.more(allowed, moved())
            allowed += more
            for _ in range(more):
                gate.release()
            await asyncio.sleep(WINDOW / 4)

    growing = asyncio.ensure_future(grow())
    try:
        return await gather(map(gated, work), most)
    finally:
        growing.cancel()


def batched(
    items: Iterable[T], size: Callable[[T], int], *, most: int, count: int
) -> list[list[T]]:
    """Split work into batches that are worth a visit to a thread each, in order.

    Parameters
    ----------
    size
        Bytes of an item.
    most
        Bytes of a batch; a larger item is alone.
    count
        Items of a batch.
    """
    batches: list[list[T]] = []
    room = 0
    for item in items:
        room -= size(item)
        if not batches or room < 0 or len(batches[-1]) == count:
            batches.append([])
            room = most - size(item)
        batches[-1].append(item)
    return batches


class Locks(Generic[K]):
    """Locks by key and by event loop, made when first asked for."""

    def __init__(self) -> None:
        self._by_loop: weakref.WeakKeyDictionary[
            asyncio.AbstractEventLoop, weakref.WeakValueDictionary[K, asyncio.Lock]
        ] = weakref.WeakKeyDictionary()

    def get(self, key: K) -> asyncio.Lock:
        """Give the running loop's lock for ``key``; hold on to it while it matters."""
        locks = self._by_loop.setdefault(asyncio.get_running_loop(), weakref.WeakValueDictionary())
        lock = locks.get(key)
        if lock is None:
            lock = locks[key] = asyncio.Lock()
        return lock
