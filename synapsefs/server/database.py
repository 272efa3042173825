"""The catalogue: one SQLite file, read by a few threads and written by one.

Every write that waits when the writer thread comes round is committed in the same transaction,
each behind a savepoint of its own, so that many small writes share one flush to disk.

SQLite keeps the locks of a process in memory, and a forked child would take its parent's for its
own. So all connections are closed before a fork and opened again when next needed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import queue
import sqlite3
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar
from weakref import WeakSet

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")

MIGRATIONS = (
    """
    DROP INDEX IF EXISTS ds_entries_pending;
    UPDATE ds_revisions SET version = (
        SELECT coalesce(max(version), -1) FROM ds_revisions p
        WHERE p.entry_id = ds_revisions.entry_id AND p.published_at IS NOT NULL
    ) + (
        SELECT count(*) FROM ds_revisions d
        WHERE d.entry_id = ds_revisions.entry_id AND d.published_at IS NULL
            AND d.seq <= ds_revisions.seq
    ) WHERE published_at IS NULL;
    DROP INDEX IF EXISTS ds_revisions_entry;
    """,
)
"""Scripts that bring a catalogue from each version, from 0, to the next one.

``PRAGMA user_version`` says which one it has. What only adds a table or an index needs no step.
"""

BUSY_SECONDS = 30.0
READERS = 4
BATCH = 64


class Database:
    """An open catalogue.

    Parameters
    ----------
    path
        The SQLite file; created when missing.
    schemas
        SQL scripts that create what is missing (``CREATE … IF NOT EXISTS``).

    Raises
    ------
    sqlite3.Error
        The file cannot be opened or is no catalogue.
    OSError
        It is of a newer version.
    """

    def __init__(self, path: Path, schemas: Sequence[str]) -> None:
        self._path = path
        self._local = threading.local()
        self._opened: list[_Connection] = []
        self._opening = threading.Lock()
        self._create(schemas)
        _databases.add(self)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="synapsefs-read")
        self._queue: queue.SimpleQueue[tuple[Any, Future[Any]] | None] = queue.SimpleQueue()
        self._writer = threading.Thread(target=self._write_all, name="synapsefs-write", daemon=True)
        self._writer.start()

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a read connection, in a thread.

        Parameters
        ----------
        work
            Gets a connection whose rows are :class:`sqlite3.Row`.

        Returns
        -------
        object
            What `work` returned.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._read, work)

    def look(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` at once, in the calling thread: a visit to another costs more than it.

        Parameters
        ----------
        work
            Looks up a few rows by their keys. Like that of :meth:`read` otherwise.

        Returns
        -------
        object
            What `work` returned.
        """
        return self._read(work)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the writer thread and return when it is on disk.

        Parameters
        ----------
        work
            Gets a connection inside a transaction. An exception undoes what it did, and only
            that.

        Returns
        -------
        object
            What `work` returned.

        Raises
        ------
        sqlite3.Error
            The commit failed; nothing was written.
        """
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Begin what :meth:`write` waits for; for threads that have no event loop."""
        future: Future[T] = Future()
        self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Finish what is queued and close all connections."""
        _databases.discard(self)
        self._queue.put(None)
        self._writer.join()
        self._readers.shutdown(wait=True)
        for connection in self._opened:
            connection.close()

    def pause(self) -> None:
        """Wait for what is running, close all connections and let nothing begin."""
        self._opening.acquire()
        for connection in self._opened:
            connection.lock.acquire()
            connection.close()

    def resume(self) -> None:
        """Undo :meth:`pause`."""
        for connection in self._opened:
            connection.lock.release()
        self._opening.release()

    def _create(self, schemas: Sequence[str]) -> None:
        connection = _connect(self._path)
        try:
            _refuse_newer(connection, self._path)
            _enter_wal(connection)
            connection.execute("BEGIN IMMEDIATE")
            version = _refuse_newer(connection, self._path)
            steps = MIGRATIONS[version:] if version or _has_tables(connection) else ()
            for script in (*steps, *schemas):
                _run(connection, script)
            if version < len(MIGRATIONS):
                connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
            connection.execute("COMMIT")
        finally:
            connection.close()

    def _open(self) -> _Connection:
        with self._opening:
            self._opened.append(_Connection(self._path))
            return self._opened[-1]

    def _read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        holder: _Connection | None = getattr(self._local, "connection", None)
        if holder is None:
            holder = self._local.connection = self._open()
        with holder.lock:
            connection = holder.get()
            connection.execute("BEGIN")
            try:
                return work(connection)
            finally:
                connection.execute("ROLLBACK")

    def _write_all(self) -> None:
        holder = self._open()
        while (batch := self._next_batch()) is not None:
            with holder.lock:
                _commit_together(holder.get, batch)

    def _next_batch(self) -> list[tuple[Any, Future[Any]]] | None:
        """Wait for one write and take what else is there; None when the database closes."""
        first = self._queue.get()
        if first is None:
            return None
        batch = [first]
        while len(batch) < BATCH and not self._queue.empty():
            item = self._queue.get()
            if item is None:
                self._queue.put(None)
                break
            batch.append(item)
        return batch


class _Connection:
    """A connection that is opened when it is needed; use it only under its lock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self.lock = threading.Lock()

    def get(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = _connect(self._path)
        return self._connection

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _refuse_newer(connection: sqlite3.Connection, path: Path) -> int:
    """Return the version of a catalogue, unless a newer synapsefs has made it."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise OSError(
            errno.ENOTSUP,
            f"This root has version {version}, and this synapsefs knows up to "
            f"{len(MIGRATIONS)}: a newer one has written it, use that",
            str(path.parent),
        )
    return version


def _has_tables(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master").fetchone() is not None


def _run(connection: sqlite3.Connection, script: str) -> None:
    """Run the statements of a script in the open transaction, which `executescript` would end."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            connection.execute(statement)
            statement = ""
    connection.execute(statement)


def _enter_wal(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, which SQLite refuses at once while another does the same."""
    deadline = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _commit_together(
    connect: Callable[[], sqlite3.Connection], batch: list[tuple[Any, Future[Any]]]
) -> None:
    """Run a batch in one transaction and tell each future how it went."""
    live = [(work, future) for work, future in batch if future.set_running_or_notify_cancel()]
    outcomes: list[tuple[Future[Any], Any]] = []
    connection: sqlite3.Connection | None = None
    try:
        connection = connect()
        connection.execute("BEGIN IMMEDIATE")
        for work, future in live:
            connection.execute("SAVEPOINT one")
            try:
                outcomes.append((future, work(connection)))
            except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
                connection.execute("ROLLBACK TO one")
                future.set_exception(error)
            connection.execute("RELEASE one")
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        if connection is not None and connection.in_transaction:
            connection.execute("ROLLBACK")
        for _, future in live:
            if not future.done():
                future.set_exception(error)
        return
    for future, result in outcomes:
        future.set_result(result)


_databases: WeakSet[Database] = WeakSet()
_forking = threading.Lock()
_paused: list[Database] = []


def _before_fork() -> None:
    _forking.acquire()
    for database in list(_databases):
        database.pause()
        _paused.append(database)


def _after_fork() -> None:
    while _paused:
        _paused.pop().resume()
    _forking.release()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)

DATABASE: Final = web.AppKey("database", Database)
