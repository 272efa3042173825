"""What a write needs besides its file is gone afterwards, whatever became of the write."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from synapsefs import SynapseFileSystem
from synapsefs.errors import NotEmptyError
from tests.support.observed import ObservedServer, observed_server

OLD, NEW = b"\xff old", b"\xff new"
MUTATIONS = {"POST", "PATCH", "PUT", "DELETE"}


class HeldAnswer:
    """Lets the server act on one of the requests that change anything, but not answer yet."""

    def __init__(self) -> None:
        self.left = -1
        self.reached = threading.Event()
        self.released = threading.Event()

    def hold(self, number: int) -> None:
        self.left = number
        self.reached.clear()
        self.released.clear()

    @web.middleware
    async def __call__(self, request: web.Request, handler: Any) -> Any:
        answer = await handler(request)
        if request.method in MUTATIONS and request.path != "/auth/login":
            self.left -= 1
            if self.left == -1:
                self.reached.set()
                await asyncio.to_thread(self.released.wait, 10)
        return answer


@pytest.fixture
def held() -> HeldAnswer:
    return HeldAnswer()


@pytest.fixture
def server(tmp_path: Path, held: HeldAnswer) -> Iterator[ObservedServer]:
    @web.middleware
    async def middleware(request: web.Request, handler: Any) -> Any:
        return await held(request, handler)  # type: ignore[call-arg,arg-type,misc]

    with observed_server(tmp_path / "root", middleware) as running:
        yield running


@pytest.fixture
def base(server: ObservedServer) -> str:
    maker = SynapseFileSystem(**server.options, skip_instance_cache=True)
    container = f"datasets/t-{uuid.uuid4().hex[:12]}"
    maker.mkdir(container)
    return container


def catalogue(server: ObservedServer) -> sqlite3.Connection:
    return sqlite3.connect(server.root / "catalogue.sqlite3", isolation_level=None)


def entries(server: ObservedServer) -> list[tuple[str, str]]:
    """Name and status of all entries of the server, but catalogue entries."""
    with closing(catalogue(server)) as db:
        rows = db.execute("SELECT name, status FROM ds_entries ORDER BY name").fetchall()
    return [(name, status) for name, status in rows if name != ".synapsefs-catalogue"]


WRITES: dict[str, dict[str, Any]] = {
    "object": {"name": "k.bin", "value": NEW},
    "text": {"name": "k.txt", "value": b"new"},
    "text with metadata": {"name": "k.txt", "value": b"new", "metadata": {"a": 1}},
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("replaced", [False, True], ids=["new", "replaced"])
async def test_a_cancelled_write_leaves_no_entry_but_the_file(server, base, held, write, replaced):
    """At each of its requests, when the service has acted and the client does not know."""
    given = {**WRITES[write]}
    name, value = given.pop("name"), given.pop("value")
    path = f"{base}/{name}"
    old = OLD if name == "k.bin" else b"old"
    for number in range(12):
        fs = SynapseFileSystem(**server.options, asynchronous=True, skip_instance_cache=True)
        if replaced:
            await fs._pipe_file(path, old)
        held.hold(number)
        task = asyncio.create_task(fs._pipe_file(path, value, **given))
        reached = asyncio.create_task(asyncio.to_thread(held.reached.wait, 10))
        await asyncio.wait({task, reached}, return_when=asyncio.FIRST_COMPLETED)
        done = task.done()
        task.cancel()
        held.reached.set()
        await reached
        held.released.set()
        with suppress(asyncio.CancelledError):
            await task
        expected = [(name, "active")]
        assert entries(server) in ([expected] if replaced or done else [expected, []])
        if await fs._exists(path):
            assert await fs._cat_file(path) in {old, value}
            await fs._rm_file(path)
        await fs.aclose()
        if done:
            return
    pytest.fail("the write never ended")


def age(server: ObservedServer, name: str, moment: str) -> None:
    with closing(catalogue(server)) as db:
        db.execute("UPDATE ds_entries SET modified_at = ? WHERE name = ?", (moment, name))


async def test_the_next_write_removes_what_a_killed_process_left(server, base):
    """What is young may be of a process that is at work."""
    fs = SynapseFileSystem(**server.options, asynchronous=True, skip_instance_cache=True)
    path = f"{base}/k.bin"
    await fs._pipe_file(path, OLD)
    api = fs._services["datasets"].api
    identifier = (await fs._info(path))["id"]
    dataset = (await fs._info(base))["id"]
    foreign = {"name": "foreign.bin", "file_path": "foreign.bin", "dataset_id": dataset}
    killed = {"tags": ["synapsefs-internal"], "metadata": {"synapsefs": {"target": identifier}}}
    from synapsefs.wire.datasets import requests  # noqa: PLC0415 - the test's own helper

    for name in ("young.bin", "old.bin"):
        entry = requests.EntryCreate(name=name, file_path=name, dataset_id=dataset, **killed)
        await api.create_entry(entry, base, replay=False)
    text = requests.EntryCreate(
        name="old.txt", content="x", file_path="x", dataset_id=dataset, **killed
    )
    await api.create_entry(text, base, replay=False)
    await api.create_entry(requests.EntryCreate(**foreign), base, replay=False)
    for name in ("old.bin", "old.txt", "foreign.bin"):
        age(server, name, "2024-01-01T00:00:00.000000+00:00")
    await fs._pipe_file(f"{base}/other.txt", b"x")
    assert entries(server) == [
        ("foreign.bin", "pending"),
        ("k.bin", "active"),
        ("other.txt", "active"),
        ("young.bin", "pending"),
    ]
    assert await fs._cat_file(path) == OLD
    await fs.aclose()


@pytest.mark.parametrize("verb", ["rm", "rmdir"])
def test_a_directory_is_left_when_somebody_puts_a_file_into_it(server, base, verb):
    """Between the listing on which a removal is decided, and the removal."""
    fs, other = (SynapseFileSystem(**server.options, skip_instance_cache=True) for _ in range(2))
    fs.mkdir(f"{base}/d")
    if verb == "rm":
        fs.pipe_file(f"{base}/d/old.txt", b"old")
    listings = 0

    async def hook(seen: Any) -> None:
        nonlocal listings
        listings += seen.method == "GET" and seen.path.startswith("/v0.1/data-storage/datasets/")
        if listings == 2:
            server.hook = None
            await asyncio.to_thread(other.pipe_file, f"{base}/d/new.txt", b"new")

    server.hook = hook
    with pytest.raises(NotEmptyError):
        fs.rm(f"{base}/d", recursive=True) if verb == "rm" else fs.rmdir(f"{base}/d")
    assert other.find(base, refresh=True) == [f"{base}/d/new.txt"]
    assert other.cat_file(f"{base}/d/new.txt") == b"new"


@pytest.mark.parametrize("name", ["k.bin", "k.txt"])
def test_a_file_whose_directory_is_removed_while_it_appears(server, base, name):
    """A service may leave entries whose directory is gone; the top has a file of that name, too."""
    fs, other = (SynapseFileSystem(**server.options, skip_instance_cache=True) for _ in range(2))
    new = b"new" if name == "k.txt" else b"\xff new"
    fs.pipe({f"{base}/{name}": b"\xff top", f"{base}/f/old.txt": b"old"})
    folder = other.info(f"{base}/f")["id"]
    last = "POST" if name == "k.txt" else "PATCH"
    appeared = False

    async def hook(seen: Any) -> None:
        nonlocal appeared
        appeared = appeared or seen.method == last
        if appeared and seen.method == "GET":
            server.hook = None
            with closing(catalogue(server)) as db:
                db.execute("DELETE FROM ds_entries WHERE id = ?", (folder,))

    server.hook = hook
    fs.pipe_file(f"{base}/f/{name}", new)
    found = {path: other.cat_file(path) for path in other.find(base, refresh=True)}
    assert found.pop(f"{base}/{name}") == b"\xff top"
    assert found.pop(f"{base}/f/{name}") == new
    assert list(found.values()) == [b"old"]
