"""What listings cost: asked for once a call, arranged once each, and kept within bounds."""

from __future__ import annotations

import asyncio
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import pytest
from aiohttp import web

from synapsefs import SynapseFileSystem
from synapsefs.services import index_cache, shared
from synapsefs.services.collections.index import CollectionIndex
from synapsefs.services.datasets.index import DatasetIndex
from tests.support.observed import ObservedServer, observed_server

INDEXES = {"collections": CollectionIndex, "datasets": DatasetIndex}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ObservedServer]:
    with observed_server(tmp_path_factory.mktemp("observed")) as running:
        yield running


@pytest.fixture(params=["collections", "datasets"])
def root(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def instance(server: ObservedServer, expiry: float | None = 60, **options: Any) -> Any:
    given = {**server.options, "skip_instance_cache": True, **options}
    return SynapseFileSystem(**given, listings_expiry_time=expiry)


def make(fs: SynapseFileSystem, root: str, count: int = 0) -> str:
    """Make a collection or dataset with so many files; give the directory that they are in."""
    container = f"{root}/t-{uuid.uuid4().hex[:12]}"
    fs.mkdir(container)
    base = f"{container}/data_1" if root == "collections" else container
    if count:
        fs.pipe({f"{base}/{number:03}.txt": b"%d" % number for number in range(count)})
    return base


def requests(server: ObservedServer, work: Callable[[], Any]) -> int:
    with server.watching() as seen:
        work()
    return len(seen)


def test_nothing_in_an_empty_container_is_asked_for_once(server, root):
    base = make(instance(server), root)
    for look in ("exists", "find", "isdir"):
        fs = instance(server)
        fs.exists("datasets/nothing")
        assert requests(server, lambda fs=fs, look=look: getattr(fs, look)(f"{base}/none")) <= 2


@pytest.mark.parametrize("look", ["find", "ls", "info", "du"])
def test_a_call_lists_once_even_where_no_listing_is_remembered(server, root, look):
    base = make(instance(server), root, count=3)
    path = f"{base}/001.txt" if look == "info" else base
    fs = instance(server, expiry=0)
    fs.exists("datasets/nothing")
    assert requests(server, lambda: getattr(fs, look)(path)) <= 2


def test_a_whole_root_is_listed_anew_once(server, root):
    """Which containers there are is asked for once, and each of them once."""
    fs = instance(server)
    containers = {"/".join(make(fs, root, count=1).split("/")[:2]) for _ in range(3)}
    known = len(fs.ls(root))
    assert known >= len(containers)
    assert requests(server, lambda: fs.find(root, refresh=True)) <= known + 1


def test_a_warm_read_makes_no_index(server, root, monkeypatch):
    base = make(instance(server), root, count=3)
    fs = instance(server)
    fs.find(base)
    made: list[object] = []
    before = INDEXES[root].__init__
    monkeypatch.setattr(INDEXES[root], "__init__", lambda *given: made.append(before(*given)))
    assert [fs.exists(f"{base}/00{number}.txt") for number in range(3)] == [True] * 3
    assert made == []


def test_paths_by_id_cost_the_same_in_small_and_large_datasets(server):
    """Also right after something was learnt of an entry, which changes the index."""
    counts = []
    for size in (10, 150):
        base = make(instance(server), "datasets", count=size)
        infos = list(instance(server).find(base, detail=True).values())[:8]

        async def look(base: str = base, infos: list[Any] = infos) -> int:
            fs = instance(server, asynchronous=True)
            await fs._find(base)
            await fs._exists(f"{base}/@{infos[0]['id']}")
            count = 0

            def note(frame: FrameType, event: str, _: Any) -> None:
                nonlocal count
                count += event == "call" and "/services/" in frame.f_code.co_filename

            sys.setprofile(note)
            for info in infos:
                for key in (info["id"], info["short_alias"]):
                    assert (await fs._info(f"{base}/@{key}"))["id"] == info["id"]
            sys.setprofile(None)
            await fs.aclose()
            return count

        counts.append(asyncio.run(look()))
    assert counts[1] <= 1.2 * counts[0], counts


def test_what_is_removed_one_by_one_leaves_the_rest_as_it_is(server, monkeypatch):
    """The tree of a dataset is arranged when it is listed, not at each removal."""
    fs = instance(server)
    base = make(fs, "datasets")
    fs.pipe({f"{base}/d{n}/e/{n}.txt": b"text" for n in range(12)})
    arranged: list[object] = []
    before = DatasetIndex._arrange
    monkeypatch.setattr(DatasetIndex, "_arrange", lambda *given: arranged.append(before(*given)))
    with server.watching() as seen:
        fs.rm([f"{base}/d{n}" for n in range(12)], recursive=True)
    listings = [s for s in seen if s.method == "GET" and "/datasets/" in s.path]
    assert len(arranged) <= len(listings) + 1
    assert fs.find(base, withdirs=True) == [base]


def test_a_large_listing_is_arranged_beside_the_event_loop(server, root, monkeypatch):
    base = make(instance(server), root, count=30)
    monkeypatch.setattr(index_cache, "LARGE", 20)
    threads: list[str] = []
    before = INDEXES[root].arranged

    def arranged(*given: Any) -> Any:
        if len(given[1]) == 30:
            threads.append(threading.current_thread().name)
        return before(*given)

    monkeypatch.setattr(INDEXES[root], "arranged", arranged)
    fs = instance(server)
    assert len(fs.find(base)) == 30
    assert threads
    assert not any("fsspec" in name for name in threads)


@pytest.mark.parametrize("listed", [True, False])
def test_a_writer_that_runs_for_long_does_not_grow(server, root, listed, monkeypatch):
    """What was written is remembered until a listing tells it, and no more than so much."""
    monkeypatch.setattr(shared, "MAX_CHANGES", 5)
    monkeypatch.setattr(shared, "CHANGES_LAST", 0.0)
    fs = instance(server)
    base = make(fs, root)
    if listed:
        fs.find(base)
    for number in range(20):
        fs.pipe_file(f"{base}/{number % 10}.txt", b"%d" % number)
    service = fs._services[next(one for one in fs._services if one.value == root)]
    (index,) = service._indexes._by_id.values()
    assert len(index.changes) <= 5
    assert len(getattr(index, "_written", ())) <= 10
    assert fs.cat(fs.find(base)) == {f"{base}/{n}.txt": b"%d" % (n + 10) for n in range(10)}


def test_a_list_of_stored_files_that_is_refused_is_not_asked_for_in_each_directory(tmp_path):
    """Sizes are then found one by one, once."""

    @web.middleware
    async def refuse(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/v2/data-files"):
            return web.json_response({"detail": "no"}, status=403)
        return await handler(request)

    with observed_server(tmp_path / "root", strict=True, middleware=refuse) as server:
        base = make(instance(server), "collections")
        names = {f"{base}/f{n % 3}/{n:02}.bin": b"x" * n for n in range(1, 13)}
        instance(server).pipe(names)
        fs = instance(server)
        with server.watching() as seen:
            sizes = {
                info["name"]: info["size"]
                for _, _, files in fs.walk(base, detail=True)
                for info in files.values()
            }
        assert sizes == {name: len(data) for name, data in names.items()}
        assert sum("data-files" in one.path for one in seen) == 1
        assert requests(server, lambda: fs.du(base)) == 0


def test_a_size_that_a_read_told_is_not_asked_for_again(tmp_path):
    with observed_server(tmp_path / "root", strict=True) as server:
        base = make(instance(server), "collections")
        instance(server).pipe_file(f"{base}/a.bin", b"bytes")
        fs = instance(server)
        assert fs.cat_file(f"{base}/a.bin") == b"bytes"
        assert requests(server, lambda: fs.info(f"{base}/a.bin")) == 0
        with server.watching() as seen, fs.open(f"{base}/a.bin") as file:
            assert file.read() == b"bytes"
        assert len(seen) == 1


def test_a_write_costs_the_same_however_many_were_written_before(server, monkeypatch):
    """Where no listing was read: what is known of the collection is not arranged anew."""
    fs = instance(server)
    base = make(fs, "collections")
    added: list[object] = []
    before = CollectionIndex._add
    monkeypatch.setattr(CollectionIndex, "_add", lambda *given: added.append(before(*given)))
    counts = []
    for number in range(80):
        added.clear()
        fs.pipe_file(f"{base}/{number}.txt", b"%d" % number)
        counts.append(len(added))
    assert max(counts[60:]) <= 6, counts
    assert len(fs.find(base)) == 80
