"""From synchronous callers to the event loop and back, with Ctrl-C and cancellation intact."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from fsspec.asyn import FSTimeoutError

T = TypeVar("T")
CLEANUP_SECONDS = 5.0
TURN_SECONDS = 0.25
SERVER_THREADS = frozenset(
    {"synapsefs-server", "synapsefs-read", "synapsefs-write", "synapsefs-blob", "synapsefs-digest"}
)
"""Names of the threads of an embedded server, before the numbers of those that are several."""


def run(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on a loop of another thread and wait for it.

    An interrupt of the waiting thread cancels the work and gives it a moment to clean up.

    Raises
    ------
    RuntimeError
        When called from the loop's own thread or an embedded server's, where waiting would never
        end.
    """
    return wait(submit(loop, work))


def wait(future: concurrent.futures.Future[T]) -> T:
    """Wait for work that was submitted; an interrupt cancels it, as for :func:`run`."""
    try:
        return outcome(future)
    except concurrent.futures.CancelledError:
        raise asyncio.CancelledError("the work was cancelled") from None
    except TimeoutError as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise FSTimeoutError from error
    except (KeyboardInterrupt, SystemExit):
        future.cancel()
        concurrent.futures.wait([future], timeout=CLEANUP_SECONDS)
        raise


def outcome(future: concurrent.futures.Future[T]) -> T:
    """Wait for what comes of work, in turns.

    A signal that comes just before a thread begins to wait, or that another thread gets, does not
    end its waiting: it would be noticed only when the work is done.
    """
    while True:
        try:
            return future.result(TURN_SECONDS)
        except TimeoutError:
            if future.done():
                return future.result()


def submit(
    loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]
) -> concurrent.futures.Future[T]:
    """Start a coroutine on a loop of another thread without waiting for it."""
    if loop.is_closed() or is_own_thread(loop):
        work.close()
        state = "is closed" if loop.is_closed() else "waits for the thread that calls"
        raise RuntimeError(f"a synchronous call cannot wait for its event loop: it {state}")
    return asyncio.run_coroutine_threadsafe(work, loop)


def is_own_thread(loop: asyncio.AbstractEventLoop) -> bool:
    """Say whether this thread is the loop's or an embedded server's: waiting here may never end.

    A garbage collection, and with it whatever closes files, runs in any thread.
    """
    if threading.current_thread().name.partition("_")[0] in SERVER_THREADS:
        return True
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


_unattended: set[asyncio.Task[Any]] = set()


def start(loop: asyncio.AbstractEventLoop, make: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Start work on a loop from any thread, the loop's own among them; nobody waits for it.

    Where the loop has ended, nothing happens.
    """

    def begin() -> None:
        task = loop.create_task(make())
        _unattended.add(task)
        task.add_done_callback(_unattended.discard)

    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(begin)


async def in_thread(work: Callable[..., T], *arguments: Any) -> T:
    """Run blocking work in a thread to its end, so that a cancelled caller cleans up after it."""
    running = asyncio.ensure_future(asyncio.to_thread(work, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise


class _StoppedError(Exception):
    """The caller no longer wants what a thread is doing."""


async def stoppable(work: Callable[[Callable[[], None]], T]) -> T:
    """Run blocking work in a thread; cancelled, wait until it has noticed, so that it ends here.

    Parameters
    ----------
    work
        Is given a function that raises when the work is no longer wanted, to be called often.
    """
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise _StoppedError

    running = asyncio.ensure_future(asyncio.to_thread(work, check))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        stopped.set()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()
        raise


def synced(method: Callable[..., Any]) -> Callable[..., Any]:
    """Make the synchronous twin of a coroutine method whose name begins with an underscore.

    fsspec mirrors only the names that it knows itself, and its own twins go on working after
    Ctrl-C; these do neither.
    """
    name = method.__name__

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return run(self.loop, getattr(self, name)(*args, **kwargs))

    call.__name__ = name.removeprefix("_")
    call.__qualname__ = method.__qualname__.replace(name, call.__name__)
    return call
